"""Builds a wheel with the compiled kernels of the folder that OFFRAMP_KERNELS names; without it, one of Python alone.

offramp kernels --processor x86-64-v3 --out kernels
OFFRAMP_KERNELS=kernels python -m pip wheel --no-deps -w dist .
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PROCESSOR = "x86-64-v3"
"""The one whose kernels offramp looks for in a package; see offramp/kernel_cache.py."""
PLATFORM = "manylinux_2_28_x86_64"
"""Numba's own: kernels call the C library by names that are older, and Numba is there before them."""


class KernelHook(BuildHookInterface):  # type: ignore[type-arg]
    """Adds the kernels, and a tag that says for which Python they are."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add them. Raises ValueError for a folder of kernels that no package could use."""
        name = os.environ.get("OFFRAMP_KERNELS", "")
        if not name or version == "editable":
            return
        folder = Path(name).absolute()
        made = json.loads((folder / "set.json").read_text(encoding="utf-8"))
        python = re.fullmatch(r"cpython-(\d+)", made["python"])
        if made["processor"] != PROCESSOR or python is None:
            raise ValueError(
                f"{name}: kernels for {made['processor']} and {made['python']}; expected {PROCESSOR}, CPython"
            )
        build_data["pure_python"] = False
        build_data["tag"] = f"cp{python[1]}-cp{python[1]}-{PLATFORM}"
        build_data["force_include"][str(folder)] = "offramp/kernel_sets"
