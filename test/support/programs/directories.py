"""Reads a directory as the C library does, and checks it: directories.py VIEW SOURCE COUNT HOW

VIEW shows SOURCE; HOW a directory is read anew: rewind or reopen. VIEW and SOURCE are the same for a native run. The directory gets COUNT files, and loses some while it is read.
"""
import ctypes
import os
import random
import struct
import sys
import time

view, source = sys.argv[1], sys.argv[2]
COUNT = int(sys.argv[3])
how = sys.argv[4]
libc = ctypes.CDLL(None, use_errno=True)


class Entry(ctypes.Structure):
    _fields_ = [("ino", ctypes.c_uint64), ("off", ctypes.c_int64), ("length", ctypes.c_ushort), ("type", ctypes.c_ubyte), ("name", ctypes.c_char * 256)]


libc.opendir.restype = ctypes.c_void_p
libc.readdir.restype = ctypes.POINTER(Entry)
libc.telldir.restype = ctypes.c_long
for name in ["readdir", "telldir", "rewinddir", "closedir"]:
    getattr(libc, name).argtypes = [ctypes.c_void_p]
libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]


def next_name(stream):
    ctypes.set_errno(0)
    entry = libc.readdir(stream)
    if not entry:
        assert ctypes.get_errno() == 0, "readdir: errno %d" % ctypes.get_errno()
        return None
    return entry.contents.name


def rest(stream):
    found = []
    while (name := next_name(stream)) is not None:
        if name not in (b".", b".."):
            found.append(name)
    return found


def check(found, expected, what):
    assert len(found) == len(set(found)), "%s: %d names twice" % (what, len(found) - len(set(found)))
    missing, more = expected - set(found), set(found) - expected
    assert not missing and not more, "%s: %d missing, %d that should not be there" % (what, len(missing), len(more))


def again(stream):
    """What others have changed shows when a directory is opened again, or, where changes are watched, when it is rewound a moment later."""
    if how == "reopen":
        libc.closedir(stream)
        return libc.opendir(seen)
    if view != source:
        time.sleep(0.3)
    libc.rewinddir(stream)
    return stream


wide = os.path.join(source, "wide")
os.mkdir(wide)
names = [b"%d-%s" % (number, b"n" * (number % 97)) for number in range(COUNT)]
here = os.open(wide, os.O_RDONLY)
for name in names:
    os.mknod(name, 0o100644, dir_fd=here)
seen = os.fsencode(os.path.join(view, "wide"))

# With buffers of all sizes, by the system call itself.
for size in [512, 4096, 32_768, 1 << 20]:
    descriptor = os.open(seen, os.O_RDONLY | os.O_DIRECTORY)
    buffer = ctypes.create_string_buffer(size)
    found, inodes = [], set()
    while (length := libc.syscall(217 if os.uname().machine == "x86_64" else 61, descriptor, buffer, size)) > 0:
        records, at = buffer.raw[:length], 0
        while at < length:
            ino, _, bytes_used, kind = struct.unpack_from("=QqHB", records, at)
            assert kind in (4, 8), kind
            name = records[at + 19:records.index(0, at + 19)]
            if name not in (b".", b".."):
                found.append(name)
                inodes.add(ino)
            at += bytes_used
    assert length == 0
    os.close(descriptor)
    check(found, set(names), "getdents with %d bytes" % size)
    assert len(inodes) == COUNT, "inode numbers repeat"

# Positions lead back to where they were taken, in any order.
stream = libc.opendir(seen)
places = []
while True:
    place = libc.telldir(stream)
    name = next_name(stream)
    places.append((place, name))
    if name is None:
        break
assert len(places) == COUNT + 3
for place, name in random.Random(3).sample(places, 500) + [places[0], places[-1]]:
    libc.seekdir(stream, place)
    assert next_name(stream) == name, "seekdir leads elsewhere"

# Entries go while the directory is read: those that stay are seen once, those that go once or never.
libc.rewinddir(stream)
first = [name for name in (next_name(stream) for _ in range(COUNT // 5)) if name not in (b".", b"..")]
gone = set(random.Random(4).sample(names, COUNT // 3))
for name in gone:
    os.unlink(name, dir_fd=here)
found = first + rest(stream)
assert len(found) == len(set(found)), "deleting makes names appear twice"
assert set(found) >= set(names) - gone, "deleting hides %d other names" % len(set(names) - gone - set(found))
stream = again(stream)
check(rest(stream), set(names) - gone, "after deleting")

# Entries come: the next pass sees them.
for number in range(1000):
    os.mknod(b"new-%d" % number, 0o100644, dir_fd=here)
stream = again(stream)
check(rest(stream), (set(names) - gone) | {b"new-%d" % number for number in range(1000)}, "after adding")
libc.closedir(stream)

# The directory goes while it is open: empty, as natively.
for name in os.listdir(wide):
    os.unlink(name, dir_fd=here)
stream = libc.opendir(seen)
os.rmdir(wide)
libc.rewinddir(stream)
assert rest(stream) == []
libc.closedir(stream)
print("ok")
