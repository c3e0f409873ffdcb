"""The evaluation as one function: jobs, numbers, figures, page."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from offramp.errors import ConfigError
from offramp.inference.baselines.models import model_of
from offramp.inference.evaluation.edge import EdgeTraffic
from offramp.inference.evaluation.evaluation_data import EvaluationData
from offramp.inference.evaluation.jobs import JobOutcome, Plan, TestSets, run_jobs
from offramp.inference.evaluation.report import Picture, page
from offramp.inference.evaluation.results import Scorer, results_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LINED = ("hybrid", "hybrid-paper", "boosting", "ewma", "persistence")
"""Models that are drawn as lines, and in figures that have room for few."""


def evaluate(
    data: EvaluationData, plan: Plan, folder: Path, edge: EdgeTraffic | None, workers: int = 1
) -> dict[str, Any]:
    """Do or load every job, write results.json, figures/*.png and report.html to `folder`; return the results.

    workers: jobs done at once.
    """
    if plan.horizon_ms not in data.horizons_ms:
        raise ConfigError(f"--horizon {plan.horizon_ms}: the data set has {', '.join(map(str, data.horizons_ms))} ms")
    import matplotlib

    from offramp.inference.evaluation.palette import RC

    folder.mkdir(parents=True, exist_ok=True)
    test_sets = TestSets(data, plan.budget)
    outcomes = run_jobs(data, plan, test_sets, folder / "models", workers)
    results: dict[str, Any] = finite(results_of(data, plan, test_sets, outcomes))
    (folder / "results.json").write_text(json.dumps(results, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    with matplotlib.rc_context(RC):
        pictures = draw(data, plan, test_sets, outcomes, results, edge, folder / "figures")
    (folder / "report.html").write_text(page(with_nan(results), pictures, edge_notes(edge)), encoding="utf-8")
    return results


def finite(value: Any) -> Any:
    """Return a value for JSON: NaN and infinities, which JSON does not have, as None."""
    if isinstance(value, dict):
        return {key: finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def with_nan(value: Any) -> Any:
    """Return a value of `finite` with NaN for None again, which arithmetic goes through."""
    if isinstance(value, dict):
        return {key: with_nan(one) for key, one in value.items()}
    if isinstance(value, list):
        return [with_nan(one) for one in value]
    return math.nan if value is None else value


def edge_notes(edge: EdgeTraffic | None) -> list[str]:
    """Return what is missing of Edge-IIoTset."""
    if edge is None:
        return ["No file of Edge-IIoTset was given (--edge FILE): distributions by attack type are not shown."]
    total = f"{sum(edge.rows.values()):,} rows of {len(edge.rows)} classes were read"
    total += f"; {edge.lost:,} more had lost their values and are left out." if edge.lost else "."
    missing = edge.missing()
    found = f"Not among them: {', '.join(missing)}." if missing else "All 15 classes of the data set are among them."
    return [f"{total} {found} They have no congestion labels: this tells of the traffic, not of forecasts."]


def draw(
    data: EvaluationData, plan: Plan, test_sets: TestSets, outcomes: Sequence[JobOutcome], results: dict[str, Any],
    edge: EdgeTraffic | None, folder: Path,
) -> list[Picture]:  # fmt: skip
    """Draw every figure to `folder` as PNG and return them in the order of the page."""
    from offramp.inference.evaluation import edge as edges
    from offramp.inference.evaluation import figures_data, figures_scores, figures_time

    numbers = with_nan(results)
    task, test_set = test_sets.at(plan.horizon_ms)
    main = {o.job.model: o for o in outcomes if o.job.horizon_ms == plan.horizon_ms and o.job.share >= 1}
    lined = [name for name in LINED if name in main] or list(main)[:3]
    scorer = Scorer(test_set, data.seed)
    sums = {name: scorer.sums(main[name]) for name in lined}
    over = {name: main[name].found for name in lined if name != "hybrid-paper" and name != "ewma"} or {
        name: main[name].found for name in lined
    }
    few = [name for name in lined if name != "ewma"][:3]
    figures: list[tuple[str, str, str, Callable[[], Figure | None]]] = [
        ("bars", "all", "Scores of all models with their 95 % intervals (the paper's figures 10 and 11). Accuracy and "
         "macro F1: longer is better; MAE and RMSE: shorter is better.", lambda: figures_scores.bars(numbers)),
        ("bars-macro", "classes", "Macro precision and recall of all models (figure 10), with their 95 % intervals.",
         lambda: figures_scores.bars(numbers, (("precision", "macro precision"), ("recall", "macro recall")))),
        ("confusion", "classes", "Confusion matrices (figure 6): how the bins of each true class, a row, were "
         "forecast. The diagonal is right.", lambda: figures_scores.confusions(numbers, few)),
        ("classification", "classes", "Classification report (figure 9): precision is how many of the forecasts of a "
         "class were right, recall how many of its bins were found, F1 both in one.",
         lambda: figures_scores.report_bars(numbers, lined)),
        ("roc", "classes", "ROC of each class (figure 12): the nearer to the upper left corner, the better a class is "
         "told from the rest; the grey line is chance.", lambda: figures_scores.rocs(sums, numbers)),
        ("over-time", "delay", "Forecasts beside the truth, in the 30 s in which the truth moves most. Above: the "
         "delay that was forecast for the horizon ahead, and what came. Below: the class probabilities.",
         lambda: figures_time.over_time(task, test_set, over)),
        ("reliability", "calibration", "Reliability: of the forecasts that were so sure, how many came true. On the "
         "grey line a probability means what it says; below it the model was too sure.",
         lambda: figures_scores.reliability(sums, numbers)),
        ("class-distribution", "data", "Class distribution (figure 4): all bins whose delay to come is known, also "
         "those with too little before them to be scored. The limits are terciles of the training part, if not given.",
         lambda: figures_data.class_distribution(data, task)),
        ("correlation", "data", "Correlation matrix (figure 5): of the channels that models see, and of the delay to "
         "come (last row).", lambda: figures_data.correlations(data, task)),
        ("traffic", "data", "Channels now, by the class to come (figure 8 in our data): where the lines part, a "
         "channel tells of what comes.", lambda: figures_data.traffic(data, task)),
    ]  # fmt: skip
    if len(results["horizons"]) > 1:
        figures.append(("horizons", "horizons", "Scores by how far ahead is forecast, with 95 % bands.",
                        lambda: figures_time.horizons(numbers)))  # fmt: skip
    if results["learning"]:
        figures.append(("learning", "learning", "Learning curve: scores by the share of the training part that was "
                        "learned from, with 95 % bands.", lambda: figures_time.learning(numbers)))  # fmt: skip
    if results["importance"]:
        figures.append(("importance", "importance", "Permutation importance: what is lost when a channel is moved by "
                        "half a series in time, so that it tells nothing of its own bin; the sixteen that matter most.",
                        lambda: figures_time.importance(numbers)))  # fmt: skip
    figures.append(("cost", "cost", "Latency and energy of a forecast (log scales).",
                    lambda: figures_time.cost(numbers)))  # fmt: skip
    if edge is not None:
        figures += [
            ("edge-types", "edge", "Rows of the files given, by attack type.", lambda: edges.attack_types(edge)),
            ("edge-arp", "edge", "Addresses in ARP, by attack type (figure 7).", lambda: edges.arp_addresses(edge)),
            ("edge-traffic", "edge", "Traffic by attack type (figure 8): box from the first to the third quartile, the "
             "line its median. No box: no value of that column.", lambda: edges.traffic_characteristics(edge)),
        ]  # fmt: skip
    return saved(figures, folder)


def saved(figures: Sequence[tuple[str, str, str, Callable[[], Figure | None]]], folder: Path) -> list[Picture]:
    """Draw and save figures; one that has nothing to show (None) is left out."""
    folder.mkdir(parents=True, exist_ok=True)
    out = []
    for name, section, caption, make in figures:
        figure = make()
        if figure is not None:
            path = folder / f"{name}.png"
            figure.savefig(path, metadata={"Software": None}, bbox_inches="tight", pad_inches=0.1)
            out.append(Picture(path, section, caption))
    return out


def main_table(results: dict[str, Any]) -> str:
    """Return tables 2 and 3 as text: one line a model, each score with its interval."""
    keys = (("accuracy", "accuracy"), ("f1", "macro F1"), ("mae_ms", "MAE ms"), ("rmse_ms", "RMSE ms"))
    lines = [f"{'model':<26}" + "".join(f"{label:>27}" for _, label in keys)]
    for name, model in results["models"].items():
        cells = []
        for key, _ in keys:
            one = model["scores"][key]
            cells.append(f"{one['value']:9.3f} [{one['low']:.3f}, {one['high']:.3f}]")
        lines.append(f"{model_of(name).title:<26}" + "".join(f"{cell:>27}" for cell in cells))
    return "\n".join(lines)
