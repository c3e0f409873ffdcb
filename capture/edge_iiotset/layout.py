"""Edge-IIoTset's CSV style as one table, derived from the schema: per column its form and its missing value.

The authors printed the 61 columns with tshark, read them with pandas, filled missing values with 0 and wrote them
again. So a column that pandas took for numbers has `12.0` and, where missing, `0.0`; a text column has the text and
`0`. Hexadecimal numbers have eight digits. A text column without a value in a whole file is numeric to pandas, its
missing value `0.0`: that would give away the class of attack, and is not reproduced here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from offramp.capture.schema import EDGE_COLUMNS, Column, Kind
from offramp.errors import ConfigError

LABEL_COLUMNS = ("Attack_label", "Attack_type")
"""0 for Normal and 1 for an attack; the name of the class."""

NORMAL = "Normal"


class Form(Enum):
    """How the cells of a column look in the authors' files."""

    TIME = "time"  # text with a comma in it; never missing
    NUMBER = "number"  # 12.0
    HEX = "hex"  # 0x0000000c
    TEXT = "text"  # as tshark prints it


_FORMS = {
    Kind.TIME: Form.TIME,
    Kind.UINT: Form.NUMBER,
    Kind.BOOL: Form.NUMBER,
    Kind.PRESENT: Form.NUMBER,
    Kind.SECONDS: Form.NUMBER,
    Kind.HEX2: Form.HEX,
    Kind.HEX4: Form.HEX,
    Kind.IPV4: Form.TEXT,
    Kind.TEXT: Form.TEXT,
    Kind.BYTES: Form.TEXT,
    Kind.PORTS: Form.TEXT,
}


@dataclass(frozen=True, slots=True)
class EdgeColumn:
    """One of the 61 columns: what the schema says of it, and its form."""

    column: Column
    form: Form

    @property
    def name(self) -> str:
        """The column's name, a tshark field."""
        return self.column.name

    @property
    def missing(self) -> str:
        """The cell of a packet without this field."""
        return "0.0" if self.form is Form.NUMBER else "0"

    def cell(self, printed: str) -> str:
        """Return a cell from what tshark prints; several occurrences stay joined by commas, as tshark prints them."""
        if printed == "":
            return self.missing
        if self.form is Form.HEX:
            return ",".join(f"0x{int(part, 16):08x}" for part in printed.split(","))
        if self.form is Form.NUMBER and "," not in printed:
            return repr(float(printed))
        return printed


EDGE_TABLE: tuple[EdgeColumn, ...] = tuple(EdgeColumn(column, _FORMS[column.kind]) for column in EDGE_COLUMNS)
EDGE_HEADER: tuple[str, ...] = (*(column.name for column in EDGE_TABLE), *LABEL_COLUMNS)
"""The 63 names at the head of a file, in their order."""


def label_cells(name: str) -> tuple[str, str]:
    """Return the cells of Attack_label and Attack_type for a class. Raises ConfigError for an invalid name."""
    if not name or not name.isprintable() or set(name) & set(',"'):
        raise ConfigError(
            f"--label {name!r}: a name without commas and quotes was expected, such as Normal or DDoS_UDP"
        )
    return ("0" if name == NORMAL else "1"), name
