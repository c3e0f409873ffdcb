"""What comes from the wire, a file or a topic is shown, not obeyed, whoever prints it."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from rich.console import Console
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether
from scapy.packet import Raw
from scapy.utils import wrpcap

from offramp.escape import EscapingStream, escaped
from tests.support.command_line import offramp

HOSTILE = "\x1b]0;pwned\x07 \u009b2J \u202eevil\u2028 \x7f \r\x08"


def controls(text: str) -> set[str]:
    """The characters of a text that a terminal would obey: all of Unicode's control characters but tab and line end."""
    turning = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
    found = {each for each in text if unicodedata.category(each) in ("Cc", "Cs", "Zl", "Zp")}
    return (found | {each for each in text if unicodedata.bidirectional(each) in turning}) - {"\t", "\n"}


def test_every_control_character_is_escaped_and_nothing_else() -> None:
    every = [chr(code) for code in range(0x3000)]
    assert controls("".join(every))
    assert not controls("".join(map(escaped, every)))
    kept = [each for each in every if escaped(each) == each]
    assert set("\t\n Aé_\\\"'") <= set(kept)
    assert len(every) - len(kept) < 90


def test_a_line_of_json_stays_one_and_says_the_same() -> None:
    line = json.dumps({"agent": HOSTILE}, ensure_ascii=False)
    assert not controls(escaped(line))
    assert json.loads(escaped(line)) == {"agent": HOSTILE}


def test_a_stream_escapes_whoever_writes_and_lets_rich_colour() -> None:
    under = io.StringIO()
    stream = EscapingStream(under)
    print(HOSTILE, file=stream)
    stream.writelines([HOSTILE, "\n"])
    print("\ud800", file=stream)
    assert not controls(under.getvalue())
    under.truncate(0)
    Console(file=stream, force_terminal=True, color_system="standard").print("[red]warm[/red]")  # type: ignore[arg-type]
    assert "\x1b[31mwarm" in under.getvalue()


@pytest.mark.parametrize("command", ["replay", "features"])
def test_a_file_cannot_steer_the_terminal_by_its_name(command: str, tmp_path: Path) -> None:
    options = ["-o", str(tmp_path / "x.csv")] if command == "features" else []
    done = offramp(command, tmp_path / HOSTILE.replace("\r", ""), *options)
    assert done.returncode == 2
    assert "\\u001b]0;pwned\\u0007" in done.stderr
    assert not controls(done.stderr)


def test_help_keeps_its_colours() -> None:
    code = "import sys; sys.argv = ['offramp', 'tap', '--help']; from offramp.cli.commands import main; main()"
    environment = {"FORCE_COLOR": "1", "TERM": "xterm-256color", "PATH": ""}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert "\x1b[" in done.stdout
    assert "\\u001b" not in done.stdout


def test_csv_escapes_what_the_wire_holds_unless_asked_for_as_it_is(tmp_path: Path) -> None:
    uri = "/\x1b]0;pwned\x07\u009b\u202e"
    request = f"GET {uri} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
    capture = tmp_path / "http.pcap"
    wrpcap(str(capture), Ether() / IP(src="10.0.0.1", dst="10.0.0.2") / TCP(sport=40000, dport=80) / Raw(request))
    found = {}
    for name, options in {"shown": [], "raw": ["--raw"], "edge": ["--layout", "edge-iiotset"]}.items():
        out = tmp_path / f"{name}.csv"
        done = offramp("features", capture, "-o", out, *options)
        assert done.returncode == 0, done.stderr
        found[name] = out.read_text(encoding="utf-8")
    assert controls(found["raw"]) == {"\x1b", "\x07"}  # others tshark writes out itself
    for name in ("shown", "edge"):
        assert not controls(found[name])
        assert "\\u001b]0;pwned\\u0007" in found[name]
    assert found["shown"] == escaped(found["raw"])


def test_raw_is_of_csv_alone(tmp_path: Path) -> None:
    done = offramp("features", tmp_path / "x.pcap", "-o", tmp_path / "x.parquet", "--raw")
    assert done.returncode == 2
    assert "--raw" in done.stderr
