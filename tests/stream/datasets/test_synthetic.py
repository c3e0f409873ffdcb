"""Synthetic links: the same bytes where the last bit of an exponential or a logarithm is another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from offramp.stream.datasets.synthetic import synthetic_packets

DRAWN = ("exponential", "gamma", "lognormal", "normal")
"""What a generator computes by exponentials and logarithms; uniform numbers and integers are exact."""


def next_up(compute: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *arguments: np.nextafter(compute(*arguments), np.inf)


class NextUp:
    """A generator whose draws of those distributions are one bit larger."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def __getattr__(self, name: str) -> Any:
        own = getattr(self._rng, name)
        return next_up(own) if name in DRAWN else own


def test_one_bit_more_changes_no_packet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before, it changed a third of the links: a count was cut from a number that is whole but for its last bit."""
    plain = [synthetic_packets(np.random.default_rng([5, link]), 5.0) for link in range(40)]
    for name in ("exp", "exp2"):
        monkeypatch.setattr(np, name, next_up(getattr(np, name)))
    for link, (packets, config) in enumerate(plain):
        rng: Any = NextUp(np.random.default_rng([5, link]))
        found, found_shape = synthetic_packets(rng, 5.0)
        assert found_shape == config
        for mine, own in zip(found, packets, strict=True):
            np.testing.assert_array_equal(mine, own)
    assert sum(len(packets.size) for packets, _ in plain) > 50_000
