"""Escape control characters in text from the wire, a file or a topic, so that it cannot steer a terminal.

Escapes are JSON's, so that a line of JSON stays one line of the same meaning.
"""

from __future__ import annotations

import re
from typing import Any

CONTROLS = (
    (0x00, 0x08), (0x0B, 0x1F),  # C0 but tab and line end (ECMA-48)
    (0x7F, 0x9F),  # DEL and C1: 0x9b begins a sequence as ESC [ does
    (0x061C, 0x061C), (0x200E, 0x200F), (0x202A, 0x202E), (0x2066, 0x2069),  # turn a line's direction (UAX 9)
    (0x2028, 0x2029), (0xFEFF, 0xFEFF),
)  # fmt: skip
"""Ranges of the characters that are escaped, first and last code point."""

HALVES = (0xD800, 0xDFFF)
"""Half characters (surrogates), which cannot be written at all."""

_CONTROL = re.compile("[" + "".join(f"\\u{first:04x}-\\u{last:04x}" for first, last in (*CONTROLS, HALVES)) + "]")


def escaped(text: str) -> str:
    """Return text in which control characters are written out; tabs and line ends stay."""
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text) if _CONTROL.search(text) else text


class EscapingStream:
    """A text stream that escapes everything written to it.

    rich_proxied_file: the name by which rich finds the stream itself, for its colours, which are escape sequences.
    """

    def __init__(self, stream: Any) -> None:
        self.rich_proxied_file = stream

    def write(self, text: str) -> int:
        """Write text, control characters escaped; return its length."""
        self.rich_proxied_file.write(escaped(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write lines."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.rich_proxied_file, name)
