"""The carried LSTM state of all series, and the stepping of many closed bins in one call of the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from inference.serve import Prediction, Predictor


class CarriedState:
    """state: float32 [series, state_size], zeros for a fresh series."""

    def __init__(self, series: int, state_size: int) -> None:
        self.state = np.zeros((series, state_size), np.float32)

    def step(
        self,
        predictor: Predictor,
        x: NDArray[np.float32],
        spectrum: NDArray[np.float32],
        series: NDArray[np.int32],
        fresh: NDArray[np.uint8],
    ) -> Prediction:
        """Predict all rows in one call and keep the newest state of each series.

        A series that begins anew within the rows gets a row of zeros of its own, so that the call need not be cut.
        """
        begins = np.flatnonzero(fresh)
        if not len(begins):
            return predictor.predict(x, spectrum, series, self.state)
        lives = series.copy()
        for number, begin in enumerate(begins):
            later = lives[begin:]
            later[series[begin:] == series[begin]] = len(self.state) + number
        grown = np.concatenate([self.state, np.zeros((len(begins), self.state.shape[1]), np.float32)])
        prediction = predictor.predict(x, spectrum, lives, grown)
        for number, begin in enumerate(begins):  # in order, so that the newest life of a series stays
            self.state[series[begin]] = grown[len(self.state) + number]
        untouched = np.setdiff1d(np.arange(len(self.state)), series[begins])
        self.state[untouched] = grown[untouched]
        return prediction
