"""A process that decodes what anybody may have sent: what it can no longer do, by Landlock.

On Linux 5.13 and later a process may give up rights for good, for itself and all that it starts. It
then writes, makes and removes files nowhere but in its own temporary folders, opens no connection
over TCP (from Linux 6.7 on) and signals no process but its own (6.12). It still reads what its user
may. Where the kernel has no Landlock, or none is allowed, nothing is given up.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

OFFLINE = {"LIC_BENCH_OFFLINE": "1", "HF_HUB_OFFLINE": "1"}
"""What tells codecs to fetch nothing, in the environment."""

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_ABI_QUERY, _PATH_BENEATH = 1, 1
_NO_NEW_PRIVILEGES = 38
# Write, remove and make, in the kernel's order; then what later versions have added.
_WRITE = sum(1 << bit for bit in (1, 4, 5, 6, 7, 8, 9, 10, 11, 12))
_READ = 1 << 2 | 1 << 3  # files, folders
_REFER, _TRUNCATE = 1 << 13, 1 << 14
_OF_FILES = 1 << 1 | 1 << 2 | _TRUNCATE  # rights that a rule for a file may give
_TCP = 0b11  # bind, connect
_SCOPED = 0b11  # abstract sockets, signals
_DEVICES = Path("/dev")


def confine(writable: Iterable[Path], readable: Iterable[Path] | None = None) -> bool:
    """Give up, for good, what decoding does not need; say whether the kernel could.

    Parameters
    ----------
    writable
        Folders that may still be written to. Devices may be, too: a GPU is one.
    readable
        Folders that may still be read, beside these; by default everything.
    """
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(_CREATE_RULESET, None, 0, _ABI_QUERY)
    if version < 1:
        return False
    rights = _WRITE | (_REFER if version >= 2 else 0) | (_TRUNCATE if version >= 3 else 0)
    if readable is not None:
        rights |= _READ
    attributes = struct.pack("=Q", rights)
    if version >= 4:
        attributes += struct.pack("=Q", _TCP)
    if version >= 6:
        attributes += struct.pack("=Q", _SCOPED)
    rules = libc.syscall(_CREATE_RULESET, attributes, len(attributes), 0)
    if rules < 0:
        return False
    try:
        for folder in (_DEVICES, *writable):
            _allow(libc, rules, folder, rights)
        for folder in readable or ():
            _allow(libc, rules, folder, _READ)
        libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
        return bool(libc.syscall(_RESTRICT_SELF, rules, 0) == 0)
    finally:
        os.close(rules)


def _allow(libc: ctypes.CDLL, rules: int, path: Path, rights: int) -> None:
    with suppress(OSError):  # it is not there
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            given = rights if path.is_dir() else rights & _OF_FILES
            libc.syscall(_ADD_RULE, rules, _PATH_BENEATH, struct.pack("=Qi", given, opened), 0)
        finally:
            os.close(opened)
