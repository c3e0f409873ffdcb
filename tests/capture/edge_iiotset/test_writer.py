"""`--layout edge-iiotset`: the style of the authors' own files, per column, and none of their faults."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from offramp.capture.edge_iiotset.layout import EDGE_HEADER, EDGE_TABLE, Form, label_cells
from offramp.capture.edge_iiotset.writer import write_edge_csv
from offramp.capture.features.arrow_schema import batch_schema
from offramp.capture.schema import EDGE_COLUMNS, INDEX
from offramp.errors import ConfigError
from tests.support.places import ROOT

AUTHORS = ROOT.parent / "shared/edge-iiotset"
SHAPES = {
    Form.NUMBER: r"\d+\.\d+(e-\d+)?",
    Form.HEX: r"0x[0-9a-f]{8}",
    Form.TEXT: r".*[^0-9.].*|\d+\.\d+\.\d+\.\d+|([0-9a-f]{2})+",
}

ROW = {
    "frame.time": 1_637_792_070_939_803_000,
    "ip.src_host": 0xC0A800AA,
    "tcp.ack_raw": 2_397_923_225,
    "tcp.flags": 0x18,
    "tcp.checksum": 0x2EA2,
    "tcp.payload": b"\0\xff",
    "udp.port": 5353 << 16 | 5353,
    "udp.time_delta": 40_000,
    "dns.qry.name": b"_ipps._tcp.local",
    "dns.qry.name.len": 16,
    "http.file_data": b'say "a", b',
    "http.response": 1,
}


def batch_of(*rows: dict[str, object]) -> pa.RecordBatch:
    schema = batch_schema("full")
    return pa.RecordBatch.from_pylist(list(rows), schema=schema)


def written(path: Path, *rows: dict[str, object], label: str = "Normal") -> pd.DataFrame:
    assert write_edge_csv([batch_of(*rows)], path, label) == len(rows)
    return pd.read_csv(path, dtype=str)


def test_every_form_and_missing_value(tmp_path: Path) -> None:
    name = {"column": INDEX["dns.qry.name"], "value": "_ipp._tcp.local"}
    length = {"column": INDEX["dns.qry.name.len"], "value": "15"}
    table = written(tmp_path / "a.csv", {**ROW, "occurrences": [name, length]}, {"frame.time": 0}, label="MITM")
    assert tuple(table.columns) == EDGE_HEADER
    first, second = table.iloc[0], table.iloc[1]
    wanted = {
        "frame.time": "Nov 24, 2021 22:14:30.939803000 UTC",
        "ip.src_host": "192.168.0.170",
        "ip.dst_host": "0",
        "tcp.ack_raw": "2397923225.0",
        "tcp.ack": "0.0",
        "tcp.flags": "0x00000018",
        "tcp.checksum": "0x00002ea2",
        "icmp.checksum": "0",
        "tcp.payload": "00ff",
        "udp.port": "5353,5353",
        "udp.time_delta": "4e-05",
        "dns.qry.name": "_ipps._tcp.local,_ipp._tcp.local",
        "dns.qry.name.len": "16,15",
        "http.file_data": 'say "a", b',
        "http.response": "1.0",
        "Attack_label": "1",
        "Attack_type": "MITM",
    }
    assert {name: first[name] for name in wanted} == wanted
    assert [second[column.name] for column in EDGE_TABLE[1:]] == [column.missing for column in EDGE_TABLE[1:]]


def test_pandas_reads_numbers_back(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    write_edge_csv([batch_of({**ROW, "udp.time_delta": 7_880_521_000}, {"frame.time": 1})], path, "Normal")
    table = pd.read_csv(path)
    assert table["tcp.ack_raw"].tolist() == [2_397_923_225, 0]
    assert table["udp.time_delta"].tolist() == [7.880521, 0]
    numbers = [column.name for column in EDGE_TABLE if column.form is Form.NUMBER]
    assert {str(table[name].dtype) for name in numbers} == {"float64"}
    assert table["Attack_label"].tolist() == [0, 0]
    again = tmp_path / "b.csv"
    table.to_csv(again, index=False)
    assert again.read_bytes() == path.read_bytes()


def test_the_table_has_every_column_once() -> None:
    assert [column.column for column in EDGE_TABLE] == list(EDGE_COLUMNS)
    assert len(EDGE_HEADER) == 63


@pytest.mark.parametrize("name", ["", "a,b", 'a"b', "a\nb"])
def test_a_label_that_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="--label"):
        label_cells(name)


def test_names_and_style_are_those_of_the_authors_files() -> None:
    if not AUTHORS.is_dir():
        pytest.skip("no ../shared/edge-iiotset: the files of the authors are not compared with")
    assert (AUTHORS / "columns63.txt").read_text().split() == list(EDGE_HEADER)
    table = pd.read_csv(AUTHORS / "OS_Fingerprinting_attack.csv", dtype=str)
    compared = 0
    for column in EDGE_TABLE[1:]:
        there = table[column.name]
        values = there[~there.isin(["0", "0.0"])]
        if values.empty:
            continue
        missing = set(there[there.isin(["0", "0.0"])])
        assert missing <= {column.missing}, column.name
        assert all(re.fullmatch(SHAPES[column.form], value) for value in values), column.name
        compared += 1
    assert compared >= 17
    assert np.all(table["frame.time"].str.fullmatch(r" 2021 \d\d:\d\d:\d\d\.\d{9} "))
