"""CUBIC (RFC 9438): how a congestion window grows by acknowledged segments, and shrinks by a loss."""

from __future__ import annotations

from typing import Any

from offramp.kernels import kernel_lean

BETA = 0.7
"""What a loss leaves of the window (section 4.6)."""
CUBE = 0.4
"""C, segments a cubed second (section 5)."""
FRIENDLY = 3 * (1 - BETA) / (1 + BETA)
"""Segments that Reno with this BETA adds a round trip, so that it is as fast as Reno with a half (section 4.3)."""
FEWEST = 2.0
"""Segments of the smallest window after a loss (section 4.6)."""


@kernel_lean
def cube_root(value: float) -> float:
    """Return the cube root of a number that is not negative, by Newton's steps: the same on any processor."""
    if value <= 0.0:
        return 0.0
    root = 1.0
    while root * root * root < value:
        root *= 2.0
    for _ in range(60):
        following = root - (root * root * root - value) / (3.0 * root * root)
        if following >= root:  # from above, steps shrink until the last bit is reached
            break
        root = following
    return root


@kernel_lean
def grow(s: Any, acked: int, now_ns: int) -> None:
    """Grow the window of a connection by newly acknowledged segments (sections 4.2 to 4.5, 4.10)."""
    if s.cwnd < s.ssthresh:
        s.cwnd = min(s.cwnd + acked, s.ssthresh)
        return
    if s.epoch_ns < 0:  # congestion avoidance begins
        s.epoch_ns, s.w_est = now_ns, s.cwnd
        s.w_max = max(s.w_max, s.cwnd)
        s.k = cube_root((s.w_max - s.cwnd) / CUBE)
    passed = (now_ns - s.epoch_ns) / 1e9
    ahead = passed + s.srtt_ns / 1e9 - s.k
    target = min(max(CUBE * ahead * ahead * ahead + s.w_max, s.cwnd), 1.5 * s.cwnd)
    s.w_est += (1.0 if s.w_est >= s.prior else FRIENDLY) * acked / s.cwnd
    here = passed - s.k
    if CUBE * here * here * here + s.w_max < s.w_est:
        s.cwnd = max(s.cwnd, s.w_est)
    else:
        s.cwnd += (target - s.cwnd) / s.cwnd * acked


@kernel_lean
def shrink(s: Any) -> None:
    """Shrink the window for a loss, with fast convergence (sections 4.6 and 4.7)."""
    s.prior = s.cwnd
    s.w_max = s.cwnd * (1 + BETA) / 2 if s.cwnd < s.w_max else s.cwnd
    s.ssthresh = max(s.cwnd * BETA, FEWEST)
    s.cwnd = s.ssthresh
    s.epoch_ns = -1
