"""Rights: capturing needs CAP_NET_RAW to open a socket and nothing afterwards; then all capabilities are dropped."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

NO_NEW_PRIVILEGES, AMBIENT, AMBIENT_CLEAR_ALL = 38, 47, 4  # linux/prctl.h
VERSION_3 = 0x20080522  # linux/capability.h
MEND = (
    "run it with sudo, or with this one right: sudo setpriv --reuid=$USER --init-groups "
    "--inh-caps=+net_raw --ambient-caps=+net_raw .venv/bin/offramp ... (docs/tap.md tells of setcap)"
)


def drop_privileges() -> None:
    """Give up every capability of this thread and of those it starts, and the way back to them.

    A thread that runs already keeps what it has: call this before anything is imported that starts threads. Raises
    OSError where the kernel refuses, which it has no reason to. Does nothing but on Linux.
    """
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None, use_errno=True)
    _checked(libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0), "prctl")
    _checked(libc.prctl(AMBIENT, AMBIENT_CLEAR_ALL, 0, 0, 0), "prctl")
    header = (ctypes.c_uint32 * 2)(VERSION_3, 0)
    nothing = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable, twice 32 bits each
    _checked(libc.capset(header, nothing), "capset")


def capabilities() -> int:
    """Return the effective capabilities of all threads of this process, as the bits of /proc/self/status; 0: none."""
    found = 0
    for status in Path("/proc/self/task").glob("*/status"):
        for line in status.read_text().splitlines():
            if line.startswith("CapEff:"):
                found |= int(line.split()[1], 16)
    return found


def _checked(result: int, call: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")
