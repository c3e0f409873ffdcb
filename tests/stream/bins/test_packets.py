"""The columns of a feature batch as packets: what the kernel gives is what Arrow's own functions give."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from numpy.typing import NDArray

from offramp.errors import ContractError
from offramp.stream.bins.packets import IPV4_MAPPED, Packets, packets_from_batch
from offramp.stream.channels import FIRST_MARK, Counter
from tests.support.random_batches import random_batch


def numbers(batch: pa.RecordBatch, name: str) -> NDArray[np.int64]:
    found: NDArray[np.int64] = pc.fill_null(batch.column(name), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    return found


def there(batch: pa.RecordBatch, name: str) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = batch.column(name).is_valid().to_numpy(zero_copy_only=False)
    return found


def addresses(batch: pa.RecordBatch, four: str, six: str) -> NDArray[np.int64]:
    out = np.zeros((batch.num_rows, 2), np.int64)
    cells = zip(batch.column(four).to_pylist(), batch.column(six).to_pylist(), strict=True)
    for row, (short, long) in enumerate(cells):
        if short is not None:
            out[row, 1] = short | IPV4_MAPPED
        elif long is not None:
            out[row] = np.frombuffer(long, ">i8")
    return out


def expected(batch: pa.RecordBatch) -> Packets:
    """The same by Arrow's and NumPy's functions."""
    tcp, udp, flags = there(batch, "tcp.flags"), there(batch, "udp.srcport"), numbers(batch, "tcp.flags")
    protocol = numbers(batch, "ip.proto")
    ports = numbers(batch, "tcp.srcport") << 16 | numbers(batch, "tcp.dstport")
    ports += numbers(batch, "udp.srcport") << 16 | numbers(batch, "udp.dstport")
    syn, first = tcp & (flags & 0x12 == 0x02), udp & (numbers(batch, "udp.time_delta") == 0)
    marks = {
        Counter.SYN: syn,
        Counter.FIN_RST: tcp & (flags & 5 != 0),
        Counter.PURE_ACK: tcp & (flags & 0x17 == 0x10) & (numbers(batch, "tcp.len") == 0),
        Counter.UDP: udp,
        Counter.ICMP: (protocol == 1) | (protocol == 58),
        Counter.ARP: there(batch, "arp.opcode"),
        Counter.DNS_QUERY: there(batch, "dns.qry.type"),
        Counter.DNS_RETRANSMISSION: (numbers(batch, "dns.retransmission") != 0)
        | there(batch, "dns.retransmit_request"),
        Counter.HTTP: there(batch, "http.request.method") | there(batch, "http.response"),
        Counter.MQTT: there(batch, "mqtt.msgtype"),
        Counter.MODBUS: there(batch, "mbtcp.len"),
        Counter.NEW_FLOW: syn | first,
    }
    bits = sum(rows.astype(np.int64) << (counter - FIRST_MARK) for counter, rows in marks.items())
    rtt = np.where(there(batch, "offramp.rtt"), numbers(batch, "offramp.rtt") / 1e6, np.nan)
    address = np.hstack([addresses(batch, "ip.src_host", "ipv6.src"), addresses(batch, "ip.dst_host", "ipv6.dst")])
    return Packets(
        numbers(batch, "frame.time_epoch"), numbers(batch, "frame.len"), address, protocol, ports, bits, rtt
    )  # fmt: skip


def mixed(rows: int, seed: int) -> pa.RecordBatch:
    """A random batch with the values that marks are made of, some columns without any value, some without a gap."""
    batch, rng = random_batch(rows, seed), np.random.default_rng(seed)
    cells = {
        "tcp.flags": rng.choice([0x02, 0x10, 0x12, 0x11, 0x04, 0x18], rows),
        "tcp.len": rng.choice([0, 10], rows),
        "ip.proto": rng.choice([1, 6, 17, 58], rows),
        "udp.time_delta": rng.choice([0, 5], rows),
    }
    for name, values in cells.items():
        at = batch.schema.get_field_index(name)
        mask = rng.random(rows) < (0.0 if name == "ip.proto" else 0.4)
        batch = batch.set_column(at, batch.schema.field(at), pa.array(values, batch.schema.field(at).type, mask=mask))
    at = batch.schema.get_field_index("mqtt.msgtype")
    return batch.set_column(at, batch.schema.field(at), pa.nulls(rows, batch.schema.field(at).type))


@pytest.mark.parametrize(("start", "count"), [(0, 0), (0, 1), (0, 64), (3, 61), (8, 200), (13, 300), (499, 1)])
def test_a_batch_and_its_slices_are_what_arrow_says(start: int, count: int) -> None:
    batch = mixed(500, seed=start + count).slice(start, count)
    found, wanted = packets_from_batch(batch), expected(batch)
    for name in Packets._fields:
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name), err_msg=name)


def test_a_missing_column_is_named() -> None:
    with pytest.raises(ContractError, match=r"mbtcp\.len"):
        packets_from_batch(random_batch(3).drop_columns(["mbtcp.len"]))
