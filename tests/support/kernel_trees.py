"""Code that runs a kernel in a process of its own, in this project or a small one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from offramp.sources import ROOT

CODE = """
import numpy as np
from offramp.kernels import announce_compiling
from offramp.stream.bins.virtual_queue import fixed_delays
announce_compiling()
announce_compiling()
print(fixed_delays(np.arange(3), np.arange(3), 1.0, 10.0).sum())
"""


def start(
    cache: Path | None, code: str = CODE, *, tree: Path = ROOT, prefix: tuple[str, ...] = (), **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run code in a tree of the project, with a folder for its caches, as the end of another command."""
    kept = {name: value for name, value in os.environ.items() if name not in ("XDG_CACHE_HOME", "CACHE_DIRECTORY")}
    kept |= {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"} | environment
    if cache is not None:
        kept["XDG_CACHE_HOME"] = str(cache)
    return subprocess.run(
        [*prefix, sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tree, env=kept
    )


def small_tree(folder: Path) -> Path:
    """A project of one kernel, whose constants come from a table over another module, in a package of its own."""
    (folder / "offramp").mkdir(parents=True)
    for module in (ROOT / "offramp").glob("*.py"):
        shutil.copy(module, folder / "offramp")
    for package in ("stream", "stream/bins"):
        (folder / package).mkdir()
        (folder / package / "__init__.py").touch()
    (folder / "offramp/stream").symlink_to("../stream")
    (folder / "stream/channels.py").write_text("BIN_NS = 10\nCOLUMNS = ('ip.proto', 'tcp.len')\n")
    (folder / "stream/bins/state.py").write_text(
        "from offramp.stream.channels import BIN_NS, COLUMNS\nINDEX = {name: n for n, name in enumerate(COLUMNS)}\n"
    )
    (folder / "stream/bins/closing.py").write_text(
        "from offramp.kernels import kernel\n"
        "from offramp.stream.bins.state import (\n    BIN_NS,  # the bin's length\n    INDEX,\n)\n"
        "PROTO = INDEX['ip.proto']\n\n"
        "@kernel\ndef closed(ns, row):\n    return ns // BIN_NS, row[PROTO]\n"
    )
    return folder
