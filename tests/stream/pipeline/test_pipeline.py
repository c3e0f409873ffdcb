from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from offramp.decision.command import validate
from offramp.errors import ArtifactError, ContractError
from offramp.inference.artifact import load_artifact
from offramp.inference.serving.table import open_predictor
from offramp.stream.pipeline.pipeline import Pipeline
from offramp.stream.pipeline.timeline import LinkTimeline
from tests.support.fake_predictor import FakePredictor
from tests.support.pipelines import SITE, build, commands_of
from tests.support.places import ROOT


def test_onset_and_abatement_come_and_are_valid(
    busy_batch: pa.RecordBatch, normaliser_state: dict[str, NDArray[Any]], predictor: FakePredictor
) -> None:
    pipeline = build(predictor, normaliser_state)
    commands = pipeline.update(busy_batch) + pipeline.close()
    phases = {(command.phase, command.scope) for command in commands}
    assert ("onset", "link:uplink") in phases
    assert ("abated", "link:uplink") in phases
    for command in commands:
        validate(command.to_dict())
    onset = next(command for command in commands if command.scope == "link:uplink")
    assert onset.action["flows"][0]["ipv4_src"] == "10.0.0.77"


def test_without_another_path_devices_are_offloaded(
    busy_batch: pa.RecordBatch, normaliser_state: dict[str, NDArray[Any]], predictor: FakePredictor
) -> None:
    site = SITE.model_copy(update={"links": (SITE.links[0].model_copy(update={"paths": ()}),)})
    pipeline = Pipeline(site, "uplink", predictor, normaliser_state)
    commands = pipeline.update(busy_batch) + pipeline.close()
    assert {command.action["type"] for command in commands} == {"offload", "clear"}
    assert all(command.scope.startswith("device:uplink/") for command in commands)


def test_the_cut_into_batches_changes_no_byte(
    busy_batch: pa.RecordBatch, normaliser_state: dict[str, NDArray[Any]], predictor: FakePredictor
) -> None:
    whole = commands_of(build(predictor, normaliser_state), busy_batch, [])
    assert whole
    rng = np.random.default_rng(3)
    cuts = np.unique(rng.integers(1, busy_batch.num_rows, 60)).tolist()
    assert commands_of(build(predictor, normaliser_state), busy_batch, cuts) == whole
    part = busy_batch.slice(0, 2_500)
    ones = list(range(1, part.num_rows))
    assert commands_of(build(predictor, normaliser_state), part, ones) == commands_of(
        build(predictor, normaliser_state), part, []
    )


def test_state_moves_to_another_pipeline(
    busy_batch: pa.RecordBatch, normaliser_state: dict[str, NDArray[Any]], predictor: FakePredictor
) -> None:
    whole = commands_of(build(predictor, normaliser_state), busy_batch, [])
    half = busy_batch.num_rows // 2
    first, second = build(predictor, normaliser_state), build(predictor, normaliser_state)
    before = [command.to_json() for command in first.update(busy_batch.slice(0, half))]
    second.restore(first.state())
    after = second.update(busy_batch.slice(half)) + second.close()
    assert before + [command.to_json() for command in after] == whole
    assert second.ledger.rows == busy_batch.num_rows


def test_timeline_and_ledger(
    busy_batch: pa.RecordBatch, normaliser_state: dict[str, NDArray[Any]], predictor: FakePredictor
) -> None:
    seen: list[LinkTimeline] = []
    pipeline = build(predictor, normaliser_state, seen.append)
    pipeline.update(busy_batch)
    pipeline.close()
    ledger = pipeline.ledger
    time = np.concatenate([timeline.time_ns for timeline in seen])
    assert ledger.balances()
    assert ledger.rows == busy_batch.num_rows
    assert len(time) == ledger.bins
    assert np.all(np.diff(time) > 0)
    assert max(float(timeline.bin_end_ms.max()) for timeline in seen) > 15
    assert "commands" in "\n".join(ledger.lines())


def test_another_models_channels_are_refused(
    normaliser_state: dict[str, NDArray[Any]], predictor: FakePredictor
) -> None:
    predictor.channels = ("load",)
    with pytest.raises(ArtifactError, match="channels"):
        build(predictor, normaliser_state)


