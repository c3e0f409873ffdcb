"""Edge-IIoTset's files read: each fault in a file of its own, and the authors' files where they are at hand."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from offramp.capture.dissect.dissector import Dissector
from offramp.capture.edge_iiotset.layout import EDGE_HEADER, EDGE_TABLE
from offramp.capture.edge_iiotset.reader import (
    TIME_OF_DAY,
    EdgeReader,
    edge_schema,
    read_edge_table,
    write_edge_parquet,
)
from offramp.capture.edge_iiotset.report import EdgeReport
from offramp.capture.edge_iiotset.writer import write_edge_csv
from offramp.capture.features.files import parquet_array
from offramp.capture.schema import COLUMNS, EDGE_COLUMNS
from offramp.capture.sources.file.files import open_captures
from offramp.errors import InputError
from tests.support.places import ROOT

AUTHORS = ROOT.parent / "shared/edge-iiotset"
NAMES = EDGE_HEADER[:61]
CLOCK = "2021 10:20:30.400500000"
TCP = {"ip.src_host": "10.0.0.1", "tcp.srcport": "80.0", "tcp.dstport": "4000.0", "tcp.flags": "0x00000010"}
DNS = {
    "ip.src_host": "10.0.0.1",
    "udp.port": "5353.0|53.0",
    "udp.stream": "1461073.0",
    "udp.time_delta": "4e-05",
    "dns.qry.name": "plant.example",
    "dns.qry.name.len": "13",
    "dns.qry.type": "28.0",
    "dns.retransmit_request_in": "1461072.0",
}


def cells_of(fields: dict[str, str], time: str = f" {CLOCK} ") -> list[str]:
    """Return the cells that tshark printed without quotes: month and day, the rest of the time, the fields' values."""
    cells = ["Nov 24", time]
    for column in EDGE_TABLE[1:]:
        cells += fields.get(column.name, column.missing).split("|")
    return cells


def as_pandas_left_it(fields: dict[str, str], lost: int = 1, kind: str = "Normal") -> str:
    """Return a row after pandas took `lost` cells for an index, cut it and filled it up."""
    cells = (cells_of(fields)[lost:] + ["0.0"] * 61)[:61]
    return ",".join([*cells, "0" if kind == "Normal" else "1", kind])


def read(tmp_path: Path, *rows: str, header: tuple[str, ...] = EDGE_HEADER) -> tuple[pa.Table, EdgeReport]:
    path = tmp_path / "edge.csv"
    path.write_text("\n".join([",".join(header), *rows]) + "\n", encoding="utf-8")
    table, report = read_edge_table([path])
    assert report.balances()
    assert report.kept == table.num_rows
    assert table.schema.equals(edge_schema(), check_metadata=True)
    return table, report


def present(table: pa.Table, row: int = 0) -> dict[str, object]:
    return {name: value for name, value in table.slice(row, 1).to_pylist()[0].items() if value is not None}


def test_a_whole_row_has_real_types_and_the_zeros_that_are_values(tmp_path: Path) -> None:
    table, report = read(tmp_path, as_pandas_left_it(TCP | {"tcp.len": "0.0", "tcp.options": "01ff"}))
    assert report.whole == report.undated == 1
    row = present(table)
    assert row.pop(TIME_OF_DAY).isoformat() == "10:20:30.400500"  # type: ignore[attr-defined]
    zeros = {"tcp.ack": 0, "tcp.ack_raw": 0, "tcp.checksum": 0, "tcp.len": 0, "tcp.seq": 0, "tcp.flags.ack": False}
    ports = {"tcp.srcport": 80, "tcp.dstport": 4000, "tcp.flags": 16, "ip.src_host": "10.0.0.1"}
    assert row == {**zeros, **ports, "tcp.options": b"\1\xff", "Attack_label": 0, "Attack_type": "Normal"}


@pytest.mark.parametrize("flags", ["16.0", "16", "0x00000010", "0x0010"])
def test_flags_are_numbers_in_every_notation(tmp_path: Path, flags: str) -> None:
    table, _ = read(tmp_path, as_pandas_left_it(TCP | {"tcp.flags": flags}))
    assert table["tcp.flags"].to_pylist() == [16]


@pytest.mark.parametrize("time", ["Nov 24, 2021 10:20:30.400500000 UTC", "Nov  4, 2021 10:20:30.400500000"])
def test_a_whole_date_is_kept(tmp_path: Path, time: str) -> None:
    cells = cells_of(TCP)[1:]
    table, report = read(tmp_path, ",".join([f'"{time}"', *cells[1:], "0", "Normal"]))
    assert report.undated == 0
    assert table["frame.time"].cast(pa.int64()).to_pylist()[0] % 86_400_000_000_000 == 37_230_400_500_000


