"""Makes a tree with everything that a file system can hold: make_tree.py DIRECTORY [clones]

With `clones` the file system has reflinks, and the tree gets files that share blocks in every way that a mount tells apart.
Owners and permissions are chosen so that root, user 1001 (group 1001) and user 1002 (groups 1002, 2000) see different things.
"""
import ctypes
import fcntl
import os
import random
import socket
import struct
import subprocess
import sys

FICLONE = 0x40049409
FICLONERANGE = 0x4020940D
PAGE = 4096

root = os.path.abspath(os.fsencode(sys.argv[1]))
has_reflinks = sys.argv[2:] == ["clones"]
noise = random.Random(7)


def at(name):
    return os.path.join(root, name if isinstance(name, bytes) else name.encode())


def write(name, content, mode=0o644):
    with open(at(name), "wb") as file:
        file.write(content)
    os.chmod(at(name), mode)


def clone(source, target):
    with open(at(source), "rb") as s, open(at(target), "wb") as t:
        fcntl.ioctl(t, FICLONE, s.fileno())


def clone_range(source, source_offset, length, target, target_offset):
    with open(at(source), "rb") as s, open(at(target), "r+b") as t:
        fcntl.ioctl(t, FICLONERANGE, struct.pack("qQQQ", s.fileno(), source_offset, length, target_offset))


def overwrite(name, offset, content):
    with open(at(name), "r+b") as file:
        file.seek(offset)
        file.write(content)


# Names: odd bytes, invalid UTF-8, all bytes that a name may have, the longest.
os.mkdir(at("names"))
odd = [b" leading", b"trailing ", b"new\nline", b"tab\tbell\a", b"-dash", b"...", b"\xff\xfe", b"\xc3\x28", b"\xe2\x82",
       "grün/".replace("/", "").encode(), "\U0001f98a".encode(), b"back\\slash", b"quote'\"", b"*?[", b"x" * 255, b"\xff" * 255,
       bytes(range(1, 47)) + bytes(range(48, 200)), bytes(range(200, 256))]
for number, name in enumerate(odd):
    write(b"names/" + name, b"%d" % number)

# Deep, and wide enough for several requests.
deep = b"deep"
os.mkdir(at(deep))
for level in range(60):
    deep += b"/%d" % level
    os.mkdir(at(deep))
write(deep + b"/bottom", b"bottom")
os.mkdir(at("wide"))
for number in range(600):
    write("wide/%d-%s" % (number, "w" * (number % 200)), b"")
os.mkdir(at("empty-directory"))

# Symlinks.
os.mkdir(at("links"))
write("links/target", b"target")
os.symlink("target", at("links/to-file"))
os.symlink("../names", at("links/to-directory"))
os.symlink("nowhere", at("links/dangling"))
os.symlink("loop-b", at("links/loop-a"))
os.symlink("loop-a", at("links/loop-b"))
os.symlink("to-file", at("links/to-link"))
os.symlink("d/" * 500 + "end", at("links/long"))
os.symlink(b"\xff\n", at("links/odd"))
os.symlink("/", at("links/out"))
os.link(at("links/target"), at("links/hard"))
os.link(at("links/target"), at("empty-directory/../hard-elsewhere"))
os.link(at("links/to-file"), at("links/hard-symlink"))

# What is no file.
os.mkdir(at("special"))
os.mkfifo(at("special/fifo"), 0o640)
os.mknod(at("special/character"), 0o20666, os.makedev(1, 3))
os.mknod(at("special/block"), 0o60640, os.makedev(7, 200000))
listener = socket.socket(socket.AF_UNIX)
here = os.open(root, os.O_RDONLY)
os.chdir(root)
listener.bind("special/socket")
os.fchdir(here)

# Permissions, for others too.
os.mkdir(at("permissions"))
for name, mode, uid, gid in [("root-only", 0o600, 0, 0), ("setuid", 0o4755, 0, 0), ("setgid", 0o2755, 1001, 2000), ("sticky", 0o1644, 0, 0),
                             ("of-1001", 0o600, 1001, 1001), ("of-group-2000", 0o040, 0, 2000), ("nobody-may", 0, 1001, 1001),
                             ("only-others", 0o004, 1001, 2000), ("executable", 0o711, 0, 0)]:
    write("permissions/" + name, name.encode())
    os.chown(at("permissions/" + name), uid, gid)
    os.chmod(at("permissions/" + name), mode)
for name, mode, uid in [("closed", 0o700, 0), ("no-list", 0o711, 0), ("no-enter", 0o744, 0), ("sticky-directory", 0o1777, 0), ("of-1002", 0o700, 1002)]:
    os.mkdir(at("permissions/" + name))
    write("permissions/" + name + "/inside", b"inside")
    os.chown(at("permissions/" + name), uid, uid)
    os.chmod(at("permissions/" + name), mode)

