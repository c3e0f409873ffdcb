"""`offramp worker`: runs the Faust worker of a site until it is told to stop; prints the account at the end."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from offramp.cli.options import DAY_S, KafkaOptions, Metrics, ModelFolder, ServingBackend, SiteFile

if TYPE_CHECKING:
    from offramp.stream.metrics.registry import Metrics as Registry
    from offramp.stream.worker.partition_meter import LinkWork
    from offramp.stream.worker.partition_processor import WorkerLedger


@dataclass(frozen=True, kw_only=True)
class WorkerOptions(KafkaOptions):
    """What `offramp worker` was asked for."""

    site: SiteFile = None
    model: ModelFolder = None
    group: Annotated[str, typer.Option("--group", help="its workers share the links; PREFIX-SITE otherwise")] = ""
    forecasts: Annotated[bool, typer.Option("--forecasts/--no-forecasts", help="publish forecasts too")] = True
    checkpoint_s: Annotated[
        float, typer.Option("--checkpoint", help="seconds between checkpoints", min=0.05, max=3_600)
    ] = 5.0
    session_s: Annotated[
        float, typer.Option("--session", help="seconds of silence until others take its links", min=1, max=600)
    ] = 10.0
    max_age_s: Annotated[
        float,
        typer.Option(
            "--max-age", help="seconds; older live messages are shed under overload; 0: never", min=0, max=3_600
        ),
    ] = 1.0
    stall_s: Annotated[
        float,
        typer.Option(
            "--stall", help="seconds that messages may wait in vain before it ends; 0: for ever", min=0, max=DAY_S
        ),
    ] = 30.0
    metrics: Metrics = ""
    backend: ServingBackend = "compiled"


def worker(options: WorkerOptions) -> None:
    """Decide on published features: a worker, of as many as wanted, until Ctrl-C; the ledger at the end.

    Example: offramp worker --site site.toml --kafka 127.0.0.1:9092
    """
    from offramp.stream.metrics.server import serving

    with serving(options.metrics, "worker") as metrics:
        work(options, metrics)


def work(options: WorkerOptions, metrics: Registry | None) -> None:
    """Set a worker up, and run it beside its watchdog. Raises KafkaAccessError where broker or topics are missing."""
    from offramp.decision.site import load_or_default
    from offramp.inference.artifact import DEFAULT_ARTIFACT, load_artifact
    from offramp.inference.serving.table import open_backend
    from offramp.kafka import KafkaAccessError, require_name, topic_states
    from offramp.kernels import announce_compiling
    from offramp.stream.metrics.readings import info, worker_readings
    from offramp.stream.metrics.table import unobserved
    from offramp.stream.metrics.timed_predictor import TimedPredictor
    from offramp.stream.topics.table import refuse_unequal
    from offramp.stream.worker.checkpoint_reader import refuse_grown
    from offramp.stream.worker.ending import Ending
    from offramp.stream.worker.partition_meter import PartitionMeter
    from offramp.stream.worker.topic_watch import NAMES
    from offramp.stream.worker.watchdog import Watchdog, stalled
    from offramp.streams import tell

    settings = options.kafka_settings()
    site = load_or_default(options.site)
    artifact = load_artifact(options.model or DEFAULT_ARTIFACT)
    predictor = open_backend(options.backend, artifact)
    for what, name in (("site", site.name), *(("link", link.name) for link in site.links)):
        require_name(what, name)
    if options.group:
        require_name("--group", options.group)
    from offramp.stream.worker import service

    service.require_small(predictor)
    topics = topic_states(settings, "worker", *NAMES)
    features = topics[settings.topic("features")]
    refuse_unequal(settings, "worker", features.partitions, topics[settings.topic("state")].partitions)
    group = options.group or f"{settings.prefix}-{site.name}"
    refuse_grown(settings, group, features)
    if options.site is not None and (assumed := site.assumed()):
        tell(assumed)
    announce_compiling()
    from offramp.stream.app import Worker
    from offramp.stream.worker.log import set_up

    selection = set_up()

    observe = metrics.observe if metrics else unobserved
    running = Worker(
        settings, site, artifact, TimedPredictor(predictor, observe) if metrics else predictor, group=group,
        forecasts=options.forecasts, checkpoint_s=options.checkpoint_s, session_s=options.session_s,
        max_age_s=options.max_age_s, meter=PartitionMeter(observe), topic=features,
    )  # fmt: skip
    service.warm(site, artifact, predictor)
    watchdog = Watchdog(running, options.stall_s)
    if metrics is not None:
        metrics.read_from(info("worker", site.name), partial(worker_readings, running, watchdog))
    print(f"worker of site {site.name} on {settings.shown}; stop it with Ctrl-C", file=sys.stderr, flush=True)
    ending = Ending(
        lambda: account(running.ledger, running.meter.links), lambda: str(stalled(watchdog)) if watchdog.stall else "",
        lambda: shutil.rmtree(str(running.app.conf.datadir), ignore_errors=True),
    )  # fmt: skip
    watchdog.start()
    try:
        service.run(running, ending, selection)
    except KafkaAccessError:
        ending.failed = True
        raise
    finally:
        ending.begin()
        ending.report()
        watchdog.close()
        shutil.rmtree(str(running.app.conf.datadir), ignore_errors=True)
        if watchdog.stall:
            raise stalled(watchdog)


def account(ledger: WorkerLedger, links: Mapping[str, LinkWork]) -> list[str]:
    """Return the ledger as lines; of each link the messages that its agents' sequences left out, and the holes."""
    gaps = {link: work.intake["gaps"] for link, work in sorted(links.items())}
    holes = {link: work.stream.holes for link, work in sorted(links.items())}
    repeats = sum(work.intake["duplicates"] for work in links.values())
    return [
        "ledger",
        f"  messages            {ledger.messages:>12,}",
        f"    of other sites    {ledger.other_site:>12,}",
        *([f"    marks             {ledger.marks:>12,}"] if ledger.marks else []),
        f"    refused           {ledger.refused.total():>12,}",
        *(f"      {reason:<24} {count:>8,}" for reason, count in sorted(ledger.refused.items())),
        f"    shed, too old     {ledger.shed:>12,}   with {ledger.shed_rows:,} rows",
        f"  repeats dropped     {repeats:>12,}",
        f"  missing, in gaps    {sum(gaps.values()):>12,}   {sum(holes.values()):,} holes, windows begun anew",
        *(f"    {link:<26} {gaps[link]:>8,}   {holes[link]:,} holes" for link in gaps if gaps[link] or holes[link]),
        f"  commands sent       {ledger.commands:>12,}",
        *(f"    never sent        {count:>12,}   {topic}" for topic, count in sorted(ledger.unsendable.items())),
        f"  checkpoints         {ledger.checkpoints:>12,}",
        f"  rewinds             {ledger.rewinds:>12,}",
        f"  links taken over    {ledger.links_restored:>12,}",
        *([f"  checkpoints refused {ledger.states_refused:>12,}"] if ledger.states_refused else []),
    ]
