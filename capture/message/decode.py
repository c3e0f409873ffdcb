"""Decode messages of `offramp.features.v2` to feature batches: senders are not trusted, memory is bounded.

The rule of the schema: unknown columns are ignored; a missing or differently typed one is refused, naming the agent, as
is another schema version. Nothing is decompressed before its declared size has been found small enough.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import pyarrow as pa

from offramp.capture.features.arrow_schema import batch_schema
from offramp.capture.ledger import CaptureLedger
from offramp.capture.message.arrow_frame import frame_of
from offramp.capture.message.encode import (
    HEADER_NAMES,
    MAX_NS,
    MAX_SAMPLING,
    OPTIONAL_HEADERS,
    FeatureHeaders,
    covered_ns,
    times_of,
)
from offramp.capture.schema import SCHEMA_VERSION
from offramp.errors import ContractError
from offramp.hops import HEADER, decode_hops
from offramp.kafka import MAX_NAME

MAX_ROWS = 65_536
MAX_UNPACKED = 64 << 20
"""Bytes that the columns of one message may take: eight times what a full batch does."""
MAX_MESSAGE = 16 << 20
MAX_LEDGER = 64 << 10
SCHEMA = batch_schema("stream")
NUMBER = re.compile(rb"\d{1,19}")


class RefusedError(ContractError):
    """A message that is refused; `reason` is the short word for counters and dead letters."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class FeatureMessage:
    """A checked message; batch: the rows with the metadata that the pipeline reads, None where there are no rows.

    shed: the message is only counted; its rows, if any, were not decoded; bundle: as its agent named it in the key.
    """

    link: str
    headers: FeatureHeaders
    batch: pa.RecordBatch | None
    shed: bool = False
    bundle: str = ""

    def metadata(self) -> dict[str, str]:
        """Return what the pipeline reads of a batch's metadata."""
        headers = self.headers
        return {"site": headers.site, "link": self.link, "agent": headers.agent, "ledger": json.dumps(headers.ledger),
                "sampling": str(headers.sampling)}  # fmt: skip


def decode_message(
    key: bytes | None,
    headers: Iterable[tuple[str, bytes]],
    value: bytes | None,
    *,
    site: str | None = None,
    shed: bool = False,
) -> FeatureMessage | None:
    """Return a checked message, or None for a site other than `site`. Raises RefusedError.

    shed: shed the message undecoded if it is a live link's; the end of a link is never shed.
    Reasons: `headers`, `version`, `size`, `arrow`, `columns`, `rows`, `span`; the text says what was wrong and
    names the agent.
    """
    read = decode_headers(headers)
    if site is not None and read.site != site:
        return None
    bundle = bundle_in(_name("the key, the site's and the bundle's name,", key, read.agent), read.site)
    link = read.link or bundle
    if shed and read.live and not read.end:
        if read.rows > MAX_ROWS:
            raise RefusedError("size", f"agent {read.agent}: {read.rows} rows, at most {MAX_ROWS} are read")
        return FeatureMessage(link, read, None, shed=True, bundle=bundle)
    if read.end or read.rows == 0:
        if value or read.rows:
            raise RefusedError("rows", f"agent {read.agent}: a message that ends, or has 0 rows, has rows")
        return FeatureMessage(link, read, None, bundle=bundle)
    batch = decode_batch(value or b"", read.agent)
    _check_rows(batch, read)
    message = FeatureMessage(link, read, batch, bundle=bundle)
    return replace(message, batch=batch.replace_schema_metadata(message.metadata()))