# Extended attributes and access control lists.
os.mkdir(at("attributes"))
write("attributes/user", b"x")
os.setxattr(at("attributes/user"), "user.text", b"value")
os.setxattr(at("attributes/user"), "user.empty", b"")
os.setxattr(at("attributes/user"), "user.binary", bytes(range(256)))
os.setxattr(at("attributes/user"), "user.long", b"l" * 2000)
os.setxattr(at("attributes/user"), "trusted.secret", b"for administrators")
os.setxattr(at("attributes/user"), "security.note", b"a label")
os.setxattr(at("attributes"), "user.of-directory", b"d")
os.setxattr(at("attributes"), "trusted.of-directory", b"d")
os.symlink("user", at("attributes/symlink"))
os.setxattr(at("attributes/symlink"), "trusted.of-symlink", b"s", follow_symlinks=False)
os.mkfifo(at("attributes/fifo"))
os.setxattr(at("attributes/fifo"), "trusted.of-fifo", b"f")
write("attributes/many", b"m")
for number in range(40):
    os.setxattr(at("attributes/many"), "user.number-%d" % number, b"%d" % number)
for name, mode, acl in [("acl-grants", 0o600, "u:1001:r"), ("acl-denies", 0o644, "u:1001:-"), ("acl-group", 0o600, "g:2000:r"),
                        ("acl-mask", 0o600, "u:1001:rwx,m::x")]:
    write("attributes/" + name, name.encode(), mode)
    subprocess.run(["setfacl", "-m", acl, at("attributes/" + name)], check=True)
os.mkdir(at("attributes/acl-directory"), 0o700)
write("attributes/acl-directory/inside", b"inside")
subprocess.run(["setfacl", "-m", "u:1001:rx,d:u:1001:r", at("attributes/acl-directory")], check=True)

# Times: long ago, before 1970, far ahead, to the nanosecond.
os.mkdir(at("times"))
for name, seconds, nanoseconds in [("epoch", 0, 0), ("before", -2_000_000, 999_999_999), ("old", 86_400, 1), ("fine", 1_700_000_000, 123_456_789), ("ahead", 2**32 + 5, 7)]:
    write("times/" + name, b"t")
    time = seconds * 10**9 + nanoseconds
    os.utime(at("times/" + name), ns=(time, time + 1))

# Sizes and holes.
os.mkdir(at("sizes"))
for size in [0, 1, 511, 512, PAGE - 1, PAGE, PAGE + 1, 65_537, 1 << 20, (1 << 20) + 1, (3 << 20) + 77]:
    write("sizes/%d" % size, noise.randbytes(size))
write("sizes/sparse-end", b"begin")
os.truncate(at("sizes/sparse-end"), 10 << 20)
write("sizes/sparse-middle", b"")
for offset in [0, 3 * PAGE, 100 * PAGE + 5, (8 << 20) - 3]:
    overwrite("sizes/sparse-middle", offset, noise.randbytes(PAGE + 9))
write("sizes/all-hole", b"")
os.truncate(at("sizes/all-hole"), 1 << 20)
write("sizes/huge", b"")
os.truncate(at("sizes/huge"), (5 << 30) + 3)
for offset in [0, (1 << 32) - 5, (5 << 30) - 10]:
    overwrite("sizes/huge", offset, noise.randbytes(13))
libc = ctypes.CDLL(None, use_errno=True)
write("sizes/unwritten", noise.randbytes(64 * 1024))
descriptor = os.open(at("sizes/unwritten"), os.O_RDWR)
libc.fallocate(descriptor, 0, ctypes.c_long(128 * 1024), ctypes.c_long(1 << 20))
libc.fallocate(descriptor, 1, ctypes.c_long(2 << 20), ctypes.c_long(1 << 20))
os.pwrite(descriptor, noise.randbytes(5000), 300 * 1024)
os.close(descriptor)
os.mkdir(at("programs"))
subprocess.run(["cp", "/bin/true", at("programs/true")], check=True)
subprocess.run(["cp", "/bin/cat", at("programs/cat")], check=True)
write("programs/script", b"#!/bin/sh\necho run\n", 0o755)

if has_reflinks:
    os.mkdir(at("clones"))
    write("clones/original", noise.randbytes((4 << 20) + 123))
    for name in ["pristine-a", "pristine-b", "diverged", "cut", "grown", "holed"]:
        clone("clones/original", "clones/" + name)
    overwrite("clones/diverged", 1 << 20, noise.randbytes(3 * PAGE))
    overwrite("clones/diverged", (3 << 20) + 17, b"x")
    os.truncate(at("clones/cut"), (2 << 20) + 5)
    with open(at("clones/grown"), "ab") as file:
        file.write(noise.randbytes(100_000))
    descriptor = os.open(at("clones/holed"), os.O_RDWR)
    libc.fallocate(descriptor, 3, ctypes.c_long(1 << 20), ctypes.c_long(1 << 20))  # PUNCH_HOLE | KEEP_SIZE
    os.close(descriptor)
    write("clones/parts", noise.randbytes(1 << 20))
    clone_range("clones/original", 5 * PAGE, 1 << 20, "clones/parts", 17 * PAGE)
    clone("clones/diverged", "clones/clone-of-clone")
    overwrite("clones/clone-of-clone", 0, noise.randbytes(10))
    for name in ["true", "cat"]:
        subprocess.run(["cp", "--reflink=always", at("programs/" + name), at("clones/" + name)], check=True)
        subprocess.run(["cp", "--reflink=always", at("programs/" + name), at("clones/" + name + "-diverged")], check=True)
        # Behind the end of what is loaded, so that it still runs.
        with open(at("clones/" + name + "-diverged"), "ab") as file:
            file.write(b"\0" * 10_000)

os.sync()
