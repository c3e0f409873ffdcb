"""`python -m bench.gpu`: the serving backends on a GPU, with whichever of them finds one; without one it says so."""

from __future__ import annotations

import sys

from bench.serving import arguments, run

ON_GPU = ("tensorflow", "onnx")


def main() -> int:
    """Run the bench on a GPU; exit 0 without one, 1 where a backend disagrees."""
    asked = arguments("gpu")
    names = [name for name in asked.backends.split(",") if name in ON_GPU]
    rows = run(names, asked.kinds.split(","), "GPU", asked.json)
    if not rows:
        print("no backend here finds a GPU: nothing measured (extra `gpu` installs TensorFlow's)")
    return 0 if all(row["agrees"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
