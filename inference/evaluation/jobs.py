"""The jobs of an evaluation: one per model, horizon and share of the training part; each is done once and kept.

A job's folder holds `job.json` (settings, times, costs, importance), `forecasts.npz` (of the test set's rows) and what
the forecaster keeps itself, such as an artifact. `job.json` is written last and names what the job depended on: after a
kill the evaluation goes on after the last whole job, and after a change of data, budget or code it is done again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import time
import warnings
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from offramp.errors import InputError
from offramp.inference.baselines.forecaster import Budget, Task, portion
from offramp.inference.baselines.models import make, model_of
from offramp.inference.evaluation.cost import cost_of
from offramp.inference.evaluation.evaluation_data import EvaluationData, TestSet, test_set_of
from offramp.inference.evaluation.importance import importance_of
from offramp.inference.forecast import Prediction
from offramp.sources import digest_of, sources_of
from offramp.streams import tell

HERE = Path(__file__).resolve().parent
BY_HORIZON = ("hybrid", "boosting", "ewma", "persistence")
"""Models that are scored at every horizon."""
LEARNERS = ("hybrid", "boosting")
"""Models whose learning curve and importance of channels are shown."""
SHARES = (1 / 16, 1 / 4)
PROBE_BINS = 256
"""Bins of noise by which the transform is identified; eight frames of the spectra."""


class Job(NamedTuple):
    """One forecaster to train and score: model, horizon, share of the training part."""

    model: str
    horizon_ms: int
    share: float = 1.0

    @property
    def key(self) -> str:
        """Name of its folder."""
        return f"{self.model}-{self.horizon_ms}ms" + (f"-{self.share:.4g}" if self.share < 1 else "")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is wanted: models, the horizon of the tables, whether also curves, budget, watts of a busy core."""

    models: tuple[str, ...]
    horizon_ms: int
    curves: bool
    budget: Budget
    watts: float

    def jobs(self, horizons_ms: tuple[int, ...]) -> list[Job]:
        """Return all jobs: the tables first, then the other horizons, then the learning curves."""
        main = [Job(name, self.horizon_ms) for name in self.models]
        if not self.curves:
            return main
        far = [h for h in horizons_ms if h != self.horizon_ms]
        main += [Job(name, h) for h in far for name in self.models if name in BY_HORIZON]
        return main + [Job(name, self.horizon_ms, s) for name in self.models if name in LEARNERS for s in SHARES]


class JobOutcome(NamedTuple):
    """The outcome of a job: its job.json, and its forecasts of the test set's rows."""

    job: Job
    record: dict[str, Any]
    found: Prediction


class TestSets:
    """The task and the test set of each horizon, made when first asked for."""

    def __init__(self, data: EvaluationData, budget: Budget) -> None:
        self._data, self._budget = data, budget
        self._made: dict[int, tuple[Task, TestSet]] = {}

    def at(self, horizon_ms: int) -> tuple[Task, TestSet]:
        """Return what is to be forecast at a horizon, and the rows to forecast."""
        if horizon_ms not in self._made:
            task = self._data.task(horizon_ms, self._budget)
            self._made[horizon_ms] = task, test_set_of(self._data, task)
        return self._made[horizon_ms]


class Work(NamedTuple):
    """What the jobs of an evaluation share."""

    data: EvaluationData
    plan: Plan
    test_sets: TestSets
    folder: Path
    jobs: list[Job]


_shared: list[Work] = []
"""Read by forked workers: data sets are too large to be sent to them."""


