"""Pictures as text: the few shapes that charts need, in SVG, with axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

INK, FAINT = "#444", "#ddd"


class Axis(NamedTuple):
    """Numbers from `low` to `high` laid from pixel `begin` to pixel `end`, by their logarithm where `log`."""

    low: float
    high: float
    begin: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """Return the pixel of a number; what lies outside stands at the edge."""
        low, high, inner = self.low, self.high, min(max(value, self.low), self.high)
        if self.log:
            low, high, inner = math.log(low), math.log(high), math.log(inner)
        return self.begin + (self.end - self.begin) * (inner - low) / (high - low)

    def ticks(self, most: int = 7) -> list[float]:
        """Return round numbers within, at most so many, or a few more where they are powers of ten."""
        if self.log and self.high > 10 * self.low:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            steps: Sequence[float] = (1, 2, 5) if len(powers) < 5 else (1,)
            every = (step * 10.0**power for power in powers for step in steps)
            return [value for value in every if self.low <= value <= self.high * (1 + 1e-9)]
        step = nice((self.high - self.low) / most)
        return [step * number for number in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]


def nice(value: float) -> float:
    """Return the least of 1, 2 and 5 times a power of ten that is not below a number."""
    power = 10.0 ** math.floor(math.log10(max(value, 1e-9)))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value * (1 - 1e-9))


def text(x: float, y: float, words: str, *, anchor: str = "start", colour: str = INK, size: int = 12) -> str:
    """Return words at a place, escaped."""
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} fill="{colour}" font-size="{size}">{escape(words)}</text>'


def line(x: float, y: float, to_x: float, to_y: float, colour: str = INK, width: float = 1.0, dash: str = "") -> str:
    """Return a straight line."""
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}" stroke="{colour}" stroke-width="{width:g}"'
        f"{dashed}/>"
    )


def circle(x: float, y: float, radius: float, fill: str, *, edge: str = "none", opacity: float = 1.0) -> str:
    """Return a dot."""
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" fill="{fill}" stroke="{edge}" stroke-width="1.6" '
        f'fill-opacity="{opacity:g}"/>'
    )


def path(x: Iterable[float], y: Iterable[float], colour: str, *, width: float = 1.5, dash: str = "") -> str:
    """Return a line through points."""
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{width:g}"{dashed}/>'


def area(x: Sequence[float], y: Sequence[float], ground: float, colour: str) -> str:
    """Return what lies between points and a ground, filled."""
    inner = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    points = f"{x[0]:.1f},{ground:.1f} {inner} {x[-1]:.1f},{ground:.1f}"
    return f'<polygon points="{points}" fill="{colour}" fill-opacity="0.35" stroke="{colour}" stroke-width="0.8"/>'


def along(axis: Axis, top: float, bottom: float, unit: str, shown: Callable[[float], str] = "{:g}".format) -> str:
    """Return a horizontal axis below a field: lines up through it, numbers, and the unit at its end."""
    marks = "".join(
        line(axis.at(tick), top, axis.at(tick), bottom, FAINT)
        + text(axis.at(tick), bottom + 16, shown(tick), anchor="middle")
        for tick in axis.ticks()
    )
    return f"{marks}{line(axis.begin, bottom, axis.end, bottom)}{text(axis.end, bottom + 32, unit, anchor='end')}"


def up(axis: Axis, left: float, right: float, shown: Callable[[float], str] = "{:g}".format, most: int = 5) -> str:
    """Return a vertical axis at the left of a field: lines across it, and numbers."""
    return "".join(
        line(left, axis.at(tick), right, axis.at(tick), FAINT)
        + text(left - 6, axis.at(tick) + 4, shown(tick), anchor="end")
        for tick in axis.ticks(most)
    )


def picture(width: int, height: float, parts: Iterable[str], caption: str) -> str:
    """Return a figure: a picture that fits the page, or is scrolled where that is narrow, and what it shows."""
    inner, told = "".join(parts), escape(caption)
    return (
        f'<figure><div class="wrap" tabindex="0"><svg viewBox="0 0 {width} {height:.0f}" role="img" '
        f'aria-label="{told}" font-family="system-ui,sans-serif">{inner}</svg></div>'
        f"<figcaption>{told}</figcaption></figure>"
    )


def thinned(values: NDArray[np.float32], columns: int) -> NDArray[np.float32]:
    """Return at most so many numbers, float32 [columns, ...]: the largest of each stretch."""
    count = len(values)
    if count <= columns:
        return values
    found: NDArray[np.float32] = np.maximum.reduceat(values, np.arange(columns) * count // columns, axis=0)
    return found
