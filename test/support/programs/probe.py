"""Prints what the calls that go wrong, or that files rarely see, answer on a tree of make_tree.py, as JSON: probe.py DIRECTORY

Run over a read-only view of the source and over the mount it has to print the same. What only the
mount does otherwise (ioctls of the file system) is left to the tests.
"""
import array
import ctypes
import errno
import fcntl
import json
import mmap
import os
import select
import socket
import struct
import sys
import termios

root = os.path.abspath(os.fsencode(sys.argv[1]))
libc = ctypes.CDLL(None, use_errno=True)
answers = {}


def at(name):
    return os.path.join(root, name if isinstance(name, bytes) else name.encode())


def probe(name, call):
    try:
        value = call()
        answers[name] = value.decode("latin-1") if isinstance(value, bytes) else value
    except OSError as error:
        answers[name] = errno.errorcode.get(error.errno, str(error.errno))
    except Exception as error:
        answers[name] = repr(error)


def opened(name, flags, use=lambda descriptor: "opened"):
    def call():
        descriptor = os.open(at(name), flags, 0o600)
        try:
            return use(descriptor)
        finally:
            os.close(descriptor)
    return call


def libc_call(function, *arguments):
    ctypes.set_errno(0)
    result = function(*arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
    return result


READ, WRITE = os.O_RDONLY, os.O_WRONLY
FILE = "sizes/4097"

# Names.
probe("missing", lambda: os.lstat(at("missing")))
probe("missing below missing", lambda: os.lstat(at("missing/missing")))
probe("below a file", lambda: os.lstat(at(FILE + "/child")))
probe("file with slash", lambda: os.lstat(at(FILE + "/")))
probe("256 bytes", lambda: os.lstat(at("n" * 256)))
probe("256 bytes below a file", lambda: os.lstat(at(FILE + "/" + "n" * 256)))
probe("long path", lambda: os.lstat(at("d/" * 2100)))
probe("loop", lambda: os.stat(at("links/loop-a")))
probe("loop open", opened("links/loop-a", READ))
probe("dangling", lambda: os.stat(at("links/dangling")))
probe("long link", lambda: os.stat(at("links/long")))
probe("no follow", opened("links/to-file", READ | os.O_NOFOLLOW))
probe("dot dot", lambda: os.stat(at("links/..")).st_ino)
probe("readlink of a file", lambda: os.readlink(at(FILE)))
probe("readlink of a directory", lambda: os.readlink(at("links")))

# Opening.
probe("file as directory", opened(FILE, READ | os.O_DIRECTORY))
probe("directory", opened("links", READ))
probe("read of a directory", opened("links", READ, lambda d: os.read(d, 10)))
for name, flags in [("write", WRITE), ("read and write", os.O_RDWR), ("truncate", WRITE | os.O_TRUNC), ("append", WRITE | os.O_APPEND),
                    ("create over", WRITE | os.O_CREAT), ("create exclusively", WRITE | os.O_CREAT | os.O_EXCL), ("read and truncate", READ | os.O_TRUNC)]:
    for file in [FILE, "missing", "links", "links/dangling", "special/fifo-of-nobody", "permissions/root-only"]:
        probe("open to %s: %s" % (name, file), opened(file, flags))
probe("unnamed", opened("links", WRITE | os.O_TMPFILE))
probe("read and create, exists", opened(FILE, READ | os.O_CREAT))
probe("path", opened("permissions/root-only", os.O_PATH, lambda d: os.fstat(d).st_size))
probe("path of a symlink", opened("links/to-file", os.O_PATH | os.O_NOFOLLOW, lambda d: os.readlink("", dir_fd=d)))
probe("device", opened("special/character", READ))
probe("socket", opened("special/socket", READ))
probe("fifo", opened("special/fifo", READ | os.O_NONBLOCK))


def connect():
    client = socket.socket(socket.AF_UNIX)
    os.chdir(at("special"))
    try:
        client.connect("socket")
    finally:
        client.close()


probe("connect to a socket that nobody serves", connect)

# Changing.
for name, call in {
    "mkdir": lambda: os.mkdir(at("new")), "mkdir, exists": lambda: os.mkdir(at("links")),
    "mknod": lambda: os.mknod(at("new"), 0o10600), "mkfifo": lambda: os.mkfifo(at("new")),
    "symlink": lambda: os.symlink("x", at("new")), "link": lambda: os.link(at(FILE), at("new")),
    "link, exists": lambda: os.link(at(FILE), at("sizes/1")), "unlink": lambda: os.unlink(at(FILE)),
    "unlink, missing": lambda: os.unlink(at("missing")), "unlink a directory": lambda: os.unlink(at("links")),
    "rmdir": lambda: os.rmdir(at("empty-directory")), "rmdir a file": lambda: os.rmdir(at(FILE)),
    "rename": lambda: os.rename(at(FILE), at("new")), "rename, missing": lambda: os.rename(at("missing"), at("new")),
    "rename out": lambda: os.rename(at(FILE), "/dev/shm/new"), "link out": lambda: os.link(at(FILE), "/dev/shm/new"),
    "chmod": lambda: os.chmod(at(FILE), 0o600), "chown": lambda: os.chown(at(FILE), 1, 1), "utime": lambda: os.utime(at(FILE)),
    "truncate": lambda: os.truncate(at(FILE), 0), "truncate a directory": lambda: os.truncate(at("links"), 0),
    "setxattr": lambda: os.setxattr(at(FILE), "user.new", b"1"), "removexattr": lambda: os.removexattr(at("attributes/user"), "user.text"),
    "set an acl": lambda: os.setxattr(at(FILE), "system.posix_acl_access", b"\2\0\0\0"),
    "access for writing": lambda: os.access(at(FILE), os.W_OK),
}.items():
    probe(name, call)
probe("write to a reader", opened(FILE, READ, lambda d: os.write(d, b"x")))
probe("ftruncate a reader", opened(FILE, READ, lambda d: os.ftruncate(d, 0)))
probe("fallocate a reader", opened(FILE, READ, lambda d: libc_call(libc.fallocate, d, 0, ctypes.c_long(0), ctypes.c_long(1))))
probe("fchmod", opened(FILE, READ, lambda d: os.fchmod(d, 0o600)))
probe("fsync", opened(FILE, READ, os.fsync))
probe("fdatasync", opened(FILE, READ, os.fdatasync))
probe("fsync a directory", opened("links", READ, os.fsync))

# Attributes.
for name, call in {
    "attribute that is not there": lambda: os.getxattr(at(FILE), "user.none"),
    "attribute of an unknown kind": lambda: os.getxattr(at(FILE), "unknown.x"),
    "attribute without a name": lambda: os.getxattr(at(FILE), "user."),
    "attribute with a long name": lambda: os.getxattr(at(FILE), "user." + "n" * 300),
    "attribute of a missing file": lambda: os.getxattr(at("missing"), "user.none"),
    "user attribute of a symlink": lambda: os.getxattr(at("links/to-file"), "user.none", follow_symlinks=False),
    "user attribute of a fifo": lambda: os.getxattr(at("special/fifo"), "user.none"),
    "attribute's size": lambda: libc_call(libc.getxattr, at("attributes/user"), b"user.long", None, 0),
    "attribute, short buffer": lambda: libc_call(libc.getxattr, at("attributes/user"), b"user.long", ctypes.create_string_buffer(10), 10),
    "names, short buffer": lambda: libc_call(libc.listxattr, at("attributes/user"), ctypes.create_string_buffer(3), 3),
    "names that are shown, short buffer": lambda: libc_call(libc.listxattr, at("attributes"), ctypes.create_string_buffer(30), 30),
    "names that are shown": lambda: libc_call(libc.listxattr, at("attributes"), None, 0),
    "names' size": lambda: libc_call(libc.listxattr, at("attributes/many"), None, 0),
}.items():
    probe(name, call)

# Seeking.
for file in ["sizes/sparse-middle", "sizes/0", "sizes/all-hole", "sizes/unwritten"]:
    for whence_name, whence in [("set", 0), ("current", 1), ("end", 2), ("data", os.SEEK_DATA), ("hole", os.SEEK_HOLE), ("unknown", 9)]:
        for offset in [0, 1, 5000, 13_000, 10 << 20, (10 << 20) - 1, 1 << 40]:
            probe("seek %s %s %d" % (file, whence_name, offset), opened(file, READ, lambda d: os.lseek(d, offset, whence)))
probe("seek before the beginning", opened(FILE, READ, lambda d: os.lseek(d, -1, 0)))

# Reading.
probe("read at a negative offset", opened(FILE, READ, lambda d: os.pread(d, 1, -1)))
probe("read far behind the end", opened(FILE, READ, lambda d: os.pread(d, 1, 2**62)))
probe("read nothing", opened(FILE, READ, lambda d: os.pread(d, 0, 0)))
probe("vectors", opened(FILE, READ, lambda d: os.preadv(d, [bytearray(10), bytearray(5000)], 4090)))
probe("read over the end of 4 GiB", opened("sizes/huge", READ, lambda d: os.pread(d, 20, (1 << 32) - 10)))

# Mapping.
probe("map nothing", opened("sizes/0", READ, lambda d: mmap.mmap(d, 0, prot=mmap.PROT_READ)))


def libc_map(descriptor, prot, flags, offset=0):
    function = libc.mmap
    function.restype = ctypes.c_long
    function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    ctypes.set_errno(0)
    if function(None, 4096, prot, flags, descriptor, offset) == -1:
        raise OSError(ctypes.get_errno(), "")
    return "mapped"


probe("map shared to write", opened(FILE, READ, lambda d: libc_map(d, 3, 1)))
probe("map executable", opened("programs/true", READ, lambda d: libc_map(d, 5, 2)))
probe("map behind the end", opened(FILE, READ, lambda d: libc_map(d, 1, 1, 1 << 20)))

# Waiting, locking, asking.
def polled(descriptor):
    poll = select.poll()
    poll.register(descriptor, 0xFFFF)
    return [event for _, event in poll.poll(0)]


def epolled(descriptor):
    with select.epoll() as epoll:
        epoll.register(descriptor)


probe("poll", opened(FILE, READ, polled))
probe("select", opened(FILE, READ, lambda d: len(select.select([d], [d], [d], 0)[0])))
probe("epoll", opened(FILE, READ, epolled))
probe("lock shared", opened(FILE, READ, lambda d: fcntl.lockf(d, fcntl.LOCK_SH | fcntl.LOCK_NB)))
probe("lock exclusively", opened(FILE, READ, lambda d: fcntl.lockf(d, fcntl.LOCK_EX | fcntl.LOCK_NB)))
probe("flock", opened(FILE, READ, lambda d: fcntl.flock(d, fcntl.LOCK_EX | fcntl.LOCK_NB)))


def conflicting(descriptor):
    other = os.open(at(FILE), READ)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)
    finally:
        os.close(other)


