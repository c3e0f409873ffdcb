"""`offramp kernels`: all kernels compiled beforehand, on all processors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer


@dataclass(frozen=True, kw_only=True)
class KernelsOptions:
    """What `offramp kernels` was asked for."""

    processor: Annotated[
        str, typer.Option("--processor", help="native; x86-64-v3, what wheels bring; or another name of LLVM's")
    ] = "native"
    out: Annotated[Path | None, typer.Option("--out", "-o", help="a folder of their own, instead of the cache")] = None
    jobs: Annotated[int, typer.Option("--jobs", "-j", help="processes; 0: one a core", min=0, max=1_024)] = 0


def kernels(options: KernelsOptions) -> None:
    """Compile all kernels now, on all cores, so that no command has to: once a version and machine.

    Example: offramp kernels
    """
    from offramp.kernel_set import build

    build(options.processor, options.out, options.jobs)
