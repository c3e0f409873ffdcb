"""Drop privileges in two steps: capturing needs CAP_NET_RAW to open a socket, and nothing afterwards.

`confine`, once the socket is open and before libraries start threads: keep only the capabilities to become another user
and to read what is loaded until then, write below the named folders alone, start no other programs unless asked for.
`become`, once everything is loaded and before the first packet is taken: a process that root started becomes another
user, without any capability.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from offramp.capture.sources.live.landlock import allow_writing
from offramp.errors import ConfigError
from offramp.streams import tell

NO_NEW_PRIVILEGES, AMBIENT, AMBIENT_CLEAR_ALL = 38, 47, 4  # linux/prctl.h
VERSION_3 = 0x20080522  # linux/capability.h
DAC_READ_SEARCH, SETGID, SETUID = 1 << 2, 1 << 6, 1 << 7
MEND = (
    "give it this one right: sudo setpriv --reuid=$USER --regid=$(id -g) --init-groups --inh-caps=+net_raw "
    "--ambient-caps=+net_raw .venv/bin/offramp ... (docs/tap.md tells of setcap); or run it with sudo"
)
NOBODY = "nobody"
OWN_FILES = 0o077
"""The umask of a process that writes captures: nobody else reads them."""


@dataclass(frozen=True, slots=True)
class User:
    """The user that a process started by root becomes."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    name: str


def service_user(asked: str = "") -> User | None:
    """Return the user to become: the one asked for, else who called sudo, else nobody; None: stay the present one.

    asked: a name or a number. Root stays root if asked to, or, where nothing is asked, if it may not become another
    user. Raises ConfigError for a user that does not exist, and where one who is not root asks for another.
    """
    if os.geteuid() != 0:
        if asked:
            raise ConfigError(f"--user {asked}: only root can become another user; leave it out, or start it with sudo")
        return None
    if not asked and not _may_become():
        return None
    number = asked or os.environ.get("SUDO_UID", "")
    try:
        entry = pwd.getpwuid(int(number)) if number.isdecimal() else pwd.getpwnam(asked or NOBODY)
    except (KeyError, OverflowError) as error:
        raise ConfigError(f"--user {number or NOBODY}: there is no such user; name one, such as `nobody`") from error
    if entry.pw_uid == 0:
        return None
    groups = tuple(os.getgrouplist(entry.pw_name, entry.pw_gid))
    return User(entry.pw_uid, entry.pw_gid, groups, entry.pw_name)


@dataclass(frozen=True, slots=True)
class Confinement:
    """What a process keeps once its sockets are open.

    user: whom it becomes; folders: those it writes to, made for the user where they are missing; loading: where it
    writes until it becomes the user; programs: whether it may start programs.
    """

    user: User | None = None
    folders: tuple[Path, ...] = ()
    loading: tuple[Path, ...] = ()
    programs: bool = False


def confine(left: Confinement) -> None:
    """Give up all rights but those in `left`, for this thread and those it starts.

    A thread that runs already keeps its rights: call this before anything is imported that starts threads. Raises
    ConfigError where the user to become could not write to a folder, or where root may not become that user, as in a
    container without those capabilities; OSError where the kernel refuses, which it has no reason to. Does nothing but
    on Linux.
    """
    if not sys.platform.startswith("linux"):
        return
    if left.user is not None:
        for folder in left.folders:
            _hand_over(folder, left.user)
    elif os.geteuid() == 0 and not _may_become():
        tell("root without CAP_SETUID and CAP_SETGID stays root, without any capability")
    _checked(_libc().prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0), "prctl")
    _checked(_libc().prctl(AMBIENT, AMBIENT_CLEAR_ALL, 0, 0, 0), "prctl")
    os.umask(OWN_FILES)
    allow_writing([*left.folders, *left.loading, Path(os.devnull)], programs=left.programs)  # while all can be opened
    loading = SETGID | SETUID | (capabilities() & DAC_READ_SEARCH)  # a home may be closed to others, root among them
    try:
        _keep(loading if left.user is not None else 0)
    except PermissionError as error:
        raise _not_allowed(left.user, error) from error


def become(user: User | None) -> None:
    """Become `user` in every thread, without any capability. Raises ConfigError where that is not allowed."""
    if user is None:
        return
    try:
        os.setgroups(user.groups)
        os.setresgid(user.gid, user.gid, user.gid)
        os.setresuid(user.uid, user.uid, user.uid)
    except OSError as error:  # a namespace of users that holds no other one
        raise _not_allowed(user, error) from error
    _keep(0)


def capabilities() -> int:
    """Return the effective capabilities of all threads of this process, as the bits of /proc/self/status; 0: none."""
    found = 0
    for status in Path("/proc/self/task").glob("*/status"):
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that has ended meanwhile
            for line in status.read_text().splitlines():
                if line.startswith("CapEff:"):
                    found |= int(line.split()[1], 16)
    return found


def _may_become() -> bool:
    """Return whether this process has the capabilities to become another user; a container's root may lack them."""
    return capabilities() & (SETGID | SETUID) == SETGID | SETUID


def _not_allowed(user: User | None, error: OSError) -> ConfigError:
    """Return the error for a root that cannot become another user."""
    return ConfigError(
        f"root cannot become user {user.name if user else ''} here ({error.strerror}): that needs CAP_SETUID and "
        "CAP_SETGID, and the user in this namespace; start it as that user with CAP_NET_RAW alone, or with --user "
        "root, without any capability"
    )


def _hand_over(folder: Path, user: User) -> None:
    """Make a missing folder for the user alone; check that the user can write to one that exists."""
    try:
        if not folder.exists():
            folder.mkdir(0o700, parents=True)
            os.chown(folder, user.uid, user.gid, follow_symlinks=False)  # of a link put there meanwhile
        found = folder.stat()
    except OSError as error:
        raise ConfigError(f"{folder}: {error.strerror}; name a folder that can be made") from error
    bits = 0o200 if found.st_uid == user.uid else 0o020 if found.st_gid in user.groups else 0o002
    if not found.st_mode & bits:
        raise ConfigError(
            f"{folder}: user {user.name}, which this becomes once the socket is open, may not write there: "
            f"chown {user.name} {folder}, or name a user who may with --user"
        )


def _keep(rights: int) -> None:
    """Set this thread's capabilities to these of the first 32, and no others."""
    header = (ctypes.c_uint32 * 2)(VERSION_3, 0)
    kept = (ctypes.c_uint32 * 6)(rights, rights, 0, 0, 0, 0)  # effective, permitted, inheritable, twice 32 bits each
    _checked(_libc().capset(header, kept), "capset")


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int, call: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")
