"""The front door in Python: the same rows and commands as the command line's, as objects and frames."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import offramp
from offramp.cli.features import FeatureOptions, features
from offramp.decision.command import commands_frame
from offramp.decision.site import load_site
from offramp.errors import ConfigError, InputError
from tests.support.places import ROOT

DEMO, SITE = ROOT / "samples/demo.pcap.zst", ROOT / "samples/site.toml"


@pytest.fixture(scope="module")
def found() -> Any:
    return offramp.replay(DEMO, site=SITE)


def test_the_package_loads_nothing_before_it_is_asked() -> None:
    code = (
        "import sys, offramp; print([m for m in ('numpy', 'pyarrow', 'numba', 'kafka', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"
    assert set(offramp.__all__) <= set(dir(offramp))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        offramp.nothing  # type: ignore[attr-defined]  # noqa: B018 - it is asked for


def test_rows_are_those_that_the_command_writes(tmp_path: Path) -> None:
    rows = offramp.features(DEMO)
    table = rows.table()
    features(FeatureOptions(files=(str(DEMO),), out=tmp_path / "rows.parquet"))
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "rows.parquet"), rows.frame(), check_categorical=False)
    assert table.num_rows == rows.ledger.captured == rows.ledger.decoded > 1_000
    assert rows.faults == []
    assert [batch.num_rows for batch in rows] == [batch.num_rows for batch in rows], "gone through again"


def test_a_column_of_one_s_own_is_a_function_of_a_batch() -> None:
    def doubled(batch: pa.RecordBatch) -> Any:
        return 2 * batch["frame.len"].to_numpy(zero_copy_only=False)

    def is_tcp(batch: pa.RecordBatch) -> Any:
        return pc.equal(batch["ip.proto"], 6)

    table = offramp.features(DEMO, profile="stream", derive={"double": doubled, "tcp": is_tcp}).table()
    assert table.column_names[-2:] == ["double", "tcp"]
    np.testing.assert_array_equal(table["double"].to_numpy(), 2 * table["frame.len"].to_numpy())
    with pytest.raises(ConfigError, match="derive 'short': gave 1 values"):
        offramp.features(DEMO, derive={"short": lambda _: [1]}).table()


def test_a_link_without_a_buffer_has_one_of_250_ms_and_that_is_said(tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    lines = SITE.read_text().splitlines()
    site.write_text("\n".join(line for line in lines if "buffer_bytes" not in line))
    found = offramp.replay(DEMO, site=site)
    assert [line for line in found.warnings if "assumed" in line] == [
        "link uplink: no buffer_bytes; 250 ms of the capacity of each direction are assumed (docs/site.md)"
    ]
    assert 200 < np.nanmax(found.forecast_table()["queue_ms"].to_numpy()) <= 250


def test_a_replay_gives_the_commands_of_the_command_line(found: Any) -> None:
    words = [sys.executable, "-m", "offramp", "replay", str(DEMO), "--site", str(SITE), "--format", "jsonl"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=ROOT)
    assert [command.to_json() for command in found.commands] == done.stdout.splitlines()
    assert str(found.ledger) in done.stderr
    again = offramp.replay(str(DEMO), site=load_site(SITE))
    assert again.commands == found.commands
    assert again.forecast_table().equals(found.forecast_table())


def test_frames_hold_what_objects_hold(found: Any) -> None:
    commands = found.frame()
    assert commands["decision_id"].tolist() == [command.decision_id for command in found.commands]
    assert commands["action.type"].tolist() == [command.action["type"] for command in found.commands]
    assert [at.value for at in commands["not_before"]] == [command.not_before_ns for command in found.commands]
    forecasts = found.forecasts
    assert len(forecasts) == found.ledger.stream.bins
    assert (forecasts[["Normal", "Medium", "High"]].sum(axis=1) - 1).abs().max() < 1e-5
    assert (forecasts["q50_ms"] <= forecasts["q99_ms"]).all()
    assert str(forecasts["time"].dtype) == "datetime64[ns, UTC]"
    assert commands_frame([]).empty


def test_what_cannot_be_read_is_said() -> None:
    with pytest.raises(InputError, match=r"gone\.pcap: there is no such file"):
        offramp.replay("gone.pcap")
    with pytest.raises(InputError, match=r"gone\.pcap: there is no such file"):
        offramp.features("gone.pcap").frame()


def test_the_notebook_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    cells = json.loads((ROOT / "docs/python.ipynb").read_text())["cells"]
    names: dict[str, Any] = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)  # noqa: S102 - it is ours
    assert "packets captured" in capsys.readouterr().out
    assert len(names["found"].commands) == 11
