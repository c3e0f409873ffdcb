"""What came true of a forecast: the largest delay of a link's queue within the horizon after each bin.

As training has it (`stream.datasets.labelling`), of bins as a pipeline closes them: in a silence, which has none, the
queue runs dry.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def came_true_ms(
    bins: NDArray[np.int64], largest_ms: NDArray[np.float32], end_ms: NDArray[np.float32], horizon: int, until: int
) -> NDArray[np.float32]:
    """Return the largest delay within `horizon` bins after each bin: float32 [n], NaN where not all are known.

    bins: int64 [n] numbers of a link's bins, in order, of an unbroken time; largest_ms, end_ms: float32 [n] largest
    delay of each, and that at its end; until: the first bin of which nothing is known.
    """
    largest = np.append(largest_ms, np.float32(0))
    start, end = np.arange(1, len(bins) + 1), np.searchsorted(bins, bins + horizon, "right")
    highest = np.maximum.reduceat(largest, np.stack([start, end], 1).ravel())[::2]
    found = np.where(end > start, highest, np.float32(0)).astype(np.float32)
    silent = np.append(np.diff(bins) > 1, True)
    found[silent] = np.maximum(found, end_ms)[silent]
    found[bins + horizon >= until] = np.nan
    return found
