"""Libraries that `pip install offramp` leaves out: name, in one line, the extra that brings a missing one.

What deciding from a capture, an interface or Kafka needs is always installed; libraries to learn, and those of other
dissectors and listeners, are extras. The table is pyproject.toml's, by the name that is imported.
"""

from __future__ import annotations

import importlib.util

from offramp.errors import ConfigError

EXTRAS = {
    "keras": "learn",
    "matplotlib": "learn",
    "onnx": "learn",
    "onnxruntime": "learn",
    "optuna": "learn",
    "river": "learn",
    "scipy": "learn",
    "sklearn": "learn",
    "tensorflow": "learn",
    "pandas": "frames",
    "pcapy": "live",
    "pyshark": "reference",
    "scapy": "scapy",
}
"""By the module's name: the extra that has it."""


class MissingExtraError(ConfigError):
    """A library that only some commands need is not installed."""


def require(doing: str, *modules: str) -> None:
    """Raise MissingExtraError where a module is not installed, before work that would fail without it.

    doing: what needs them. Loads nothing.
    """
    missing = [name for name in modules if not installed(name)]
    if missing:
        raise MissingExtraError(_told(doing, missing))


def installed(module: str) -> bool:
    """Return whether a module of another project can be imported, without doing so."""
    return importlib.util.find_spec(module) is not None


def missing_extra(error: ModuleNotFoundError, doing: str) -> MissingExtraError | None:
    """Return the error to raise for a failed import, None where the module is of no extra."""
    module = (error.name or "").partition(".")[0]
    if module not in EXTRAS or installed(module):
        return None
    return MissingExtraError(_told(doing, [module]))


def _told(doing: str, missing: list[str]) -> str:
    extras = ",".join(sorted({EXTRAS[name] for name in missing}))
    are = "is" if len(missing) == 1 else "are"
    return f"{doing} needs {' and '.join(missing)}, which {are} not installed: pip install 'offramp[{extras}]'"
