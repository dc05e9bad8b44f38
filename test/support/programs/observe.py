"""Prints all that a program can see of a tree, as JSON: observe.py DIRECTORY

An object by path (bytes as latin-1): what lstat, readlink, xattrs, directory listings and reading in different ways say. Errors are
their names. Nothing here knows of Samepage: run over the source and over the mount it has to print the same.
"""
import errno
import hashlib
import json
import mmap
import os
import random
import socket
import stat
import sys

root = os.path.abspath(os.fsencode(sys.argv[1]))
MAX_READ = 64 << 20


def tried(call, *arguments, **options):
    try:
        return call(*arguments, **options)
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error.errno))


def text(value):
    return value.decode("latin-1") if isinstance(value, bytes) else value


def status(path):
    s = os.lstat(path)
    return {name: getattr(s, "st_" + name) for name in
            ["ino", "mode", "nlink", "uid", "gid", "rdev", "size", "blocks", "blksize", "atime_ns", "mtime_ns", "ctime_ns"]}


def attributes(path):
    names = tried(os.listxattr, path, follow_symlinks=False)
    if isinstance(names, str):
        return names
    values = {name: text(tried(os.getxattr, path, name, follow_symlinks=False)) for name in sorted(names)}
    # Whether the names of trusted attributes are shown to those who may not read them is up to the file system.
    return {name: value for name, value in values.items() if value != "ENODATA"}


def listing(path):
    with os.scandir(path) as entries:
        found = [(text(e.name), e.inode(), e.is_dir(follow_symlinks=False), e.is_symlink(), e.is_file(follow_symlinks=False)) for e in entries]
    return sorted(found)


def segments(descriptor, size):
    """The data of the file, as the file system tells where it lies."""
    found, offset = [], 0
    while offset < size:
        try:
            start = os.lseek(descriptor, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                break
            raise
        end = os.lseek(descriptor, start, os.SEEK_HOLE)
        found.append((start, end))
        offset = end
    return found


def digest_segments(descriptor, found):
    total = hashlib.sha256()
    for start, end in found:
        for offset in range(start, end, 1 << 20):
            total.update(os.pread(descriptor, min(1 << 20, end - offset), offset))
    return total.hexdigest()


def digest_read(path, size):
    total = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        while block := file.read(size):
            total.update(block)
    return total.hexdigest()


def digest_map(descriptor, size, flags):
    with mmap.mmap(descriptor, size, flags=flags, prot=mmap.PROT_READ) as memory:
        return hashlib.sha256(memory).hexdigest()


def digest_private(descriptor, size):
    """A private mapping may be written; the file stays as it is."""
    with mmap.mmap(descriptor, size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE) as memory:
        before = hashlib.sha256(memory).hexdigest()
        memory[0] ^= 0xFF
        memory[-1] ^= 0xFF
        return before, os.pread(descriptor, 1, 0) != memory[0:1], hashlib.sha256(memory).hexdigest()


def digest_sendfile(descriptor, size):
    ours, theirs = socket.socketpair()
    ours.settimeout(20)
    theirs.settimeout(20)
    total, offset = hashlib.sha256(), 0
    while offset < size:
        sent = os.sendfile(ours.fileno(), descriptor, offset, 32768)
        if sent == 0:
            break
        offset += sent
        while sent > 0:
            block = theirs.recv(sent)
            total.update(block)
            sent -= len(block)
    return offset, total.hexdigest()


def digest_splice(descriptor, size):
    reading, writing = os.pipe()
    total, offset = hashlib.sha256(), 0
    while offset < size:
        moved = os.splice(descriptor, writing, 32768, offset_src=offset)
        if moved == 0:
            break
        offset += moved
        while moved > 0:
            block = os.read(reading, moved)
            total.update(block)
            moved -= len(block)
    os.close(reading)
    os.close(writing)
    return offset, total.hexdigest()


def digest_direct(path, size):
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECT)
    total, offset = hashlib.sha256(), 0
    with mmap.mmap(-1, 1 << 20) as buffer:
        while (length := os.preadv(descriptor, [buffer], offset)) > 0:
            total.update(buffer[:length])
            offset += length
    os.close(descriptor)
    return total.hexdigest()


def content(path, size):
    descriptor = tried(os.open, path, os.O_RDONLY)
    if isinstance(descriptor, str):
        return descriptor
    try:
        found = segments(descriptor, size)
        facts = {"segments": found, "data": digest_segments(descriptor, found)}
        pick = random.Random(size)
        at = sorted(pick.randrange(size + 10_000) for _ in range(20))
        facts["preads"] = [hashlib.sha256(os.pread(descriptor, pick.randrange(1, 200_000), o)).hexdigest() for o in at]
        facts["end"] = [len(os.pread(descriptor, 10, o)) for o in (size - 1, size, size + 1, 1 << 50) if o >= 0]
        if 0 < size <= MAX_READ:
            facts["read"] = [digest_read(path, n) for n in (4096, 100_003, 4 << 20)]
            facts["shared"] = digest_map(descriptor, size, mmap.MAP_SHARED)
            facts["private"] = digest_private(descriptor, size)
            facts["sendfile"] = digest_sendfile(descriptor, size)
            facts["splice"] = digest_splice(descriptor, size)
            facts["direct"] = digest_direct(path, size)
        s = os.fstat(descriptor)
        facts["fstat"] = [s.st_ino, s.st_size, s.st_mtime_ns]
        return facts
    finally:
        os.close(descriptor)


def observe(path, into):
    name = text(path[len(root):])
    facts = into[name] = {"stat": tried(status, path), "attributes": attributes(path),
                          "access": [os.access(path, mode) for mode in (os.F_OK, os.R_OK, os.W_OK, os.X_OK)]}
    if isinstance(facts["stat"], str):
        return
    mode = facts["stat"]["mode"]
    if stat.S_ISLNK(mode):
        facts["link"] = text(tried(os.readlink, path))
        facts["leads to"] = tried(lambda: os.stat(path).st_ino)
        if name == "/links/out":
            del facts["leads to"]
    elif stat.S_ISREG(mode):
        facts["content"] = tried(content, path, facts["stat"]["size"])
    elif stat.S_ISDIR(mode):
        facts["listing"] = tried(listing, path)
        names = tried(os.listdir, path)
        for child in names if isinstance(names, list) else []:
            observe(os.path.join(path, child), into)


seen = {}
observe(root, seen)
json.dump(seen, sys.stdout)
