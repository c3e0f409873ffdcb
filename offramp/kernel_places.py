"""The folders in which compiled kernels are kept: the service's, the user's, else a temporary one, else none.

A wheel may bring kernels of its own, which are read where the package lies and never written.

Kernels are unpickled when they are loaded, so whoever can write to them can have this process do anything. So a folder
is used only if it and all above it are of this user or of root, and nobody else may write to them; this is checked of
an existing folder, and made so for a new one.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import sys
import tempfile
import time
import uuid
from contextlib import suppress
from functools import cache
from itertools import islice
from pathlib import Path

GONE = "removed-"
MEND = "set XDG_CACHE_HOME to a folder of your own"
STARTED_AS = os.geteuid()
"""The user whose folders are trusted besides root's: a tap started by root may have become another user since."""
OVERFLOW = 65534
"""The apparent owner, in a user namespace, of files whose user is not in it, such as the machine's root."""


SHIPPED_SET = Path(__file__).with_name("kernel_sets")
"""Where a wheel has its kernels: who can write there can change the package itself."""
MANIFEST = "set.json"
"""File in a folder of kernels compiled for elsewhere that says for what; see offramp.kernel_set."""
UNUSED_S = 30 * 86_400
"""A set of kernels unused for this long is removed: of a former version, or of a branch long merged."""
TOUCHED_S = 86_400
"""How old the note of a set's last use may be, so that most starts write nothing to the disk."""
MAX_REMOVED = 500
"""Sets that one process removes at most: some ten versions' worth, in a fraction of a second."""


class Places:
    """Where kernels are read from, and where they are written to; made by `places`.

    readable: folders in order; writable: one of them, None for nowhere; reasons: why not the lasting ones before it.
    """

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.readable: list[Path] = []
        self.writable: Path | None = None
        self._told = False
        for root in lasting_roots():
            self._try(root)
        self.lasting = self.writable is not None
        for root in temporary_roots():
            if self.writable is None:
                self._try(root)
        if SHIPPED_SET.is_dir():
            self.readable.append(SHIPPED_SET)
        self._used: set[Path] = set()
        self._tidied = False

    def unfit(self) -> str:
        """Return that the package's own kernels do not fit here, for a line on compiling; "" where it has none."""
        if SHIPPED_SET not in self.readable:
            return ""
        try:
            made_for = ", ".join(map(str, json.loads((SHIPPED_SET / MANIFEST).read_text(encoding="utf-8")).values()))
        except (OSError, ValueError):
            made_for = "damaged"
        return f"those that came with offramp ({made_for}) do not fit here; "

    def used(self, folder: Path) -> None:
        """Note on disk that a set is used: once a process, at most daily, and never for the package's own."""
        if folder in self._used or folder.parent == SHIPPED_SET:
            return
        self._used.add(folder)
        with suppress(OSError):  # a place to read from alone
            if abs(time.time() - folder.stat().st_mtime) > TOUCHED_S:
                os.utime(folder)

    def tidy(self) -> int:
        """Remove sets that nobody used for UNUSED_S, from where this process writes, once; return how many.

        A set is renamed first: another process reads the whole of it, or nothing and compiles.
        """
        if self._tidied or self.writable is None:
            return 0
        self._tidied = True
        removed = 0
        with suppress(OSError):  # a tap has become a user who may not read it
            for folder in list(islice(self.writable.glob("kernels-*"), 20 * MAX_REMOVED)):
                with suppress(OSError):
                    if removed < MAX_REMOVED and time.time() - folder.stat().st_mtime > UNUSED_S:
                        gone = folder.with_name(f"{GONE}{uuid.uuid4().hex[:8]}")
                        folder.rename(gone)
                        shutil.rmtree(gone, ignore_errors=True)
                        removed += 1
            for folder in self.writable.glob(f"{GONE}*"):  # of a process that ended in the middle
                shutil.rmtree(folder, ignore_errors=True)
        return removed

    def report(self) -> None:
        """Report on standard error, once, that what is now compiled cannot be kept for long, and how to fix that."""
        if self.lasting or self._told:
            return
        self._told = True
        print(f"offramp: {self.where()}; {MEND}", file=sys.stderr)

    def where(self) -> str:
        """Return in words where compiled kernels are kept."""
        if self.lasting:
            return f"compiled kernels are kept in {self.writable}"
        why = "; ".join(self.reasons)
        if self.writable is None:
            return f"compiled kernels are not kept, so that each start compiles anew ({why})"
        return f"compiled kernels are kept in {self.writable} only ({why})"

    def refused(self, root: Path, error: OSError) -> None:
        """Note that writing has failed (a full disk): nothing more is kept, which is reported once."""
        if self.writable is not None:
            self.writable, self.lasting = None, False
            self.reasons.append(f"{root}: {error.strerror}")
            self.report()

    def _try(self, root: Path) -> None:
        """Use a folder for reading and for writing, as far as it is fit."""
        try:
            made(root)
            why = distrusted(root)
        except OSError as error:
            self.reasons.append(f"{root}: {error.strerror}")
            return
        if why:
            self.reasons.append(f"{root}: {why}")
            return
        self.readable.append(root)
        if self.writable is None:
            try:
                tempfile.TemporaryFile(dir=root).close()  # what os.access says of a read-only disk differs by system
            except OSError as error:
                self.reasons.append(f"{root}: {error.strerror}")
            else:
                self.writable = root


