"""Times of packets that come at a steady rate."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BASE, SECOND = 1_700_000_000_000_000_000, 1_000_000_000


Times = NDArray[np.int64]


def steady(count: int, apart_ms: float = 2.0) -> Times:
    return BASE + (np.arange(count) * apart_ms * 1e6).astype(np.int64)
