"""Writes to files and tells, line by line, what has been acknowledged: acknowledge.py DIRECTORY WRITER SEED

Every write is a record of its own in one of the ways that a program has, and is told of only when the call has returned (a store to a mapping: when msync
has). Ends with the errno's name in the line `error NAME` when the mount is gone.
"""
import errno
import mmap
import os
import random
import sys

directory, writer, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
choose = random.Random(seed * 1000 + writer)
SIZE = 9 << 20


def tell(*words):
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def payload(length):
    return choose.randbytes(length)


def main():
    # A clone that the daemon serves, a file that is passed through, and small ones that come and go.
    # By descriptor: when the mount is gone, the path leads to what lies below it.
    here = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    clone = os.open(f"{directory}/clone{writer}", os.O_RDWR)
    private = os.open(f"{directory}/private{writer}", os.O_RDWR | os.O_CREAT, 0o644)
    os.ftruncate(private, SIZE)
    memory = mmap.mmap(clone, SIZE)
    count = 0
    tell("ready")
    while True:
        count += 1
        way = choose.choice(["write", "write", "fsync", "msync", "create", "rename"])
        if way in ("create", "rename"):
            name, bytes_ = f"new{writer}-{count}", payload(choose.randrange(1, 20_000))
            descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644, dir_fd=here)
            os.write(descriptor, bytes_)
            os.close(descriptor)
            if way == "rename":
                moved = f"moved{writer}-{count}"
                os.rename(name, moved, src_dir_fd=here, dst_dir_fd=here)
                name = moved
            tell("data", name, 0, bytes_.hex())
            continue
        name, descriptor = choose.choice([(f"clone{writer}", clone), (f"private{writer}", private)])
        # Each place is written once, so that whatever comes later cannot hide that something is missing.
        offset = count * 4096 + choose.randrange(0, 2000)
        bytes_ = payload(choose.randrange(1, 2000))
        if offset + len(bytes_) > SIZE:
            tell("done")
            return
        if way == "msync":
            if name.startswith("private"):
                continue
            memory[offset:offset + len(bytes_)] = bytes_
            memory.flush(offset // 4096 * 4096, 8192 if offset // 4096 * 4096 + 8192 <= SIZE else 4096)
        else:
            if os.pwrite(descriptor, bytes_, offset) != len(bytes_):
                raise OSError(errno.EIO, "short")
            if way == "fsync":
                os.fsync(descriptor)
        tell("data", name, offset, bytes_.hex())


try:
    main()
except OSError as error:
    tell("error", errno.errorcode.get(error.errno, error.errno))