@cache
def places() -> Places:
    """Return the places of this process, looked for once."""
    return Places()


def lasting_roots() -> list[Path]:
    """Return the folders that outlast a process: a systemd unit's, then the user's; the first that is fit is used.

    systemd sets CACHE_DIRECTORY for a unit with CacheDirectory=; of several, with colons between, the first is taken.
    """
    service = os.environ.get("CACHE_DIRECTORY", "").split(":")[0]
    chosen = os.environ.get("XDG_CACHE_HOME", "")
    roots = [Path(service)] if service else []
    if chosen:
        roots.append(Path(chosen) / "offramp")
    else:
        home = os.path.expanduser("~") if os.environ.get("HOME", "~") else "~"  # noqa: PTH111 - unlike Path's, raises nothing
        roots.append(Path(home) / ".cache" / "offramp")  # "~" stays where neither HOME nor the list of users knows one
    return roots


def cache_root() -> Path:
    """Return the folder for what else is kept between runs (jars, made captures); it need not exist."""
    return lasting_roots()[0]


def temporary_roots() -> list[Path]:
    """Return folders that all starts of this user share, for a while; Python's own choice may be the working folder."""
    chosen = os.environ.get("TMPDIR", "")
    return [Path(each) / f"offramp-{STARTED_AS}" for each in (chosen, "/tmp", "/var/tmp") if each]  # noqa: S108 - checked


def made(root: Path) -> None:
    """Make a folder, and those above it that are missing, for this user alone.

    Raises OSError where it cannot be made, or where the folder to make it in is not one to trust.
    """
    if not root.is_absolute():
        raise FileNotFoundError(errno.ENOENT, "no absolute path")
    missing = [each for each in (root, *root.parents) if not each.exists()]
    if missing:
        why = distrusted(missing[-1].parent, above=True)
        if why:
            raise PermissionError(errno.EPERM, why)
    for each in reversed(missing):
        each.mkdir(mode=0o700, exist_ok=True)
    if not root.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))


def distrusted(root: Path, *, above: bool = False) -> str:
    """Return why the content of a folder could be somebody else's, "" if it cannot be.

    above: of a folder that something is to be made in; everybody may write to it if all may only remove their own.
    """
    real = Path(os.path.realpath(root))
    ours = {0, STARTED_AS, os.geteuid()}
    above_ours = ours | ({OVERFLOW} if _in_namespace() else set())
    for each in dict.fromkeys((root, *root.parents, real, *real.parents)):
        about = each.lstat()
        name = "" if each in (root, real) and not above else f"{each} "
        if about.st_uid not in (ours if each in (root, real) and not above else above_ours):
            return f"{name}belongs to another user"
        group_too = about.st_mode & stat.S_IWGRP and about.st_gid != about.st_uid  # alike: a group of the user alone
        shared = about.st_mode & stat.S_ISVTX and (above or each not in (root, real))
        if (about.st_mode & stat.S_IWOTH or group_too) and not shared and not stat.S_ISLNK(about.st_mode):
            return f"others may write to {name or 'it'}".strip()
    return ""


def _in_namespace() -> bool:
    """Return whether this process's users are a few of the machine's, so that OVERFLOW is none of them."""
    try:
        spans = [line.split() for line in Path("/proc/self/uid_map").read_text(encoding="ascii").splitlines()]
    except OSError:
        return False
    return not any(int(first) <= OVERFLOW < int(first) + int(count) for first, _, count in spans)
