"""The comparison of the virtual queue with a switch's telemetry, on queues that can be counted by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.queue_statistics import asked, correlations, run, switch_queues
from offramp.errors import InputError
from offramp.stream.bins.packets import Packets
from offramp.stream.bins.state import LinkConfig
from offramp.stream.datasets.arrivals import Arrivals
from offramp.stream.datasets.labelling import Bottleneck

HEAD = (
    ",ID,downlink deq_qdepth,downlink deq_timedelta,downlink enq_qdepth,time,uplink deq_qdepth,uplink deq_timedelta,x"
)


def telemetry(folder: Path, rows: list[str]) -> Path:
    """Write a file of telemetry where the switch's are: ACCESS/GAME/PLAYERS/INT_data/."""
    path = folder / "Wired_connection" / "game" / "1_Player" / "INT_data"
    path.mkdir(parents=True, exist_ok=True)
    (path / "Ex1.csv").write_text("\n".join([HEAD, *rows]) + "\n")
    (path / "Ex2.csv").write_text(HEAD + "\n")
    return folder


def test_telemetry_is_read_by_direction(tmp_path: Path) -> None:
    telemetry(tmp_path, ["0,Ex1,3,1500,3,t,0,20", "1,Ex1,40,29000,3,t,0,40"])
    down, up = switch_queues(tmp_path)
    assert (down.name, up.name) == ("switch, Wired downlink", "switch, Wired uplink")
    assert down.delay_ms[0].tolist() == [1.5, 29.0]
    assert down.depth[0].tolist() == [3, 40]
    assert up.delay_ms[0].tolist() == [0.02, 0.04]


def test_what_is_no_telemetry_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no telemetry"):
        list(switch_queues(tmp_path))
    telemetry(tmp_path, ["0,Ex1,three,1500,3,t,0,20"])
    with pytest.raises(InputError, match="no telemetry of the downlink"):
        list(switch_queues(tmp_path))


def test_the_virtual_queue_is_asked_once_a_second() -> None:
    """Each second four packets come at once that need 100 ms each: asked at phase p, what waits is known."""
    starts = np.repeat(np.arange(60), 4) * 1_000_000_000 + 10**18
    size, zeros = np.full(240, 12_500), np.zeros(240, np.int64)
    packets = Packets(starts, size, np.zeros((240, 4), np.int64), zeros, zeros, zeros, np.full(240, np.nan))
    found = list(asked(Arrivals("a", packets, np.empty(0, np.uint64)), Bottleneck("1", LinkConfig(1e6, 1e6))))
    for phase, (delay, depth) in enumerate(found):
        since = phase * 50
        assert delay == pytest.approx(np.full(len(delay), max(400 - since, 0)), abs=0.01)
        assert set(depth.tolist()) == {max(4 - since // 100, 0)}


def test_correlation_at_each_lag() -> None:
    wave = np.sin(np.arange(4_000) * 2 * np.pi / 20)[None]
    assert correlations(wave) == pytest.approx(np.cos(np.arange(1, 11) * 2 * np.pi / 20), abs=0.01)


def test_the_table_and_the_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    telemetry(tmp_path, ["0,Ex1,3,1500,3,t,0,20"] * 20 + ["1,Ex1,0,40,0,t,0,30"] * 20)
    spec = tmp_path / "s.toml"
    spec.write_text('[[sources]]\nname = "made"\ntype = "synthetic"\ncount = 2\nseconds = 40\npart = "test"\n')
    run(spec, None, tmp_path, ("made",), tmp_path / "q.png")
    table = capsys.readouterr().out.splitlines()
    assert [line.split("|")[1].strip() for line in table[2:]] == [
        "switch, Wired downlink", "switch, Wired uplink", "made @ own",
    ]  # fmt: skip
    assert "| 40 | 50.0% | 50.0% | 0.0% |" in table[2]
    assert (tmp_path / "q.png").read_bytes().startswith(b"\x89PNG")