def test_two_unquoted_ports_put_names_into_the_length(tmp_path: Path) -> None:
    row = as_pandas_left_it(DNS)
    assert row.split(",")[NAMES.index("dns.qry.name.len")] == "plant.example"
    table, report = read(tmp_path, row)
    assert report.repaired == {"shifted to the right: several cells for udp.port": 1}
    told = present(table)
    assert told["udp.port"] == 5353 << 16 | 53
    assert told["udp.time_delta"].value == 40_000  # type: ignore[attr-defined]
    assert told["dns.qry.name"] == "plant.example"
    assert (told["dns.qry.name.len"], told["dns.qry.type"], told["dns.retransmit_request_in"]) == (13, 28, 1461072)


def test_a_lost_time_shifts_a_flood(tmp_path: Path) -> None:
    flood = {"ip.src_host": "1.2.3.4", "ip.dst_host": "10.0.0.2", "udp.port": "59075.0|0.0", "udp.stream": "9.0"}
    table, report = read(tmp_path, as_pandas_left_it(flood, 2, "DDoS_UDP"))
    assert report.repaired == {"shifted to the left: frame.time lost": 1}
    assert report.timeless == 1
    told = present(table)
    assert (told["ip.src_host"], told["ip.dst_host"]) == ("1.2.3.4", "10.0.0.2")
    assert (told["udp.port"], told["udp.stream"], told["Attack_type"]) == (59075 << 16, 9, "DDoS_UDP")


def test_rows_of_one_attack_are_shifted_alike(tmp_path: Path) -> None:
    ambiguous = as_pandas_left_it({"udp.port": "68.0|67.0", "udp.stream": "2.0"}, 6, "MITM")
    names = {"dns.qry.name": "_ipps.local|_ipp.local", "dns.qry.name.len": "11|10", "dns.qry.type": "12.0|12.0"}
    clear = as_pandas_left_it({**DNS, **names, "dns.qry.qu": "0.0|0.0"}, 6, "MITM")
    table, report = read(tmp_path, ambiguous, *[clear] * 3, as_pandas_left_it({}, 6, "MITM"))
    assert report.repaired == {"shifted to the left: frame.time to arp.opcode lost": 4}
    assert report.dropped.total() == 1
    assert report.duplicates == 2
    assert present(table)["udp.port"] == 68 << 16 | 67
    told = present(table, 1)
    assert told["dns.qry.name"] == "_ipps.local"
    length, kind = (NAMES.index(name) for name in ("dns.qry.name.len", "dns.qry.type"))
    extras = [(one["column"], one["value"]) for one in told["occurrences"]]  # type: ignore[attr-defined]
    assert {(length, "10"), (kind, "12"), (NAMES.index("dns.qry.name"), "_ipp.local")} <= set(extras)


def test_a_quoted_header_in_an_icmp_error_takes_two_cells_for_an_address(tmp_path: Path) -> None:
    error = {"ip.src_host": "10.0.0.2|10.0.0.1", "ip.dst_host": "10.0.0.1|10.0.0.2", "icmp.checksum": "0x00002ea2"}
    table, report = read(tmp_path, as_pandas_left_it(error | {"udp.port": "7.0|9.0", "udp.stream": "3.0"}))
    assert report.repaired.total() == 1
    told = present(table)
    assert (told["ip.src_host"], told["ip.dst_host"], told["icmp.checksum"]) == ("10.0.0.2", "10.0.0.1", 0x2EA2)
    assert told["udp.port"] == 7 << 16 | 9


def test_what_cannot_be_read_is_counted(tmp_path: Path) -> None:
    nonsense = ",".join(["?"] * 61 + ["0", "Normal"])
    table, report = read(tmp_path, as_pandas_left_it(TCP | {"tcp.options": "1.01e+23"}), nonsense, "1,2,3")
    assert report.rows == 3
    assert report.unreadable == {"tcp.options": 1}
    assert report.dropped == {"cells fit no order of the columns": 1, "3 cells, where 63 were expected": 1}
    assert table["tcp.srcport"].to_pylist() == [80]
    printed = str(report)
    assert "rows read" in printed
    assert "3 cells, where 63 were expected" in printed


