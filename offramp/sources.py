"""The source files that a module depends on: the closure of its imports within the project.

Results kept on disk (compiled kernels, an evaluation's trained models) are named after the files that they depend on,
so that none is used after an edit of these. A compiled kernel has the values of imported constants frozen into it, so
its own file alone is not enough.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

ROOT = Path(os.path.realpath(__file__)).parents[1]
"""Where the project's packages lie: a checkout, or an environment's site-packages."""
OURS = ("offramp", "deploy", "bench", "tests")
"""Packages of the project; all else that ROOT holds is of others. In a checkout the stages are links in offramp/."""

IMPORT = re.compile(
    rb"^[ \t]*(?:from[ \t]+(\.*)([\w.]*)[ \t]+import[ \t]*(\([^)]*\)|[^\n]*)|import[ \t]+([^\n]*))", re.MULTILINE
)
"""An import statement at a line's beginning: dots, module and names of the one kind, modules of the other.

Read so as 100 files take a few milliseconds, and half a second through the parser; what it takes for an import within
a text adds a file, or nothing.
"""


@cache
def sources_of(path: Path) -> tuple[Path, ...]:
    """Return the files of the project that a file imports, directly or through others, itself among them, in order."""
    first = Path(os.path.realpath(path))
    seen, waiting = {first}, [first]
    while waiting:
        for each in imports_of(waiting.pop()):
            if each not in seen:
                seen.add(each)
                waiting.append(each)
    return tuple(sorted(seen))


def digest_of(paths: Iterable[Path]) -> str:
    """Return a hash of files' names and contents, in hex; names are those of a checkout, of a wheel's files too."""
    digest = hashlib.sha256()
    named = ((str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else path.name, path) for path in paths)
    for name, path in sorted((name.removeprefix("offramp/"), path) for name, path in named):
        digest.update(f"{name}\0".encode() + _sum(path))
    return digest.hexdigest()


@cache
def imports_of(path: Path) -> frozenset[Path]:
    """Return the files of the project that a file itself imports, and the packages that they stand in."""
    found: set[Path] = set()
    for dots, module, names, modules in IMPORT.findall(_text(path)):
        if modules:
            for one in modules.decode().split(","):
                found |= _files_of(one.split("#")[0].split(" as ")[0].strip())
            continue
        above = _package_of(path, len(dots)) if dots else ""
        base = ".".join(part for part in (above, module.decode()) if part)
        found |= _files_of(base)
        if ROOT.joinpath(*base.split(".")).is_dir():  # else the names are values, not modules
            for name in re.findall(r"\w+", names.decode()):
                found |= _files_of(f"{base}.{name}")
    return frozenset(found)


def _package_of(path: Path, dots: int) -> str:
    """Return the package that dots at the beginning of an import name, seen from a file."""
    package = path.parents[dots - 1]
    if not package.is_relative_to(ROOT):
        return ""
    parts = package.relative_to(ROOT).parts
    return ".".join(parts if parts[:1] and parts[0] in OURS else ("offramp", *parts))


@cache
def _files_of(module: str) -> frozenset[Path]:
    """Return the file of a module of the project and those of the packages around it; none of others' modules."""
    parts = module.split(".")
    if parts[0] not in OURS:
        return frozenset()
    places = [ROOT.joinpath(*parts[:length], "__init__.py") for length in range(1, len(parts) + 1)]
    files = map(_file, [*places, ROOT.joinpath(*parts).with_suffix(".py")])
    return frozenset(file for file in files if file is not None)


@cache
def _file(path: Path) -> Path | None:
    """Return a file by its own name, without links; None where there is none."""
    return Path(os.path.realpath(path)) if path.is_file() else None


@cache
def _text(path: Path) -> bytes:
    return path.read_bytes()


@cache
def _sum(path: Path) -> bytes:
    return hashlib.sha256(_text(path)).digest()
