"""Changes the bytes [OFFSET, OFFSET + LENGTH) of FILE in one of the ways in which a program can: change.py WAY FILE OFFSET LENGTH [DONOR]

Open for writing from before the change to after it. Prints what a descriptor for reading, opened before, and one opened
after the change read of the whole file, as MD5, and what the file is at the end.
"""
import ctypes
import fcntl
import hashlib
import mmap
import os
import sys

way, path, offset, length = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
donor = sys.argv[5] if len(sys.argv) > 5 else None
libc = ctypes.CDLL(None, use_errno=True)
content = bytes((i * 7 + 3) % 251 for i in range(length))


def fallocate(fd, mode):
    if libc.fallocate(fd, mode, ctypes.c_long(offset), ctypes.c_long(length)) != 0:
        raise OSError(ctypes.get_errno(), way)


def stored(fd):
    with mmap.mmap(fd, 0) as mapped:
        mapped[offset : offset + length] = content
        mapped.flush()


def removed(fd):
    with mmap.mmap(fd, 0) as mapped:
        mapped.madvise(mmap.MADV_REMOVE, offset, length)


def direct(fd):
    buffer = mmap.mmap(-1, length)
    buffer[:] = content
    os.pwritev(fd, [buffer], offset)


def spliced(fd):
    reader, writer = os.pipe()
    os.write(writer, content)
    os.splice(reader, fd, length, offset_dst=offset)


def copied(fd):
    source = os.open(donor, os.O_RDONLY)
    os.copy_file_range(source, fd, length, offset, offset)


def not_appended(fd):
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) & ~os.O_APPEND)
    os.pwrite(fd, content, offset)


def truncated(fd):
    size = os.fstat(fd).st_size
    os.ftruncate(fd, offset)
    os.ftruncate(fd, size)


WAYS = {
    "write": lambda fd: os.pwrite(fd, content, offset),
    "append": lambda fd: os.write(fd, content),
    "write of what appends no more": not_appended,
    "truncate": truncated,
    "punch": lambda fd: fallocate(fd, 3),
    "zero": lambda fd: fallocate(fd, 16),
    "copy_file_range": copied,
    "mmap": stored,
    "mmap of what appends": stored,
    "MADV_REMOVE": removed,
    "open with O_TRUNC": lambda fd: os.pwrite(fd, content, offset),
    "splice": spliced,
    "direct": direct,
}
FLAGS = {
    "append": os.O_APPEND,
    "write of what appends no more": os.O_APPEND,
    "mmap of what appends": os.O_APPEND,
    "open with O_TRUNC": os.O_TRUNC,
    "direct": os.O_DIRECT,
}


def digest(fd):
    md5 = hashlib.md5()
    at = 0
    # Pieces that begin and end anywhere.
    while piece := os.pread(fd, 300_001, at):
        md5.update(piece)
        at += len(piece)
    return md5.hexdigest(), at


fd = os.open(path, os.O_RDWR | FLAGS.get(way, 0))
before = os.open(path, os.O_RDONLY)
os.pread(before, 1 << 20, 0)
WAYS[way](fd)
after = os.open(path, os.O_RDONLY)
print(digest(before), digest(after), os.fstat(fd).st_size, os.stat(path).st_size)
os.close(fd)
again = os.open(path, os.O_RDONLY)
print(digest(before), digest(again))
