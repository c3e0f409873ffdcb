"""TensorFlow's notice is held back, and nothing else."""

from __future__ import annotations

import subprocess
import sys

from tests.support.places import ROOT

CODE = """
import os, sys
from offramp.inference.network.tensorflow_notices import without_notices
with without_notices():
    import tensorflow
    os.write(2, b"native\\n")
    print("python", file=sys.stderr)
try:
    with without_notices():
        os.write(2, b"before\\n")
        raise ValueError("failed")
except ValueError as error:
    print(error, file=sys.stderr)
"""


def test_the_notice_alone_is_held_back() -> None:
    environment = {"PATH": "/usr/bin", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True, check=True, env=environment
    )
    assert done.stderr.splitlines() == ["native", "python", "before", "failed"]
    assert done.stdout == ""