def test_a_batch_without_a_needed_column_is_refused(
    busy_batch: pa.RecordBatch, normaliser_state: dict[str, NDArray[Any]], predictor: FakePredictor
) -> None:
    names = [name for name in busy_batch.schema.names if name != "frame.len"]
    with pytest.raises(ContractError, match=r"frame\.len"):
        build(predictor, normaliser_state).update(busy_batch.select(names))


def test_an_empty_batch_and_an_empty_input_give_nothing(
    busy_batch: pa.RecordBatch, normaliser_state: dict[str, NDArray[Any]], predictor: FakePredictor
) -> None:
    pipeline = build(predictor, normaliser_state)
    empty: pa.RecordBatch = busy_batch.slice(0, 0)
    assert pipeline.update(empty) == []
    assert pipeline.close() == []


def test_the_shipped_model_gives_the_same_bytes_whatever_the_cut(busy_batch: pa.RecordBatch) -> None:
    folder = ROOT / "inference/default"
    model, artifact = open_predictor(folder), load_artifact(folder)
    rng = np.random.default_rng(8)
    cuts = np.unique(rng.integers(1, busy_batch.num_rows, 40)).tolist()
    whole = commands_of(build(model, artifact.normaliser), busy_batch, [])
    assert whole
    assert commands_of(build(model, artifact.normaliser), busy_batch, cuts) == whole


def test_windows_may_run_ahead_of_the_model(
    busy_batch: pa.RecordBatch, normaliser_state: dict[str, NDArray[Any]], predictor: FakePredictor
) -> None:
    whole = commands_of(build(predictor, normaliser_state), busy_batch, [])
    ahead = build(predictor, normaliser_state)
    parts = [busy_batch.slice(start, 700) for start in range(0, busy_batch.num_rows, 700)]
    waiting = [ahead.windows.update(part) for part in parts]
    commands = [command for windowed in waiting for command in ahead.decide(windowed)] + ahead.close()
    assert [command.to_json() for command in commands] == whole


def test_a_live_links_clock_changes_no_command(
    busy_batch: pa.RecordBatch, normaliser_state: dict[str, NDArray[Any]], predictor: FakePredictor
) -> None:
    whole = commands_of(build(predictor, normaliser_state), busy_batch, [])
    pipeline, out = build(predictor, normaliser_state), []
    times = busy_batch.column(busy_batch.schema.get_field_index("frame.time_epoch")).to_numpy()
    for start in range(0, busy_batch.num_rows, 500):
        out += pipeline.update(busy_batch.slice(start, 500))
        out += pipeline.advance(int(times[min(start + 500, len(times) - 1)]))
    assert [command.to_json() for command in out + pipeline.close()] == whole
    assert pipeline.ledger.late == 0


def test_an_idle_link_abates_by_the_clock(
    busy_batch: pa.RecordBatch, normaliser_state: dict[str, NDArray[Any]], predictor: FakePredictor
) -> None:
    pipeline = build(predictor, normaliser_state)
    phases = []
    for start in range(0, busy_batch.num_rows, 200):
        phases += [command.phase for command in pipeline.update(busy_batch.slice(start, 200))]
        if "onset" in phases:
            break
    assert pipeline.policy.open_moves
    begin = int(pipeline.windows.bins.state.clock[1])
    for step in range(100):
        phases += [command.phase for command in pipeline.advance(begin + step * 50_000_000)]
    assert "abated" in phases
    assert not pipeline.policy.open_moves


def test_a_batch_of_sampled_flows_is_scaled_and_shows_in_the_quality(
    busy_batch: pa.RecordBatch, normaliser_state: dict[str, NDArray[Any]], predictor: FakePredictor
) -> None:
    told = {
        b"sampling": b"2",
        b"ledger": b'{"captured": 100, "decoded": 50, "shed": {"overload": 50}, "kernel_drops": 0}',
    }
    loads = {}
    for name, metadata in (("plain", {}), ("sampled", told)):
        seen: list[LinkTimeline] = []
        pipeline = build(predictor, normaliser_state, seen.append)
        pipeline.update(busy_batch.replace_schema_metadata(metadata))
        loads[name] = sum(float((timeline.load_up + timeline.load_down).sum()) for timeline in seen)
    assert loads["sampled"] == pytest.approx(2 * loads["plain"], rel=1e-4)
    assert pipeline.quality.as_dict() == {"decoded": 0.5, "shed": 0.5, "dropped": 0.0}
