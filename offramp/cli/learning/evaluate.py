"""`offramp evaluate`: every model and rival on one data set, to a report."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from offramp.cli.options import Thresholds
from offramp.errors import ConfigError, writing
from offramp.extras import require

QUICK = 0.01
"""Share of the budget that `--quick` leaves."""


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """What `offramp evaluate` was asked for."""

    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="folder made by offramp dataset build")]
    out: Annotated[Path, typer.Option("--out", "-o", help="folder for report.html, figures and results.json")]
    models: Annotated[
        tuple[str, ...], typer.Option("--models", help="one of them, again for more: hybrid, boosting, ...; all")
    ] = ()
    horizon_ms: Annotated[
        int, typer.Option("--horizon", help="ms ahead of the tables, one of the data set's", min=10, max=3_600_000)
    ] = 500
    curves: Annotated[
        bool, typer.Option("--curves/--no-curves", help="also scores over all horizons, and learning curves")
    ] = True
    thresholds: Thresholds = "terciles"
    scale: Annotated[
        float, typer.Option("--scale", help="share of the full budget of data, epochs and trials", min=0.001, max=100)
    ] = 1.0
    quick: Annotated[bool, typer.Option("--quick", help="a hundredth of the budget: to see that it runs")] = False
    seed: Annotated[int, typer.Option("--seed", help="same seed, same report but for times")] = 1
    watts: Annotated[
        float,
        typer.Option("--watts", help="of a busy core, where the energy counter cannot be read", min=0, max=10_000),
    ] = 15.0
    edge: Annotated[
        tuple[str, ...],
        typer.Option("--edge", metavar="FILE", help="a CSV file of Edge-IIoTset to show, again for more"),
    ] = ()
    jobs: Annotated[
        int,
        typer.Option("--jobs", "-j", help="models trained at once, each with its share of the cores", min=1, max=1_024),
    ] = 1

    @property
    def command(self) -> str:
        """The command line that gives the same again."""
        words = ["offramp evaluate", self.dataset.name, *(f"--models {name}" for name in self.models)]
        words += [f"--horizon {self.horizon_ms}", f"--thresholds {self.thresholds}", f"--seed {self.seed}"]
        return " ".join([*words, "--quick" if self.quick else f"--scale {self.scale:g}"])


def evaluate(options: EvaluateOptions) -> None:
    """Train every model and rival on one data set and write a report: tables, figures, intervals.

    Example: offramp evaluate bench -o report --quick; then open report/report.html
    """
    if options.scale <= 0:
        raise ConfigError(f"--scale {options.scale:g}: expected a share of the budget above 0, such as 0.3")
    require("offramp evaluate", "keras", "tensorflow", "sklearn", "matplotlib")
    from offramp.inference.baselines.forecaster import Budget
    from offramp.inference.baselines.models import chosen
    from offramp.inference.dataset.dataset import open_dataset
    from offramp.inference.evaluation.evaluate import evaluate as evaluated
    from offramp.inference.evaluation.evaluate import main_table
    from offramp.inference.evaluation.jobs import Plan
    from offramp.inference.evaluation.verdict import summary
    from offramp.kernels import announce_compiling
    from offramp.stream.datasets.edge_traffic import edge_traffic
    from offramp.stream.learning.evaluating import evaluation_data_of
    from offramp.stream.learning.training import parse_thresholds

    announce_compiling()
    limits = parse_thresholds(options.thresholds)
    edge = edge_traffic(options.edge) if options.edge else None
    data = evaluation_data_of(open_dataset(options.dataset), limits, options.seed, options.command)
    budget = Budget().scaled(QUICK if options.quick else options.scale)
    plan = Plan(chosen(options.models), options.horizon_ms, options.curves, budget, options.watts)
    with writing(options.out):
        results = evaluated(data, plan, options.out, edge, options.jobs)
    print(main_table(results))
    print(f"{summary(results)}\nreport: {options.out / 'report.html'}", file=sys.stderr)
