"""Values that a header, a key or a body is not meant to have."""

from __future__ import annotations

from typing import Any

NUMBERS = [
    b"0",
    b"1",
    b"-1",
    b"9" * 400,
    b"9" * 5_000,
    b"9223372036854775807",
    b"9223372036854775808",
    b"1e400",
    b"nan",
    b"1_000",
    b" 7 ",
    b"+7",
    b"0x10",
    "\u0661\u0662".encode(),
    b"\x00",
    b"4611686018427387904",
    b"65536",
    b"65537",
    b"253402300800000000000",
    b"9999999999999999999",
]
TEXTS = [
    b"",
    b"lab",
    b"\xff\xfe",
    b"a" * 200,
    b"a" * 201,
    b"x" * 100_000,
    "\ud800".encode(errors="surrogatepass"),
    b"\x1b]0;x\x07",
    b"None",
    b"null",
    b"\x00" * 199,
    "\u2028".encode() * 66,
    b"uplink0",
]
JSONS = [
    b"[" * 100_000,
    b'{"captured":' * 50_000,
    b'{"captured":1e400}',
    b'{"captured":NaN}',
    b'{"captured":-1}',
    b"7",
    b"[]",
    b'{"captured":{"x":1}}',
    b'{"shed":7}',
    b'{"notes":7}',
    b'{"undecodable":3}',
    b'{"shed":{"a":{"b":1}}}',
    b'{"shed":null}',
    b'{"captured":true}',
    b'{"captured":9007199254740993}',
    b'{"\\ud800":1}',
    b'{"shed":{"\\ud800":2}}',
    b'{"captured":"1"}',
    b'{"captured":' + b"9" * 4_000 + b"}",
    b'{"decoded":5,"captured":3}',
    b'{"captured":9007199254740991}',
    b"{}",
]
ANY: list[Any] = [*NUMBERS, *TEXTS, *JSONS, None]