def run_jobs(data: EvaluationData, plan: Plan, test_sets: TestSets, folder: Path, workers: int = 1) -> list[JobOutcome]:
    """Return the outcome of every job, done or loaded; a line of progress each, on standard error.

    workers: jobs done at once, each in a process of its own; a process does one and gives its memory back.
    """
    work = Work(data, plan, test_sets, folder, plan.jobs(data.horizons_ms))
    outcomes = [loaded(job, data, test_sets, folder) for job in work.jobs]
    missing = [number for number, one in enumerate(outcomes) if one is None]
    total = len(work.jobs)
    if len(missing) < total:
        tell(f"{total - len(missing)} of {total} models kept from before")
    if workers > 1 and len(missing) > 1 and "tensorflow" not in sys.modules:  # its threads do not survive a fork
        _shared[:] = [work]
        share = max(1, len(os.sched_getaffinity(0)) // workers)
        with get_context("fork").Pool(workers, _few_threads, (share,), maxtasksperchild=1) as pool:
            for place, _ in enumerate(pool.imap_unordered(_shared_job, missing, chunksize=1), 1):
                tell(f"{place} of {len(missing)} done")
        _shared.clear()
    else:
        for number in missing:
            _one_job(work, number)
    for number in missing:
        outcomes[number] = loaded(work.jobs[number], data, test_sets, folder)
    whole = [one for one in outcomes if one is not None]
    if len(whole) < total:
        raise InputError("the program's files changed while its models were trained; run it again, it does the rest")
    return whole


def _few_threads(count: int) -> None:
    """Let the libraries of a worker, none of which is loaded yet, take this many threads, and say nothing of it."""
    for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ[name] = str(count)
    warnings.filterwarnings("ignore", message="Loky-backed")  # a forest asks for more, and works with what there is


def _shared_job(number: int) -> None:
    _one_job(_shared[0], number)


def _one_job(work: Work, number: int) -> None:
    """Do a job, and say so."""
    job, begin = work.jobs[number], time.monotonic()
    place = f"[{number + 1}/{len(work.jobs)}] {job.key}"
    tell(f"{place} ...")
    done(job, work.data, work.plan, work.test_sets, work.folder)
    tell(f"{place} {time.monotonic() - begin:.0f} s")


def stamp_of(job: Job, data: EvaluationData, task: Task) -> str:
    """Return what a kept job must have depended on: data, what is made of them, task, budget, the model's own code."""
    place = model_of(job.model).place.split(":")[0]
    digest = hashlib.sha256(
        json.dumps([job, data.fingerprint, task.thresholds_ms, task.seed, asdict(task.budget)]).encode()
    )
    sources = set(sources_of(HERE.parent / f"baselines/{place}.py"))
    if job.model in LEARNERS:
        sources.add(HERE / "importance.py")
    digest.update(digest_of(sorted(sources)).encode())
    for made in data.transform(np.random.default_rng(0).normal(size=(PROBE_BINS, len(data.channels))).astype("f4")):
        digest.update(np.round(made, 3).tobytes())  # other processors round otherwise
    return digest.hexdigest()


def loaded(job: Job, data: EvaluationData, test_sets: TestSets, folder: Path) -> JobOutcome | None:
    """Return a kept job; None where there is none, or one of other data, settings or code."""
    at = folder / job.key
    try:
        record = json.loads((at / "job.json").read_text(encoding="utf-8"))
        if record["stamp"] != stamp_of(job, data, test_sets.at(job.horizon_ms)[0]):
            return None
        with np.load(at / "forecasts.npz", allow_pickle=False) as kept:
            return JobOutcome(job, record, Prediction(kept["probabilities"], kept["delay_ms"]))
    except (OSError, ValueError, KeyError):
        return None


def done(job: Job, data: EvaluationData, plan: Plan, test_sets: TestSets, folder: Path) -> None:
    """Fit, ask, measure, and keep."""
    task, test_set = test_sets.at(job.horizon_ms)
    at = folder / job.key
    shutil.rmtree(at, ignore_errors=True)
    at.mkdir(parents=True)
    forecaster = make(job.model, at)
    train = portion(data.parts["train"], job.share, task.seed, task.bin_ms)
    wall, cpu = time.monotonic(), time.process_time()
    forecaster.fit(train, data.parts["validation"], task)
    record: dict[str, Any] = {
        "model": job.model, "horizon_ms": job.horizon_ms, "share": job.share, "settings": forecaster.settings,
        "fit_s": time.monotonic() - wall, "fit_cpu_s": time.process_time() - cpu, "stamp": stamp_of(job, data, task),
    }  # fmt: skip
    found = test_set.take([forecaster.predict(series) for series in test_set.series])
    if job.share >= 1 and job.horizon_ms == plan.horizon_ms:
        record["cost"] = cost_of(forecaster, test_set.series, task.bin_ms, plan.watts)
        if job.model in LEARNERS:
            record["importance"] = importance_of(forecaster, test_set, data.transform, data.channels, data.bin_ms)
    np.savez(at / "forecasts.npz", probabilities=found.probabilities, delay_ms=found.quantiles_ms)
    (at / "job.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
