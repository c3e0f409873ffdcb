"""The door to learning: data sets, training, search, evaluation, federation; parses, and calls one function a stage."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from offramp.cli.options import Kafka, KafkaConfig
from offramp.errors import ConfigError
from offramp.stream.learning.preprocessing_options import Imputation, Outliers, Preprocessing, Treatment

learning = typer.Typer()


class Search(StrEnum):
    """How hyperparameters are searched for."""

    BAYES = "bayes"
    GRID = "grid"


@learning.command(epilog="Example: offramp train samples/train.pcap.zst --site samples/site.toml -o mymodel")
def train(
    files: Annotated[
        list[str] | None, typer.Argument(metavar="[FILE...]", help="captures, or traces of `seconds bytes`")
    ] = None,
    dataset: Annotated[
        Path | None, typer.Option("--dataset", help="folder of `offramp dataset build`, instead of files")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="artifact folder to write")] = Path("model"),
    site: Annotated[Path | None, typer.Option("--site", help="site.toml: the links of the captures")] = None,
    synthetic: Annotated[
        int, typer.Option("--synthetic", help="made-up arrival sequences to add (seeded)", min=0, max=100_000)
    ] = 0,
    preset: Annotated[
        str, typer.Option("--preset", help="hyperparameters: default, paper, or a file of `offramp tune`")
    ] = "default",
    seed: Annotated[int, typer.Option("--seed", help="same seed, same model")] = 1,
    epochs: Annotated[int, typer.Option("--epochs", help="the most passes over the data", min=1, max=100_000)] = 40,
    thresholds: Annotated[
        str, typer.Option("--thresholds", help="delay in ms where Medium and High begin, or `terciles`")
    ] = "5,25",
    horizon: Annotated[
        int, typer.Option("--horizon", help="ms ahead that the delay is foreseen", min=10, max=3_600_000)
    ] = 500,
    outliers: Annotated[Outliers, typer.Option("--outliers", help="how outliers are found")] = Outliers.Z_SCORE,
    treat: Annotated[Treatment, typer.Option("--treat", help="what is done with them")] = Treatment.WINSORISE,
    impute: Annotated[Imputation, typer.Option("--impute", help="what stands in for the missing")] = Imputation.MEAN,
) -> None:
    """Train a model from captures and traces, or a data set, to an artifact folder that replay takes with --model."""
    from offramp.stream.learning.training import TrainOptions, run_training

    run_training(
        TrainOptions(
            tuple(files or ()), dataset, out, site, synthetic, preset, seed, epochs, thresholds, horizon,
            Preprocessing(outliers, treat, impute),
        )
    )  # fmt: skip


@learning.command(epilog="Example: offramp tune data -o best.toml --minutes 30")
def tune(
    dataset: Annotated[Path, typer.Argument(metavar="DIR", help="folder of `offramp dataset build`")],
    out: Annotated[Path, typer.Option("--out", "-o", help="preset to write: .toml")] = Path("preset.toml"),
    study: Annotated[Path, typer.Option("--study", help="file of the search; one that is there is resumed")] = Path(
        "study.sqlite"
    ),
    method: Annotated[Search, typer.Option("--method", help="Bayesian (TPE), or a grid")] = Search.BAYES,
    trials: Annotated[
        int, typer.Option("--trials", help="the most trials, earlier runs' counted", min=1, max=100_000)
    ] = 40,
    minutes: Annotated[
        float, typer.Option("--minutes", help="the longest this run may take", min=0.1, max=600_000)
    ] = 60.0,
    epochs: Annotated[
        int, typer.Option("--epochs", help="the most passes over the data a trial", min=1, max=100_000)
    ] = 8,
    preset: Annotated[str, typer.Option("--preset", help="where the search begins")] = "default",
    horizon: Annotated[
        int, typer.Option("--horizon", help="ms ahead that the delay is foreseen", min=10, max=3_600_000)
    ] = 500,
    thresholds: Annotated[
        str, typer.Option("--thresholds", help="delay in ms where Medium and High begin, or `terciles`")
    ] = "5,25",
    seed: Annotated[int, typer.Option("--seed", help="of the search and of every trial")] = 1,
) -> None:
    """Search for hyperparameters on a data set; write the best as a preset that train takes."""
    from offramp.cli.tune import TuneOptions, run_tune
    from offramp.stream.learning.training import TrainOptions

    what = TrainOptions((), dataset, out, None, 0, preset, seed, epochs, thresholds, horizon)
    run_tune(TuneOptions(what, study, method, trials, minutes))


dataset_app = typer.Typer(no_args_is_help=True, help="Labelled data sets to train and evaluate on.")
learning.add_typer(dataset_app, name="dataset")


@dataset_app.command("build", epilog="Example: offramp dataset build samples/evaluation.toml -o data --root DIR")
def dataset_build(
    spec: Annotated[Path, typer.Argument(metavar="SPEC", help="TOML: sources, capacities, parts (docs/data.md)")],
    out: Annotated[Path, typer.Option("--out", "-o", help="folder to write")],
    root: Annotated[Path | None, typer.Option("--root", help="what $ROOT/ stands for in the specification")] = None,
) -> None:
    """Build a data set: arrivals through capacities to series of bins with the delay of every horizon."""
    from offramp.stream.datasets.build import run_build

    run_build(spec, out, root)


@dataset_app.command("show", epilog="Example: offramp dataset show data")
def dataset_show(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="folder of `offramp dataset build`")],
    horizon: Annotated[
        int, typer.Option("--horizon", help="ms ahead of the table by kind", min=10, max=3_600_000)
    ] = 500,
) -> None:
    """Show a data set: rows by part and kind, balance of the classes, persistence, copies left out."""
    from offramp.inference.dataset.summary import run_show

    run_show(folder, horizon)


@learning.command(epilog="Example: offramp evaluate bench -o report --quick; then open report/report.html")
def evaluate(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="folder made by offramp dataset build")],
    out: Annotated[Path, typer.Option("--out", "-o", help="folder for report.html, figures and results.json")],
    models: Annotated[
        list[str] | None, typer.Option("--models", help="one of them, again for more: hybrid, boosting, ...; all")
    ] = None,
    horizon: Annotated[
        int, typer.Option("--horizon", help="ms ahead of the tables, one of the data set's", min=10, max=3_600_000)
    ] = 500,
    curves: Annotated[
        bool, typer.Option("--curves/--no-curves", help="also scores over all horizons, and learning curves")
    ] = True,
    thresholds: Annotated[
        str, typer.Option("--thresholds", help="delay in ms where Medium and High begin, or `terciles`")
    ] = "terciles",
    scale: Annotated[
        float, typer.Option("--scale", help="share of the full budget of data, epochs and trials", min=0.001, max=100)
    ] = 1.0,
    quick: Annotated[bool, typer.Option("--quick", help="a hundredth of the budget: to see that it runs")] = False,
    seed: Annotated[int, typer.Option("--seed", help="same seed, same report but for times")] = 1,
    watts: Annotated[
        float,
        typer.Option("--watts", help="of a busy core, where the energy counter cannot be read", min=0, max=10_000),
    ] = 15.0,
    edge: Annotated[
        list[str] | None,
        typer.Option("--edge", metavar="FILE", help="a CSV file of Edge-IIoTset to show, again for more"),
    ] = None,
    jobs: Annotated[
        int,
        typer.Option("--jobs", "-j", help="models trained at once, each with its share of the cores", min=1, max=1_024),
    ] = 1,
) -> None:
    """Train every model and rival on one data set and write a report: tables, figures, intervals."""
    from offramp.stream.learning.evaluating import EvaluateOptions, run_evaluate

    run_evaluate(
        EvaluateOptions(
            dataset,
            out,
            tuple(models or ()),
            horizon,
            curves,
            thresholds,
            scale,
            quick,
            seed,
            watts,
            tuple(edge or ()),
            jobs,
        )
    )


@learning.command(
    epilog="Examples: offramp federate base site1/models/0123 site2/models/4567 -o federated; "
    "offramp federate base -o federated --kafka 127.0.0.1:9092 --publish"
)
def federate(
    base: Annotated[Path, typer.Argument(metavar="BASE", help="artifact that all sites refined")],
    out: Annotated[Path, typer.Option("--out", "-o", help="artifact folder to write")],
    sites: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[SITE...]", help="what they made of it, by --refine; none: the topic `models`"),
    ] = None,
    clip: Annotated[
        float,
        typer.Option("--clip", help="the longest an update may be, of the weights' length", min=0.0001, max=1_000),
    ] = 0.1,
    names: Annotated[
        list[str] | None, typer.Option("--site", metavar="NAME", help="of the topic only this site, again for more")
    ] = None,
    publish: Annotated[bool, typer.Option("--publish", help="put the result to the topic too")] = False,
    kafka: Kafka = None,
    kafka_config: KafkaConfig = None,
) -> None:
    """Average what sites have learned, from files or from Kafka, to one model; only weights travel."""
    if sites and (names or publish):
        raise ConfigError("--site and --publish are for models of the topic: leave the folders SITE... out")
    if sites:
        from offramp.inference.refinement.federated import run_federate

        run_federate(base, tuple(sites), out, clip)
        return
    from offramp.cli.federate import FederateOptions, run_federate_topic
    from offramp.kafka import kafka_settings

    settings = kafka_settings(kafka, kafka_config)
    run_federate_topic(FederateOptions(settings, base, out, tuple(names or ()), clip, publish))
