"""offramp: watch a link, foresee its congestion, and tell the network what to move before users feel it.

`features` and `replay` read captures, `DecisionClient` takes commands from Kafka; what they need is loaded when they
are first asked for, and type checkers find them in __init__.pyi (an import here would make every kernel rest on every
file). The stages are capture, stream, inference and decision; offramp.cli is the command line.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["DecisionClient", "features", "replay"]

_OF = {"features": "offramp.api", "replay": "offramp.api", "DecisionClient": "offramp.decision.client"}


def __getattr__(name: str) -> Any:
    """Load what is asked for; nothing of it is when the package is imported."""
    if name not in _OF:
        raise AttributeError(f"module 'offramp' has no attribute {name!r}")
    return getattr(import_module(_OF[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
