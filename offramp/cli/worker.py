"""`offramp worker`: runs the Faust worker of a site until it is told to stop; the account at the end."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import signal
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from offramp.decision.policy import Policy
from offramp.decision.site import Site, default_site, load_site
from offramp.errors import ArtifactError
from offramp.inference.artifact import DEFAULT_ARTIFACT, Artifact, load_artifact
from offramp.inference.serving.predictor import Predictor
from offramp.inference.serving.table import open_predictor
from offramp.kafka import BODY_LIMIT, KafkaAccessError, KafkaSettings, require_name, topic_states
from offramp.kernels import announce_compiling
from offramp.stream.bins.state import SERIES
from offramp.stream.metrics.readings import info, worker_readings
from offramp.stream.metrics.registry import Metrics
from offramp.stream.metrics.server import serving
from offramp.stream.metrics.table import unobserved
from offramp.stream.metrics.timed_predictor import TimedPredictor
from offramp.stream.topics.table import refuse_unequal
from offramp.stream.worker.checkpoint_reader import refuse_grown
from offramp.stream.worker.ending import Ending
from offramp.stream.worker.load_shedding import MAX_AGE_S
from offramp.stream.worker.partition import CHECKPOINT_S, SESSION_S, WorkerLedger
from offramp.stream.worker.partition_meter import LaneMeter, LinkWork
from offramp.stream.worker.topic_watch import NAMES
from offramp.stream.worker.watchdog import STALL_S, Watchdog, stalled


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """What `offramp worker` was asked for."""

    settings: KafkaSettings
    site: Path | None = None
    model: Path | None = None
    group: str = ""
    forecasts: bool = True
    checkpoint_s: float = CHECKPOINT_S
    session_s: float = SESSION_S
    max_age_s: float = MAX_AGE_S
    stall_s: float = STALL_S
    metrics: str = ""
    serve_by: str = "compiled"


def run_worker(options: WorkerOptions) -> None:
    """Run `offramp worker` until SIGTERM or Ctrl-C. Raises KafkaAccessError where broker or topics are missing."""
    with serving(options.metrics, "worker") as metrics:
        _work(options, metrics)


def _work(options: WorkerOptions, metrics: Metrics | None) -> None:
    """Set a worker up, and run it beside its watchdog."""
    settings = options.settings
    site = load_site(options.site) if options.site else default_site()
    folder = options.model or DEFAULT_ARTIFACT
    artifact, predictor = load_artifact(folder), open_predictor(folder, options.serve_by)
    for what, name in (("site", site.name), *(("link", link.name) for link in site.links)):
        require_name(what, name)
    if options.group:
        require_name("--group", options.group)
    require_small(predictor)
    topics = topic_states(settings, "worker", *NAMES)
    features = topics[settings.topic("features")]
    refuse_unequal(settings, "worker", features.partitions, topics[settings.topic("state")].partitions)
    group = options.group or f"{settings.prefix}-{site.name}"
    refuse_grown(settings, group, features)
    announce_compiling()
    from offramp.stream.app import Worker
    from offramp.stream.worker.log import set_up

    selection = set_up()

    observe = metrics.observe if metrics else unobserved
    worker = Worker(
        settings, site, artifact, TimedPredictor(predictor, observe) if metrics else predictor, group=group,
        forecasts=options.forecasts, checkpoint_s=options.checkpoint_s, session_s=options.session_s,
        max_age_s=options.max_age_s, meter=LaneMeter(observe), topic=features,
    )  # fmt: skip
    warm(site, artifact, predictor)
    watchdog = Watchdog(worker, options.stall_s)
    if metrics is not None:
        metrics.read_from(info("worker", site.name), partial(worker_readings, worker, watchdog))
    print(f"worker of site {site.name} on {settings.shown}; stop it with Ctrl-C", file=sys.stderr, flush=True)
    ending = Ending(
        lambda: account(worker.ledger, worker.meter.links), lambda: str(stalled(watchdog)) if watchdog.stall else "",
        lambda: shutil.rmtree(str(worker.app.conf.datadir), ignore_errors=True),
    )  # fmt: skip
    watchdog.start()
    try:
        _run(worker, ending, selection)
    except KafkaAccessError:
        ending.failed = True
        raise
    finally:
        ending.begin()
        ending.tell()
        watchdog.close()
        shutil.rmtree(str(worker.app.conf.datadir), ignore_errors=True)
        if watchdog.stall:
            raise stalled(watchdog)


def require_small(predictor: Predictor) -> None:
    """Refuse a model whose carried states leave no room for the rest of a checkpoint. Raises ArtifactError."""
    size = SERIES * predictor.state_size * 4
    if size > BODY_LIMIT // 2:
        raise ArtifactError(
            f"model {predictor.name}: carries {size:,} bytes a link, a checkpoint has room for {BODY_LIMIT // 2:,}; "
            "train a smaller preset"
        )


def warm(site: Site, artifact: Artifact, predictor: Predictor) -> None:
    """Load the kernels before the group gives this worker messages that would wait for them.

    What is there now stays until the end: the garbage collector need not look at it again, which halted the
    worker for up to a third of a second.
    """
    import pyarrow as pa

    from offramp.capture.message.decode import SCHEMA
    from offramp.stream.pipeline.pipeline import Pipeline
    from offramp.stream.pipeline.timeline import LinkTimeline
    from offramp.stream.topics.cloud_events import forecast_messages

    link, told = site.links[0].name, list[LinkTimeline]()
    pipeline = Pipeline(site, link, predictor, artifact.normaliser, Policy(site, link), sink=told.append)
    row = {"frame.time_epoch": 1_000_000_000, "frame.len": 60}
    pipeline.update(pa.RecordBatch.from_pylist([row], schema=SCHEMA))
    pipeline.advance(2_000_000_000)
    pipeline.close()
    forecast_messages(told, site.name, predictor.horizon_ms)
    gc.collect()
    gc.freeze()


def _run(worker: Any, ending: Ending, selection: Any) -> None:
    """Run Faust's service worker until a signal; it ends in order, or `ending` ends it."""
    import faust
    from mode.threads import ServiceThread, WorkerThread

    others = threading.excepthook

    def told(thrown: threading.ExceptHookArgs) -> None:
        if not isinstance(thrown.thread, WorkerThread):
            others(thrown)

    # what ends a service's thread ends the worker, which tells it in a line; mode would print its traceback twice
    threading.excepthook = told
    crashed: list[object] = []
    ServiceThread.on_crash = lambda *words, **_: crashed.append(words[-1])  # type: ignore[method-assign]

    async def stop() -> None:
        selection.ending = True
        await worker.stop()
        ending.tell()
        if ending.begun and not worker.reach.connected:
            ending.leave()  # there is nobody to say good-bye to

    async def before_stop(*_: object, **__: object) -> None:
        await stop()

    class Service(faust.Worker):
        """Faust's, that gives the account before all else when it is told to end."""

        def install_signal_handlers(self) -> None:
            """Take signals even where the event loop hangs."""
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, self._told_to_end)

        def _told_to_end(self, *_: object) -> None:
            if ending.begin():
                self.loop.call_soon_threadsafe(self._end)

        def _end(self) -> None:
            first = asyncio.ensure_future(stop(), loop=self.loop)
            first.add_done_callback(lambda _: self._on_sigterm())

    worker.app.on_before_shutdown.connect(before_stop)
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        service = Service(
            worker.app, loglevel="WARNING", quiet=True, redirect_stdouts=False, override_logging=False,
            stdout=nowhere, stderr=nowhere,
        )  # fmt: skip
        service.spinner = None  # it shows the cursor again at the end, by a terminal's escape, terminal or not
        try:
            service.execute_from_commandline()
        except SystemExit as ended:
            if ended.code:
                reasons = (
                    worker.app.crash_reason,
                    service.crash_reason,
                    *crashed,
                    ended.__context__,
                    "an error told above",
                )
                reason = next(each for each in reasons if each is not None)
                raise KafkaAccessError(f"worker: ended by {reason!s}; start it again") from ended


def account(ledger: WorkerLedger, links: Mapping[str, LinkWork]) -> list[str]:
    """Return the ledger as lines; of each link the messages that its agents' sequences left out, and the holes."""
    gaps = {link: work.intake["gaps"] for link, work in sorted(links.items())}
    holes = {link: work.stream.holes for link, work in sorted(links.items())}
    repeats = sum(work.intake["duplicates"] for work in links.values())
    return [
        "ledger",
        f"  messages            {ledger.messages:>12,}",
        f"    of other sites    {ledger.other_site:>12,}",
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
