"""Run a worker as Faust's service: warm it up, run it until a signal, and end it."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
from pathlib import Path
from typing import Any

from offramp.decision.site import Site
from offramp.errors import ArtifactError
from offramp.inference.artifact import Artifact
from offramp.inference.serving.predictor import Predictor
from offramp.kafka import MAX_BODY, KafkaAccessError
from offramp.stream.bins.state import SERIES
from offramp.stream.worker.ending import Ending


def require_small(predictor: Predictor) -> None:
    """Refuse a model whose carried states leave no room for the rest of a checkpoint. Raises ArtifactError."""
    size = SERIES * predictor.state_size * 4
    if size > MAX_BODY // 2:
        raise ArtifactError(
            f"model {predictor.name}: carries {size:,} bytes a link, a checkpoint has room for {MAX_BODY // 2:,}; "
            "train a smaller preset"
        )


def warm(site: Site, artifact: Artifact, predictor: Predictor) -> None:
    """Load the kernels before the group gives this worker messages that would wait for them.

    What is loaded stays until the end and is hidden from the garbage collector, whose look at it halted the worker for
    up to a third of a second.
    """
    import pyarrow as pa

    from offramp.capture.message.decode import SCHEMA
    from offramp.stream.pipeline.pipeline import Pipeline
    from offramp.stream.pipeline.timeline import LinkTimeline
    from offramp.stream.topics.cloud_events import forecast_messages

    link, timelines = site.links[0].name, list[LinkTimeline]()
    pipeline = Pipeline(site, link, predictor, artifact.normaliser, sink=timelines.append)
    row = {"frame.time_epoch": 1_000_000_000, "frame.len": 60}
    pipeline.update(pa.RecordBatch.from_pylist([row], schema=SCHEMA))
    pipeline.advance(2_000_000_000)
    pipeline.close()
    forecast_messages(timelines, site.name, predictor.horizon_ms)
    gc.collect()
    gc.freeze()


def run(worker: Any, ending: Ending, selection: Any) -> None:
    """Run Faust's service worker until a signal; it ends in order, or `ending` ends it."""
    import faust
    from mode.threads import ServiceThread, WorkerThread

    others = threading.excepthook

    def thread_failed(thrown: threading.ExceptHookArgs) -> None:
        if not isinstance(thrown.thread, WorkerThread):
            others(thrown)

    # what ends a service's thread ends the worker, which reports it in a line; mode would print its traceback twice
    threading.excepthook = thread_failed
    crashed: list[object] = []
    ServiceThread.on_crash = lambda *words, **_: crashed.append(words[-1])  # type: ignore[method-assign]

    async def stop() -> None:
        selection.ending = True
        await worker.stop()
        ending.report()
        if ending.begun and not worker.reach.connected:
            ending.leave()  # there is no broker to wait for

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
