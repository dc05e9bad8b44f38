"""Cutting files, and being refused it: `truncate.py DIRECTORY` prints what came of each way. As root, on files that are there."""
import ctypes, errno, os, shutil, struct, subprocess, sys

directory = sys.argv[1]
libc = ctypes.CDLL(None, use_errno=True)
ACCESS = {"read": os.O_RDONLY, "write": os.O_WRONLY, "both": os.O_RDWR}


def outcome(call):
    try:
        return call()
    except OSError as error:
        return errno.errorcode[error.errno]


def opened(path, flags):
    fd = os.open(path, flags | os.O_TRUNC)
    size = os.fstat(fd).st_size
    written = outcome(lambda: os.pwrite(fd, b"new", 5000))
    os.close(fd)
    return f"{size} {written}"


def content(path):
    with open(path, "rb") as file:
        return file.read()


def each_way():
    for name in sorted(os.listdir(directory)):
        path = os.path.join(directory, name)
        kind, access, other = name.split("-")
        held = [os.open(path, ACCESS[other])] if other in ACCESS else []
        result = outcome(lambda: opened(path, ACCESS[access]))
        print(name, result, os.stat(path).st_size, outcome(lambda: content(path)))
        if other == "both":
            print("  who had it open reads", os.pread(held[0], 10000, 0))
        for fd in held:
            os.close(fd)


def stamped(what, change, size):
    path = os.path.join(directory, "times")
    with open(path, "wb") as file:
        file.truncate(size)
    os.utime(path, (1, 1))
    change(path)
    print("times after", what, "of", size, os.stat(path).st_mtime == 1)
    os.unlink(path)


def truncate_open(path):
    with open(path, "r+b") as file:
        os.ftruncate(file.fileno(), os.stat(path).st_size)


def running_program():
    path = os.path.join(directory, "program")
    shutil.copy("/bin/sleep", path)
    with subprocess.Popen([path, "60"]) as process:
        for name, access in ACCESS.items():
            print("running, to", name, outcome(lambda: os.open(path, access | os.O_TRUNC)))
        print("is whole:", content(path) == content("/bin/sleep"))
        process.kill()
    os.unlink(path)


def landlocked():
    """May read and write files, not truncate them."""
    path = os.path.join(directory, "locked")
    with open(path, "wb") as file:
        file.write(b"x" * 5000)
    WRITE, READ, TRUNCATE = 1 << 1, 1 << 2, 1 << 14
    rules = libc.syscall(444, struct.pack("=Q", WRITE | READ | TRUNCATE), 8, 0)
    parent = os.open(directory, os.O_PATH)
    if rules < 0 or libc.syscall(445, rules, 1, struct.pack("=Qi", WRITE | READ, parent), 0) < 0:
        return print("no Landlock")
    PR_SET_NO_NEW_PRIVS = 38
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.syscall(446, rules, 0)
    for name, access in ACCESS.items():
        print("locked, to", name, outcome(lambda: os.open(path, access | os.O_TRUNC)), os.stat(path).st_size)


each_way()
for size in (5000, 0):
    stamped("ftruncate", truncate_open, size)
    stamped("open", lambda path: os.close(os.open(path, os.O_WRONLY | os.O_TRUNC)), size)
stamped("truncate", lambda path: os.truncate(path, 5000), 5000)
stamped("truncate", lambda path: os.truncate(path, 5001), 5000)
running_program()
landlocked()