def test_files_without_labels_and_broken_text_are_read(tmp_path: Path) -> None:
    row = as_pandas_left_it(TCP | {"http.file_data": '"say ""a"",\nb"'}).rsplit(",", 2)[0]
    table, _ = read(tmp_path, row, header=NAMES)
    assert table["http.file_data"].to_pylist() == ['say "a",\\nb']
    assert table["Attack_type"].null_count == 1
    path = tmp_path / "edge.csv"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"say", b"s\xff"))
    assert read_edge_table([path])[0]["http.file_data"].to_pylist() == ['s\ufffd "a",\\nb']


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("network_feature_1,network_feature_2", "random"),
        ("a,b", "column 1 is 'a', where Edge-IIoTset has 'frame.time'"),
        (",".join(EDGE_HEADER[:30]), "column 31 is nothing"),
        (",".join([*EDGE_HEADER, "more"]), "has 64 columns"),
        ("", "column 1 is nothing"),
    ],
)
def test_other_files_are_refused_by_name(tmp_path: Path, header: str, said: str) -> None:
    path = tmp_path / "other.csv"
    path.write_text(header + "\n1,2\n")
    with pytest.raises(InputError, match=said) as caught:
        write_edge_parquet([path], tmp_path / "out.parquet")
    assert str(path) in str(caught.value)
    assert not (tmp_path / "out.parquet").exists()


def test_a_missing_file_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_edge_table([tmp_path / "none.csv"])


def zero_is_missing(array: pa.ChunkedArray) -> list[object]:
    """Return values with zeros and empty ones as missing, for the layout cannot tell them apart."""
    return [value or None if not hasattr(value, "value") else value.value or None for value in array.to_pylist()]


def test_our_own_layout_comes_back(tmp_path: Path) -> None:
    demo = ROOT / "samples/demo.pcap.zst"
    if not demo.exists():
        pytest.skip("samples/demo.pcap.zst is not there")
    dissector = Dissector("full")
    block = next(iter(open_captures([str(demo)], block_packets=2000).read()))
    batches = dissector.dissect(block)
    path = tmp_path / "own.csv"
    write_edge_csv(batches, path, "Normal")
    table, report = read_edge_table([path])
    assert report.whole == report.rows == len(block)
    assert report.undated == report.unreadable.total() == 0
    ours = pa.Table.from_batches(batches)
    for index, column in enumerate(EDGE_COLUMNS):
        if column.name != "http.file_data":  # its line ends are written as two characters
            typed = parquet_array(COLUMNS[index], ours[column.name].combine_chunks())
            assert zero_is_missing(table[column.name]) == zero_is_missing(pa.chunked_array([typed])), column.name


@pytest.mark.skipif(not AUTHORS.is_dir(), reason="the authors' files of ../shared/edge-iiotset are not here")
def test_the_authors_files() -> None:
    whole, report = read_edge_table([AUTHORS / "OS_Fingerprinting_attack.csv"])
    assert report.whole == report.rows == whole.num_rows == 1001
    assert Counter(whole["tcp.flags"].drop_null().to_pylist()) == {2: 135, 20: 135}
    assert whole["icmp.checksum"][0].as_py() == 0x2EA2
    shifted, report = read_edge_table([AUTHORS / "MITM_attack.csv"])
    assert (report.rows, report.repaired.total(), report.dropped.total()) == (1229, 749, 480)
    assert set(shifted["arp.hw.size"].drop_null().to_pylist()) == {6}
    names = shifted.filter(pc.is_valid(shifted["dns.qry.name"]))
    names = names.filter(pc.is_null(names["occurrences"]))
    assert pc.all(pc.equal(pc.utf8_length(names["dns.qry.name"]), names["dns.qry.name.len"])).as_py()
    assert set(names["dns.qry.type"].to_pylist()) == {12, 255}


@pytest.mark.skipif(not AUTHORS.is_dir(), reason="the authors' files of ../shared/edge-iiotset are not here")
def test_all_files_of_the_authors_go_into_one(tmp_path: Path) -> None:
    files = sorted(AUTHORS.glob("*.csv"))
    report = write_edge_parquet(files, tmp_path / "edge.parquet")
    table = pq.read_table(tmp_path / "edge.parquet")
    assert report.balances()
    assert report.files == len(files) == 3
    assert table.num_rows == report.kept == 1001 + 749 + 38
    assert len(set(table["Attack_type"].to_pylist())) == 16


def test_reading_nothing_gives_nothing() -> None:
    assert list(EdgeReader([]).read()) == []
