"""`offramp features`: layouts, dissectors, and what does not go together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.utils import wrpcap

from offramp.cli.edge_iiotset import EdgeOptions, edge_iiotset
from offramp.cli.features import FeatureOptions, features
from offramp.errors import ConfigError, InputError


@pytest.fixture
def options(tmp_path: Path) -> FeatureOptions:
    packets = [Ether() / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=5000, dport=6000) / b"x" for _ in range(3)]
    wrpcap(str(tmp_path / "a.pcap"), packets)
    return FeatureOptions(files=(str(tmp_path / "a.pcap"),), out=tmp_path / "a.csv")


@pytest.mark.parametrize("dissector", ["fast", "scapy"])
def test_the_layout_of_edge_iiotset(
    options: FeatureOptions, dissector: str, capsys: pytest.CaptureFixture[str]
) -> None:
    features(replace(options, layout="edge-iiotset", label="DDoS_UDP", dissector=dissector))
    table = pd.read_csv(options.out)
    assert table.shape == (3, 63)
    assert table["udp.port"].tolist() == ["5000,6000"] * 3
    assert set(table["Attack_type"]) == {"DDoS_UDP"}
    assert "decoded" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"label": "MITM"}, "only --layout edge-iiotset"),
        ({"layout": "edge-iiotset", "profile": "stream"}, "leave out --profile"),
        ({"layout": "edge-iiotset", "out": Path("a.parquet")}, "must end in .csv"),
        ({"layout": "edge-iiotset", "label": "a,b"}, "a name without commas"),
        ({"out": Path("a.txt")}, "must end in .csv or .parquet"),
        ({"out": Path("nowhere/a.csv")}, "no folder"),
    ],
)
def test_what_does_not_go_together_is_said(options: FeatureOptions, changed: dict[str, Any], said: str) -> None:
    with pytest.raises((ConfigError, InputError), match=said):
        features(replace(options, **changed))


def test_the_reader_takes_what_the_layout_writes(options: FeatureOptions, capsys: pytest.CaptureFixture[str]) -> None:
    features(replace(options, layout="edge-iiotset", label="DDoS_UDP"))
    out = options.out.with_suffix(".parquet")
    edge_iiotset(EdgeOptions(files=(str(options.out),), out=out))
    table = pd.read_parquet(out)
    assert table["udp.port"].tolist() == [5000 << 16 | 6000] * 3
    assert table["Attack_label"].tolist() == [1] * 3
    assert "rows read" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"must end in \.parquet"):
        edge_iiotset(EdgeOptions(files=(str(options.out),), out=options.out))
