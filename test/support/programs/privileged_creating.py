"""What clients with privileges, and without, can make in directories that are not theirs: `privileged_creating.py DIRECTORY` prints a line for each client, directory and call. As root."""
import ctypes, errno, os, stat, sys

libc = ctypes.CDLL(None, use_errno=True)
PR_SET_KEEPCAPS = 8
CAP_DAC_OVERRIDE, CAP_MKNOD = 1, 27
CLONE_NEWUSER = 0x10000000
# Whose, by the host's numbers: root's, the client's own, one of the user name space below, one of nobody there.
OWNERS = (0, 1000, 100005, 300000)
CALLS = {
    "mkdir": lambda path: os.mkdir(path),
    "open": lambda path: os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o640)),
    "tmpfile": lambda path: os.close(os.open(os.path.dirname(path), os.O_TMPFILE | os.O_RDWR)),
    "symlink": lambda path: os.symlink("target", path),
    "fifo": lambda path: os.mkfifo(path),
    "device": lambda path: os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3)),
}


def become(*capabilities):
    """User 1000, with these capabilities and no others."""
    os.setgroups([])
    os.setgid(1000)
    libc.prctl(PR_SET_KEEPCAPS, 1)
    os.setuid(1000)
    low = sum(1 << number for number in capabilities)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    assert libc.capset(header, (ctypes.c_uint32 * 6)(low, low, 0, 0, 0, 0)) == 0


def become_root_of_name_space():
    """Root of a user name space, as in a rootless container: user 1000 of the host is 0 there, 100001 and those behind it 1 and so on."""
    ready, mapped = os.pipe(), os.pipe()
    child, parent = os.getpid(), os.fork()
    if parent == 0:
        # Whoever is root outside writes the maps.
        os.read(ready[0], 1)
        for file in ("uid_map", "gid_map"):
            with open(f"/proc/{child}/{file}", "w") as map:
                map.write("0 1000 1\n1 100001 1000\n")
        os.write(mapped[1], b".")
        os._exit(0)
    become()
    assert libc.unshare(CLONE_NEWUSER) == 0
    os.write(ready[1], b".")
    os.read(mapped[0], 1)
    os.waitpid(parent, 0)


CLIENTS = {
    "nobody's": lambda: become(),
    "with CAP_DAC_OVERRIDE": lambda: become(CAP_DAC_OVERRIDE),
    "with CAP_MKNOD": lambda: become(CAP_MKNOD),
    "with both": lambda: become(CAP_DAC_OVERRIDE, CAP_MKNOD),
    "root of a name space": become_root_of_name_space,
}
for client, become_client in CLIENTS.items():
    for owner in OWNERS:
        for call, make in CALLS.items():
            directory = os.path.join(sys.argv[1], "directory")
            os.mkdir(directory)
            os.chmod(directory, 0o755)
            os.chown(directory, owner, owner)
            path = os.path.join(directory, "new")
            pid = os.fork()
            if pid == 0:
                try:
                    become_client()
                    make(path)
                    os._exit(0)
                except OSError as error:
                    os._exit(error.errno)
                os._exit(255)
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            outcome = [errno.errorcode.get(status, status)]
            if os.path.lexists(path):
                made = os.lstat(path)
                outcome += [oct(made.st_mode), made.st_uid, made.st_gid]
                (os.rmdir if stat.S_ISDIR(made.st_mode) else os.unlink)(path)
            os.rmdir(directory)
            print(client, owner, call, *outcome)
