"""Numba's cache of compiled kernels, keyed by all that a kernel depends on, in the folders of kernel_places.

A kernel's folder is named after all that it was compiled from: the files that its own file imports, whose constants are
frozen into it, the compiler, and the compiler's settings. A file in it holds one signature for one kind of processor;
it is written whole or not at all, and read only if its checksum holds. Code for this very processor is looked for
first, then code for all that have at least its general features (SHIPPED).
"""

from __future__ import annotations

import hashlib
import os
import pickle
import sys
import uuid
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
from numba.core import compiler, config
from numba.core.serialize import dumps

from offramp.kernel_places import places
from offramp.sources import ROOT, digest_of, sources_of

SETTINGS = (
    "OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "ENABLE_AVX", "DISABLE_INTEL_SVML", "BOUNDSCHECK", "DEBUGINFO_DEFAULT",
    "EXTEND_VARIABLE_LIFETIMES", "LLVM_REFPRUNE_PASS", "LLVM_REFPRUNE_FLAGS",
)  # fmt: skip
"""Settings of Numba that change the code it makes, besides the processor, which is in a file's key."""
SHIPPED = ("x86-64-v3", "")
"""LLVM's processor and features beyond it of the kernels that a wheel holds: those of 2013 and since, with AVX2."""
V3 = frozenset(
    (
        "avx", "avx2", "bmi", "bmi2", "cx16", "f16c", "fma", "lzcnt", "movbe", "popcnt", "sahf", "sse3", "sse4.1",
        "sse4.2", "ssse3", "xsave",
    )
)  # fmt: skip
"""The features that code for it takes for granted."""
OWN = (Path(__file__).with_name("kernels.py"), Path(__file__))
"""Files that decide how kernels are compiled and kept, and so are part of every key."""
CHECKSUM_BYTES = hashlib.sha256().digest_size


class KernelCache:
    """The cache in which Numba's dispatcher looks for a signature before it compiles it, and saves it afterwards."""

    def __init__(self, function: Any, options: str) -> None:
        self._function, self._options = function, options
        self._folder = kernel_folder(Path(function.__code__.co_filename))
        self._line = function.__code__.co_firstlineno  # in a file whose content is in the folder's name, as a hash

    @property
    def cache_path(self) -> str | None:
        """Where the kernel is kept once it is compiled; None: nowhere. Numba's statistics show it."""
        root = places().writable
        return str(root / self._folder) if root is not None and self._folder else None

    def load_overload(self, signature: Any, target: Any) -> Any:
        """Return a signature that is kept whole in one of the places; None: it must be compiled."""
        if not self._folder:
            return None
        target.refresh()
        for processor in processors(target.codegen().magic_tuple()):
            key = self._key(signature, processor)
            for root in places().readable:
                kept = _read(root / self._folder / self._file(key), key)
                if kept is not None:
                    places().used(root / self._folder)
                    return compiler.CompileResult._rebuild(target, *kept)
        places().report()
        return None

    def save_overload(self, signature: Any, compiled: Any) -> None:
        """Keep a compiled signature; where that fails, the places report it once."""
        root = places().writable
        if root is None or not self._folder or compiled.library.has_dynamic_globals:
            return
        key = self._key(signature, compiled.codegen.magic_tuple())
        try:
            _write(root / self._folder / self._file(key), dumps((key, compiled._reduce())))
            places().used(root / self._folder)
        except OSError as error:
            places().refused(root, error)

    def flush(self) -> None:
        """Do nothing: what is on disk is right whenever its name is asked for."""

    def _key(self, signature: Any, processor: tuple[str, str, str]) -> tuple[Any, ...]:
        return self._function.__qualname__, signature, processor, self._options, self._line

    def _file(self, key: tuple[Any, ...]) -> str:
        """Return a file's name; of keys that are spelled alike the one compiled last has it."""
        name = self._function.__qualname__.replace("<", "").replace(">", "")
        return f"{name}-{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}.kernel"


@cache
def processors(own: tuple[str, str, str]) -> tuple[tuple[str, str, str], ...]:
    """Return the processors whose code this one can run, its own first: triple, name, features.

    Only its own, where NUMBA_CPU_NAME or NUMBA_CPU_FEATURES choose it.
    """
    has = {feature[1:] for feature in own[2].split(",") if feature.startswith("+")}
    chosen = config.CPU_NAME is not None or config.CPU_FEATURES is not None
    return (own,) if chosen or not has >= V3 or not own[0].startswith("x86_64") else (own, (own[0], *SHIPPED))


@cache
def kernel_folder(source: Path) -> str:
    """Return the name of the folder for the kernels of a file; "" where there is no such file.

    It has the file's name, and a hash of all that the kernels' code depends on but the processor.
    """
    if not source.is_file():
        return ""
    settings = [getattr(config, name, None) for name in SETTINGS]
    numpy = np.__version__.split(".")[:2]  # the versions that Numba distinguishes
    used = (sys.implementation.cache_tag, numba.__version__, llvmlite.__version__, numpy, settings)
    digest = hashlib.sha256(repr(used).encode() + digest_of((*sources_of(source), *OWN)).encode())
    real = Path(os.path.realpath(source))
    name = ".".join(real.relative_to(ROOT).with_suffix("").parts) if real.is_relative_to(ROOT) else real.stem
    name = name.removeprefix("offramp.")
    return f"kernels-{name}-{digest.hexdigest()[:16]}"


def _read(path: Path, key: tuple[Any, ...]) -> Any:
    """Return what is kept in a file; None where it is missing, not whole, or of another key."""
    try:
        text = path.read_bytes()
    except OSError:
        return None
    if hashlib.sha256(text[CHECKSUM_BYTES:]).digest() != text[:CHECKSUM_BYTES]:
        return None
    found, compiled = pickle.loads(text[CHECKSUM_BYTES:])  # noqa: S301 - of a place that nobody else can write to
    return compiled if found == key else None


def _write(path: Path, text: bytes) -> None:
    """Write a file under another name first: another process reads either the old one, or the new one whole."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        part.write_bytes(hashlib.sha256(text).digest() + text)
        part.replace(path)
    except OSError:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise
