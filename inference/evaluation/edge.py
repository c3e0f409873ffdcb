"""What the report shows of Edge-IIoTset: rows, ARP addresses and traffic by attack type, of the files given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import SymmetricalLogLocator
from numpy.typing import NDArray

ATTACK_TYPES = (
    "Normal", "Backdoor", "DDoS_HTTP", "DDoS_ICMP", "DDoS_TCP", "DDoS_UDP", "Fingerprinting", "MITM", "Password",
    "Port_Scanning", "Ransomware", "SQL_injection", "Uploading", "Vulnerability_scanner", "XSS",
)  # fmt: skip
"""The data set's classes, as its own `Attack_type` spells them."""
MAX_ADDRESSES = 10
MAX_FLIERS = 500
SHADES = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#7F7F7F", "#000000")


class EdgeTraffic(NamedTuple):
    """What the files hold.

    rows: by attack type; addresses: rows by ARP field, address and attack type; values: by column and attack type;
    lost: rows with nothing in them that could be read.
    """

    rows: Mapping[str, int]
    addresses: Mapping[str, Mapping[str, Mapping[str, int]]]
    values: Mapping[str, Mapping[str, NDArray[np.float64]]]
    lost: int = 0

    def missing(self) -> tuple[str, ...]:
        """Return the attack types of which there is no row."""
        return tuple(kind for kind in ATTACK_TYPES if not self.rows.get(kind))


def attack_types(edge: EdgeTraffic) -> Figure:
    """Draw the rows of each attack type."""
    names = sorted(edge.rows, key=lambda name: edge.rows[name])
    figure = Figure((8, 0.3 * len(names) + 1.1))
    axes = figure.subplots()
    axes.barh(range(len(names)), [edge.rows[name] for name in names], 0.7, color="#0072B2")
    for i, name in enumerate(names):
        axes.text(edge.rows[name], i, f" {edge.rows[name]:,}", va="center", fontsize=8)
    axes.set_xscale("log")
    axes.set_xlim(0.7, 4 * max(edge.rows.values()))
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("rows (log scale)")
    axes.grid(visible=False, axis="y")
    return figure


def arp_addresses(edge: EdgeTraffic) -> Figure | None:
    """Draw which addresses ARP names, stacked by attack type (the paper's figure 7); None where there is no ARP."""
    shown = {field: counts for field, counts in edge.addresses.items() if counts}
    if not shown:
        return None
    kinds = sorted({kind for counts in shown.values() for one in counts.values() for kind in one})
    figure = Figure((11, 3.8))
    grid = figure.subplots(1, len(shown), squeeze=False)[0]
    for axes, (field, counts) in zip(grid, shown.items(), strict=True):
        most = sorted(counts, key=lambda name: -sum(counts[name].values()))[:MAX_ADDRESSES][::-1]
        left = np.zeros(len(most))
        for i, kind in enumerate(kinds):
            width = np.array([counts[name].get(kind, 0) for name in most], np.float64)
            axes.barh(range(len(most)), width, 0.7, left=left, color=SHADES[i % len(SHADES)], label=kind)
            left += width
        axes.set_yticks(range(len(most)), most, fontsize=8)
        axes.set(xlabel="ARP rows", title=field)
        axes.grid(visible=False, axis="y")
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize=9)
    return figure


def traffic_characteristics(edge: EdgeTraffic) -> Figure | None:
    """Draw the distribution of traffic columns by attack type (figure 8); None where no column has values."""
    shown = {column: kinds for column, kinds in edge.values.items() if any(len(v) for v in kinds.values())}
    if not shown:
        return None
    names = [name for name in edge.rows if any(len(kinds.get(name, ())) for kinds in shown.values())]
    figure = Figure((11, 0.26 * len(names) + 1.6))
    grid = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for axes, (column, kinds) in zip(grid, shown.items(), strict=True):
        for i, name in enumerate(names):
            values = kinds.get(name, np.empty(0))
            if len(values):
                axes.boxplot(
                    values, positions=[i], widths=0.6, orientation="horizontal", flierprops={"markersize": 2},
                    showfliers=len(values) < MAX_FLIERS, medianprops={"color": "#D55E00"},
                )  # fmt: skip
        axes.set_xscale("symlog")
        axes.xaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=2.0))
        axes.xaxis.get_major_locator().set_params(numticks=4)
        axes.set_title(column, fontsize=10)
        axes.tick_params(labelsize=8)
        axes.grid(visible=False, axis="y")
    grid[0].set_yticks(range(len(names)), names)
    grid[0].set_ylim(-0.6, len(names) - 0.4)
    figure.supxlabel("value in the column's own unit (symmetric log scale)", fontsize=10)
    return figure
