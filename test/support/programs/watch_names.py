"""Tells what inotify says of a tree while another process changes it: watch_names.py DIRECTORY COMMAND…

Runs the command when the watches stand, and prints one line an event: the watched directory, what happened, and the name.
"""
import ctypes
import os
import select
import struct
import subprocess
import sys

libc = ctypes.CDLL(None, use_errno=True)
NAMES = {0x2: "modify", 0x4: "attrib", 0x8: "close_write", 0x40: "moved_from", 0x80: "moved_to", 0x100: "create", 0x200: "delete"}
QUIET_SECONDS = 0.5

root = sys.argv[1]
notify = libc.inotify_init1(os.O_NONBLOCK)
watched = {}
for directory, _, _ in os.walk(root):
    number = libc.inotify_add_watch(notify, os.fsencode(directory), sum(NAMES))
    if number < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    watched[number] = os.path.relpath(directory, root)
subprocess.run(sys.argv[2:], check=True, stdin=subprocess.DEVNULL)
while select.select([notify], [], [], QUIET_SECONDS)[0]:
    events, at = os.read(notify, 65536), 0
    while at < len(events):
        number, mask, _, length = struct.unpack_from("iIII", events, at)
        name = events[at + 16:at + 16 + length].rstrip(b"\0").decode()
        at += 16 + length
        for bit, what in NAMES.items():
            if mask & bit:
                print(watched[number], what, name)
