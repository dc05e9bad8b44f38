"""What becomes of set-id bits when a file's data changes: `set_id.py DIRECTORY` prints a line for each mode, way and user. As root."""
import os, sys

GROUP = 5555
# Root's is nobody else's: who has no supplementary groups is not in it.
OWNING_GROUPS = (GROUP, 0)
USERS = [(0, 0, []), (1234, 1234, []), (1234, 1234, [GROUP]), (1234, GROUP, [])]
path = os.path.join(sys.argv[1], "file")


def change(way):
    fd = os.open(path, os.O_WRONLY | (os.O_APPEND if way == "append" else 0))
    if way == "truncate":
        os.ftruncate(fd, 100)
    elif way == "allocate":
        os.posix_fallocate(fd, 0, 100000)
    else:
        os.write(fd, b"y" * 10)


for owning in OWNING_GROUPS:
    for mode in (0o6777, 0o2767, 0o4766, 0o2777, 0o2766):
        for way in ("write", "append", "truncate", "allocate"):
            for uid, gid, groups in USERS:
                fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
                os.write(fd, b"x" * 8192)
                os.fchown(fd, 0, owning)
                os.fchmod(fd, mode)
                os.close(fd)
                pid = os.fork()
                if pid == 0:
                    os.setgroups(groups), os.setgid(gid), os.setuid(uid)
                    change(way)
                    os._exit(0)
                os.waitpid(pid, 0)
                left = oct(os.stat(path).st_mode & 0o7777)
                print(owning, oct(mode), way, uid, gid, groups, "->", left)
                os.unlink(path)
