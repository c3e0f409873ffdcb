"""One look for all figures: Okabe and Ito's colours, which the colour-blind can tell apart; a model keeps its own."""

from __future__ import annotations

from typing import Any

from offramp.inference.baselines.models import model_of
from offramp.inference.forecast import CLASSES

FAMILIES = {"hybrid": "#0072B2", "trees": "#D55E00", "network": "#009E73", "kernel": "#CC79A7", "naive": "#7F7F7F"}
FAMILY_TITLES = {"hybrid": "hybrid", "trees": "trees", "network": "one network", "kernel": "support vectors",
                 "naive": "no learning"}  # fmt: skip
LINES: dict[str, dict[str, Any]] = {
    "hybrid": {"color": "#0072B2", "marker": "o", "linestyle": "-"},
    "hybrid-paper": {"color": "#56B4E9", "marker": "D", "linestyle": "-"},
    "boosting": {"color": "#D55E00", "marker": "s", "linestyle": "--"},
    "ewma": {"color": "#E69F00", "marker": "^", "linestyle": "-."},
    "persistence": {"color": "#000000", "marker": "x", "linestyle": ":"},
}
"""Models that are drawn as lines differ in colour, marker and dash."""

CLASS_COLOURS = dict(zip(CLASSES, ("#56B4E9", "#E69F00", "#8B2500"), strict=True))
RC = {
    "figure.dpi": 110, "savefig.dpi": 110, "font.size": 10, "axes.grid": True, "axes.axisbelow": True,
    "grid.color": "#DDDDDD", "grid.linewidth": 0.6, "axes.spines.top": False, "axes.spines.right": False,
    "legend.frameon": False, "figure.constrained_layout.use": True, "axes.titlesize": 11, "axes.titlelocation": "left",
}  # fmt: skip


def colour(name: str) -> str:
    """Return the colour of a model's bar: its family's, but the paper's hybrid has a lighter one."""
    return "#56B4E9" if name == "hybrid-paper" else FAMILIES[model_of(name).family]


def line(name: str) -> dict[str, Any]:
    """Return how a model is drawn as a line."""
    return LINES.get(name, {"color": colour(name), "marker": ".", "linestyle": "-"})


def title(name: str) -> str:
    """Return what a figure calls a model."""
    return model_of(name).title