probe("flock against another", opened(FILE, READ, conflicting))


def left(descriptor):
    count = array.array("i", [0])
    os.lseek(descriptor, 97, 0)
    fcntl.ioctl(descriptor, termios.FIONREAD, count)
    return count[0]


probe("bytes left", opened(FILE, READ, left))
probe("terminal", opened(FILE, READ, os.isatty))
probe("unknown ioctl", opened(FILE, READ, lambda d: fcntl.ioctl(d, 0x5AA5)))
probe("unknown ioctl with a buffer", opened(FILE, READ, lambda d: fcntl.ioctl(d, 0xC0105AA6, bytes(16))))
probe("unknown ioctl of a directory", opened("links", READ, lambda d: fcntl.ioctl(d, 0x5AA5)))
probe("advise", opened(FILE, READ, lambda d: [os.posix_fadvise(d, 0, 0, advice) for advice in range(6)]))
probe("read ahead", opened(FILE, READ, lambda d: libc_call(libc.readahead, d, ctypes.c_long(0), ctypes.c_size_t(4096))))
probe("clone out", opened(FILE, READ, lambda d: fcntl.ioctl(os.open("/dev/shm", os.O_TMPFILE | os.O_RDWR), 0x40049409, d)))

json.dump(answers, sys.stdout)
