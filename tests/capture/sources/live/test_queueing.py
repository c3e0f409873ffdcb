"""An interface that shapes what it sends is told from one that does not, by tap and doctor too."""

from __future__ import annotations

import sys

import pytest

from bench.namespace import Namespace
from offramp.capture.sources.live.queueing import disciplines, shapes
from tests.support.places import ROOT


def test_an_interface_that_is_not_there_has_none() -> None:
    assert disciplines("no-such") == []
    assert shapes("no-such") == ""


def test_lo_does_not_shape(namespace: Namespace) -> None:
    assert namespace.call(shapes, "lo") == ""


@pytest.mark.parametrize(
    ("discipline", "kind"),
    [("tbf rate 1mbit burst 5kb latency 100ms", "tbf"), ("htb default 1", "htb"), ("pfifo limit 100", "")],
)
def test_a_shaping_discipline_is_seen_and_told(namespace: Namespace, discipline: str, kind: str) -> None:
    try:
        namespace.run(f"tc qdisc replace dev v1 root {discipline}")
    except Exception as error:
        pytest.skip(f"this kernel has no {discipline.split()[0]}: {error}")
    assert discipline.split()[0] in namespace.call(disciplines, "v1")
    assert namespace.call(shapes, "v1") == kind
    assert namespace.call(shapes, "v0") == ""
    words = [sys.executable, "-m", "offramp", "tap", "v1", "--duration", "0.2"]
    _, errors = namespace.start(words, cwd=ROOT).communicate(timeout=120)
    told = [line for line in errors.splitlines() if "shapes what it sends" in line]
    assert len(told) == bool(kind), errors
    assert all(kind in line and line.startswith("warning: v1") for line in told)
    if kind == "htb":
        return  # told by the same function: asked once
    out, _ = namespace.start([sys.executable, "-m", "offramp", "doctor"], cwd=ROOT).communicate(timeout=120)
    assert ("v1 shapes what it sends" in out) == bool(kind)
