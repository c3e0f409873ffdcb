"""Landlock: restrict where this process may write and what it may start (landlock(7), linux/landlock.h).

Needs no rights, only a kernel from 5.13 on with Landlock switched on; restrictions an older one lacks are left out.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Iterable
from pathlib import Path

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # the same on every architecture
VERSION, PATH_BENEATH = 1, 1
EXECUTE, WRITE_FILE, REMOVE_DIR, REMOVE_FILE = 1 << 0, 1 << 1, 1 << 4, 1 << 5
MAKE_CHAR, MAKE_DIR, MAKE_REG, MAKE_SOCK, MAKE_FIFO, MAKE_BLOCK, MAKE_SYM = (1 << bit for bit in range(6, 13))
REFER, TRUNCATE = 1 << 13, 1 << 14
TRUNCATE_FROM, SCOPED_FROM = 3, 6
"""The versions that brought truncation, and the scoping of signals and abstract sockets to the process."""

HANDLED = {
    1: EXECUTE | WRITE_FILE | REMOVE_DIR | REMOVE_FILE | MAKE_CHAR | MAKE_DIR | MAKE_REG | MAKE_SOCK | MAKE_FIFO
    | MAKE_BLOCK | MAKE_SYM,
    2: REFER,
    TRUNCATE_FROM: TRUNCATE,
}  # fmt: skip
"""Rights that are denied unless a rule allows them, by the version that brought them."""

IN_FOLDER = WRITE_FILE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | REFER | TRUNCATE
IN_FILE = WRITE_FILE | TRUNCATE
ABSTRACT_UNIX_SOCKET, SIGNAL = 1, 2


def allow_writing(paths: Iterable[Path], *, programs: bool = False) -> bool:
    """Let this thread, and all that it starts, write below `paths` alone; files that are open stay as they are.

    programs: whether it may run other programs. Return whether the kernel enforces this. Paths that do not exist are
    left out. Raises OSError where the kernel refuses, which it has no reason to once PR_SET_NO_NEW_PRIVS is set.
    """
    here = version()
    if here < 1:
        return False
    handled = sum(rights for since, rights in HANDLED.items() if since <= here)
    if programs:
        handled &= ~EXECUTE
    scoped = ABSTRACT_UNIX_SOCKET | SIGNAL if here >= SCOPED_FROM else 0
    attributes = struct.pack("=QQQ", handled, 0, scoped)[: 24 if scoped else 8]
    rules = _call(CREATE_RULESET, attributes, len(attributes), 0)
    try:
        for path in paths:
            _allow(rules, path, handled)
        _call(RESTRICT_SELF, rules, 0)
    finally:
        os.close(rules)
    return True


def version() -> int:
    """Return the version of Landlock in this kernel; less than 1: none, or it is switched off."""
    return _call(CREATE_RULESET, None, 0, VERSION, may_fail=True)


def _allow(rules: int, path: Path, handled: int) -> None:
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        rights = IN_FOLDER if stat.S_ISDIR(os.fstat(handle).st_mode) else IN_FILE
        _call(ADD_RULE, rules, PATH_BENEATH, struct.pack("=Qi", rights & handled, handle), 0)
    finally:
        os.close(handle)


def _call(number: int, *arguments: int | bytes | None, may_fail: bool = False) -> int:
    """Make a system call. Raises OSError, or returns -1 where it may fail."""
    libc = ctypes.CDLL(None, use_errno=True)
    given = [each if isinstance(each, bytes) or each is None else ctypes.c_long(each) for each in arguments]
    result: int = libc.syscall(ctypes.c_long(number), *given)
    if result < 0 and not may_fail:
        error = ctypes.get_errno()
        raise OSError(error, f"landlock: {os.strerror(error)}")
    return result
