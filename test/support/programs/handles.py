"""What the calls for file handles, which NFS servers use, answer: handles.py FILE"""
import ctypes
import errno
import os
import sys

libc = ctypes.CDLL(None, use_errno=True)
AT_FDCWD, AT_HANDLE_FID = -100, 0x200


class Handle(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_uint), ("type", ctypes.c_int), ("handle", ctypes.c_ubyte * 128)]


def outcome(result):
    return "works" if result >= 0 else errno.errorcode[ctypes.get_errno()]


def named(flags):
    handle, mount = Handle(128), ctypes.c_int()
    return handle, outcome(libc.name_to_handle_at(AT_FDCWD, os.fsencode(sys.argv[1]), ctypes.byref(handle), ctypes.byref(mount), flags))


directory = os.open(os.path.dirname(sys.argv[1]), os.O_RDONLY)
for what, flags in {"for opening": 0, "for telling apart": AT_HANDLE_FID}.items():
    handle, made = named(flags)
    opened = outcome(libc.open_by_handle_at(directory, ctypes.byref(handle), os.O_RDONLY)) if made == "works" else "-"
    print(f"{what}: {made}, {opened}")