def decode_headers(pairs: Iterable[tuple[str, bytes]]) -> FeatureHeaders:
    """Return the headers, checked. Raises RefusedError."""
    found = {name: value for name, value in pairs if name in HEADER_NAMES or name == HEADER}
    agent = shown(found.get("agent"))
    found = {name: str(usual).encode() for name, usual in OPTIONAL_HEADERS.items()} | found
    missing = [name for name in HEADER_NAMES if not isinstance(found.get(name), bytes)]
    if missing:
        raise RefusedError("headers", f"agent {agent}: headers missing: {', '.join(missing)}")
    if found["schema_version"] != SCHEMA_VERSION.encode():
        version = shown(found["schema_version"])
        raise RefusedError("version", f"agent {agent}: schema version {version!r}, ours is {SCHEMA_VERSION!r}")
    numbers = {}
    for name in ("agent_epoch", "sequence", "rows", "first_time_ns", "last_time_ns", "end", *OPTIONAL_HEADERS):
        if name == "link":
            continue
        number = whole_number(found[name])
        if number is None:
            raise RefusedError("headers", f"agent {agent}: {name}: expected a whole number, found {found[name][:40]!r}")
        numbers[name] = number
    if not 1 <= numbers["sampling"] <= MAX_SAMPLING:
        raise RefusedError(
            "headers", f"agent {agent}: sampling: expected 1 to {MAX_SAMPLING}, not {numbers['sampling']}"
        )
    return FeatureHeaders(
        site=_name("site", found["site"], agent),
        agent=_name("agent", found["agent"], agent),
        agent_epoch=numbers["agent_epoch"],
        sequence=numbers["sequence"],
        rows=numbers["rows"],
        first_time_ns=numbers["first_time_ns"],
        last_time_ns=numbers["last_time_ns"],
        ledger=_ledger(found["ledger"], agent),
        end=bool(numbers["end"]),
        sampling=numbers["sampling"],
        clock_ns=numbers["clock_ns"],
        hops=decode_hops(found.get(HEADER)),
        live=bool(numbers["live"]),
        link=_name("link", found["link"], agent) if found["link"] else "",
    )


def bundle_in(key: str, site: str) -> str:
    """Return the bundle of a key `SITE/BUNDLE`; a key without the site is of an agent of before."""
    return key.removeprefix(f"{site}/") or key


def link_named(key: bytes | None, headers: Mapping[str, bytes]) -> str:
    """Return whose packets a message has, not checked: for a message that may be shed unread."""
    texts = (key, headers.get("site"), headers.get("link"))
    named, site, link = ((text or b"").decode(errors="replace") for text in texts)
    return link or bundle_in(named, site)


def whole_number(text: object) -> int | None:
    """Return a header's number; None unless it is a whole number of at most 19 digits, below 2^63 (int64)."""
    if not isinstance(text, bytes) or NUMBER.fullmatch(text) is None or int(text) >= 1 << 63:
        return None
    return int(text)


def shown(text: object) -> str:
    """Return the beginning of an unchecked name, for a line of text."""
    return text[:40].decode(errors="replace") if isinstance(text, bytes) else "?"


def _name(what: str, text: bytes | None, agent: str) -> str:
    """Return a name as text: UTF-8 of 1 to MAX_NAME bytes. Raises RefusedError."""
    size = len(text or b"")
    if not text or size > MAX_NAME:
        raise RefusedError("headers", f"agent {agent}: {what} has {size} bytes, expected 1 to {MAX_NAME}")
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise RefusedError("headers", f"agent {agent}: {what} is no UTF-8: {error}") from error


def _ledger(text: bytes, agent: str) -> Mapping[str, Any]:
    """Return the ledger's counts: whole numbers, or mappings of reasons to whole numbers."""
    try:
        ledger = json.loads(text) if len(text) <= MAX_LEDGER else None
    except (ValueError, RecursionError):
        ledger = None
    if not isinstance(ledger, dict):
        raise RefusedError("headers", f"agent {agent}: ledger: expected counts as a JSON object, found {text[:60]!r}")
    try:
        CaptureLedger.from_dict(ledger)
    except ContractError as error:
        raise RefusedError("headers", f"agent {agent}: ledger: {error}") from error
    return ledger


