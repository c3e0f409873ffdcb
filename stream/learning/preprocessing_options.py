"""The paper's choices of preprocessing by their words, for the command line and for training. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Outliers(StrEnum):
    """How outliers are found."""

    Z_SCORE = "z-score"
    ISOLATION_FOREST = "isolation-forest"
    NONE = "none"


class Treatment(StrEnum):
    """What is done with them."""

    WINSORISE = "winsorise"
    TRIM = "trim"


class Imputation(StrEnum):
    """What stands in for a missing value."""

    MEAN = "mean"
    MEDIAN = "median"
    ZERO = "zero"


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """The choices; as they stand they are the stream's own."""

    outliers: Outliers = Outliers.Z_SCORE
    treatment: Treatment = Treatment.WINSORISE
    imputation: Imputation = Imputation.MEAN

    @property
    def words(self) -> list[str]:
        """The options of the command line that differ from the stream's own."""
        own = Preprocessing()
        names = (
            ("--outliers", self.outliers, own.outliers),
            ("--treat", self.treatment, own.treatment),
            ("--impute", self.imputation, own.imputation),
        )
        return [f"{option} {chosen}" for option, chosen, usual in names if chosen != usual]
