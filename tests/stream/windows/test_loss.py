"""What a batch's account says of lost packets, whoever wrote it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from numpy.typing import NDArray

from offramp.capture.ledger import CaptureLedger
from offramp.capture.message.decode import RefusedError, decode_headers
from offramp.capture.message.encode import sampling_of
from offramp.errors import ContractError
from offramp.stream.bins.state import LinkConfig
from offramp.stream.windows.loss import MAX_SCALED, SLOT_NS, Loss, Scale, loss_of
from offramp.stream.windows.windows import Windows
from tests.support.feature_batches import make_batch

HOSTILE: list[Any] = [
    {"captured": -1}, {"captured": 1.0}, {"captured": "1"}, {"captured": True}, {"captured": None},
    {"captured": 1 << 53}, {"captured": 10**4000}, {"captured": [1]}, {"captured": {"a": 1}},
    {"captured": 1, "decoded": 2}, {"captured": 1, "decoded": -1}, {"decoded": 1},
    {"captured": 5, "decoded": 3, "shed": {"a": 3}}, {"captured": 5, "undecodable": {"a": 6}},
    {"shed": 5}, {"shed": [5]}, {"shed": {"a": -1}}, {"shed": {"a": 0.5}}, {"shed": {"a": {"b": 1}}},
    {"undecodable": 1}, {"notes": 1}, {"notes": {"x": "y"}}, {"kernel_drops": -5}, {"kernel_drops": 1e300},
    {"kernel_drops": {"a": 1}}, {"kernel_drops": 1 << 200}, [], 5, None, "captured", [[]],
]  # fmt: skip


def of(captured: int, drops: int = 0, **shed: int) -> Loss:
    ledger = CaptureLedger(captured, captured - sum(shed.values()), kernel_drops=drops)
    ledger.shed.update(shed)
    found = loss_of(json.dumps(ledger.as_dict()).encode())
    assert found is not None
    return found


@pytest.mark.parametrize("told", HOSTILE, ids=lambda told: json.dumps(told)[:40])
def test_what_is_no_account_is_refused_as_a_message_and_as_a_batch(told: Any) -> None:
    text = json.dumps(told).encode()
    with pytest.raises(ContractError):
        loss_of(text)
    headers = {
        "site": "s", "agent": "a", "agent_epoch": 1, "sequence": 0, "rows": 0, "first_time_ns": 0, "last_time_ns": 0,
        "end": 0, "schema_version": "1",
    }  # fmt: skip
    pairs = [*((name, str(value).encode()) for name, value in headers.items()), ("ledger", text)]
    with pytest.raises(RefusedError, match="ledger") as refused:
        decode_headers(pairs)
    assert refused.value.reason == "headers"
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("text", [b"nonsense", b"\xff\xfe", b"[" * 99_999, b'{"captured": NaN}', b'{"captured": 1e9}'])
def test_what_is_no_json_is_refused(text: bytes) -> None:
    with pytest.raises(ContractError):
        loss_of(text)


@pytest.mark.parametrize("told", [b"", b"0", b"-1", b"1.5", b"65537", b"9" * 5_000, b"\xb2", b"two", b" 2"])
def test_a_sampling_that_is_no_number_of_packets_is_refused(told: bytes) -> None:
    with pytest.raises(ContractError, match="sampling"):
        sampling_of(make_batch(0).replace_schema_metadata({b"sampling": told}))


def test_what_is_lost_among_others_is_scaled_and_what_is_lost_in_a_row_is_a_hole() -> None:
    assert loss_of(None) is None
    assert of(100, flow_sampling=50).in_a_row == 0
    for reason in ("queue_full", "publish_backlog", "worker_backlog", "a_reason_to_come"):
        assert of(100, **{reason: 1}).in_a_row == 1
    assert of(0) == Loss()


@pytest.mark.parametrize(
    ("loss", "factor", "is_hole"),
    [
        (of(100), 1.0, False),
        (of(100, 25), 1.25, False),
        (of(100, 400), 5.0, False),
        (of(1, MAX_SCALED - 1), MAX_SCALED, False),
        (of(1, MAX_SCALED), 1.0, True),
        (of(0, 1), 1.0, True),
        (of(0), 1.0, False),
        (of(1, (1 << 53) - 1), 1.0, True),
    ],
)
def test_one_packet_stands_for_those_dropped_about_it(loss: Loss, factor: float, is_hole: bool) -> None:
    scale = Scale()
    assert scale.take(loss, 5 * SLOT_NS) is is_hole
    assert scale.factor == factor


def test_drops_in_runs_are_spread_and_forgotten_with_time() -> None:
    """Every fourth millisecond whole, the rest lost: told as it comes, 10 packets in each."""
    scale, weights = Scale(), []
    for step in range(4_000):
        assert not scale.take(of(10) if step % 4 == 0 else of(0, 10), step * 1_000_000 + SLOT_NS) or step < 100
        weights.append(scale.factor if step % 4 == 0 else 0.0)
    assert sum(weights[640:]) == pytest.approx(len(weights[640:]), rel=0.02)
    later = Scale()
    later.restore(json.loads(json.dumps(scale.state())))
    for each in (scale, later):
        each.take(of(100_000), 9 * SLOT_NS)
        assert each.factor == 1.0 + each.state()[3] / each.state()[2] < 1.02
        each.take(of(10), 99 * SLOT_NS)
        assert each.factor == 1.0


def test_time_that_goes_back_forgets_too() -> None:
    scale = Scale()
    scale.take(of(10, 10), 100 * SLOT_NS)
    scale.take(of(10), 3 * SLOT_NS)
    assert scale.factor == 1.0


def test_a_batch_without_times_makes_no_time_of_its_own(normaliser_state: dict[str, NDArray[Any]]) -> None:
    windows = Windows(LinkConfig(1e8, 1e8), normaliser_state)
    told = json.dumps(CaptureLedger(1, 1, kernel_drops=1).as_dict())
    for cells in ({}, {"frame__time_epoch": [-5]}, {"frame__time_epoch": [(1 << 63) - 1]}):
        batch = make_batch(1, frame__len=[60], **cells)
        windows.update(batch.replace_schema_metadata({"ledger": told}))
        assert windows.scale.state()[1] == 0
    later = Scale()
    later.restore(windows.scale.state())
    assert later.state() == windows.scale.state()