def decode_batch(value: bytes, agent: str) -> pa.RecordBatch:
    """Return the record batch of an Arrow IPC stream: known columns only, in the schema's order."""
    if len(value) > MAX_MESSAGE:
        raise RefusedError("size", f"agent {agent}: {len(value)} bytes, at most {MAX_MESSAGE} are read")
    try:
        schema = _check_frames(value, agent)
        places = None if schema is SCHEMA else [_place(schema, field, agent) for field in SCHEMA]
        options = pa.ipc.IpcReadOptions(use_threads=False, included_fields=places)
        pool = pa.system_memory_pool()  # Arrow's own keeps a large message's memory while the next is unpacked
        batch = pa.ipc.open_stream(pa.py_buffer(value), options=options, memory_pool=pool).read_next_batch()
        if schema is not SCHEMA:
            batch = batch.select(SCHEMA.names)
        batch.validate(full=True)
    except RefusedError:
        raise
    except (pa.ArrowException, ContractError, OSError, ValueError) as error:
        raise RefusedError("arrow", f"agent {agent}: {' '.join(str(error).split())[:200]}") from error
    return batch


def _check_frames(value: bytes, agent: str) -> pa.Schema:
    """Check that the stream is a schema and one record batch within the size limits; return the schema.

    It is SCHEMA itself where the columns are the same in the same order, as from every agent of our version.
    """
    reader = pa.ipc.MessageReader.open_stream(pa.py_buffer(value))
    first = _next_message(reader, agent)
    if first.type != "schema":
        raise RefusedError("arrow", f"agent {agent}: the stream begins with a {first.type}, not with its schema")
    schema = SCHEMA if _is_ours(first.metadata.to_pybytes()) else pa.ipc.read_schema(first)
    second = _next_message(reader, agent)
    if second.type != "record batch":
        raise RefusedError("arrow", f"agent {agent}: a {second.type} where the rows should be")
    frame = frame_of(second.metadata, second.body)
    if not 0 <= frame.rows <= MAX_ROWS:
        raise RefusedError("size", f"agent {agent}: {frame.rows} rows, at most {MAX_ROWS} are read")
    if frame.size > MAX_UNPACKED:
        raise RefusedError("size", f"agent {agent}: unpacks to {frame.size} bytes, at most {MAX_UNPACKED} are read")
    return schema


@lru_cache
def _our_schema() -> bytes:
    """Return the first message of a stream with SCHEMA."""
    return bytes(pa.ipc.read_message(SCHEMA.serialize()).metadata.to_pybytes())


def _is_ours(schema: bytes) -> bool:
    """Return whether a schema message is SCHEMA's, byte for byte, so that it need not be parsed."""
    return schema == _our_schema()


def _next_message(reader: Any, agent: str) -> Any:
    try:
        return reader.read_next_message()
    except StopIteration:
        raise RefusedError("arrow", f"agent {agent}: the message ends before its rows") from None


def _place(schema: pa.Schema, wanted: pa.Field, agent: str) -> int:
    """Return the index of a column. Raises RefusedError where it is missing, there twice, or of another type."""
    places = schema.get_all_field_indices(wanted.name)
    if len(places) != 1:
        what = "is missing" if not places else "is there twice"
        raise RefusedError("columns", f"agent {agent}: column {wanted.name!r} {what}; is the agent of our version?")
    found = schema.field(places[0]).type
    if found != wanted.type:
        raise RefusedError("columns", f"agent {agent}: column {wanted.name!r} is {found}, expected {wanted.type}")
    return int(places[0])


def _check_rows(batch: pa.RecordBatch, headers: FeatureHeaders) -> None:
    """Check the rows against the headers. Raises RefusedError."""
    if batch.num_rows != headers.rows:
        raise RefusedError("rows", f"agent {headers.agent}: {batch.num_rows} rows, the headers say {headers.rows}")
    if batch.column("frame.len").null_count:
        raise RefusedError("rows", f"agent {headers.agent}: rows without a length")
    if covered_ns(batch) > MAX_NS:
        longest_s = MAX_NS // 1_000_000_000
        raise RefusedError(
            "span", f"agent {headers.agent}: the rows cover more than {longest_s} s; send fewer in a message"
        )
    if times_of(batch) != (headers.first_time_ns, headers.last_time_ns):
        raise RefusedError("rows", f"agent {headers.agent}: times of the rows are not those of the headers")
