"""What a site file says is done, whatever its spelling; what it cannot mean is refused in one line of our words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from offramp.decision.bounds import BOUNDS
from offramp.decision.moves import HeldMoves
from offramp.decision.offload import offload
from offramp.decision.reroute import mark, reroute
from offramp.decision.site import AltPath, Device, Limits, Link, Node, Rules, Site, load_site
from offramp.decision.tables import WORDS, Strict
from offramp.decision.traffic import DeviceRate, FlowRate, Traffic
from offramp.errors import ConfigError

LINK = '[[links]]\nname = "uplink"\ncapacity = "8 Mbit/s"\n'
KNOWN = f"{LINK}[[links.known]]\npriority = -1\naddress = "
FOREIGN = re.compile(
    r"Input should|validat|pydantic|lax-|Value error|tuple|dict\b|NoneType|Traceback|links\.0", re.IGNORECASE
)


def load(tmp_path: Path, text: str | bytes) -> Site:
    path = tmp_path / "site.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_site(path)


def complaint(tmp_path: Path, text: str | bytes) -> str:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    line = str(caught.value)
    assert line.startswith(f"{tmp_path}/site.toml: ")
    assert line.isprintable(), line
    assert len(line) < 400
    assert not FOREIGN.search(line.removeprefix(str(tmp_path))), line
    return line.removeprefix(f"{tmp_path}/site.toml: ")


def moved(site: Site, device: str) -> bool:
    """Whether anything would move a device that is the whole load of its link."""
    link = site.links[0].model_copy(
        update={"paths": (AltPath(name="lte", capacity=1e9),), "nodes": (Node(name="edge"),)}
    )
    flow = FlowRate(device, "192.0.2.1" if "." in device else "2001:db8:f::1", 17, 5000, 6000, 9e6)
    back = FlowRate(flow.dst, flow.src, 17, 6000, 5000, 9e6)
    traffic = Traffic((flow, back), (DeviceRate(device, 9e6),), 9e6, link.capacity_bps)
    return bool(
        reroute(link, site.limits, traffic, 9e6, HeldMoves())
        or offload(link, site.limits, traffic, 9e6, HeldMoves(), {})
        or mark(link, site.limits, traffic, 9e6, HeldMoves())
    )


@pytest.mark.parametrize(
    ("spelling", "device"),
    [
        *((each, "10.13.0.12") for each in (
            "10.13.0.12", "10.13.0.12/32", "10.13.0.0/24", "10.13.0.0/255.255.255.0", "0.0.0.0/0", " 10.13.0.12 ",
            "\\t10.13.0.12", "::ffff:10.13.0.12", "::FFFF:0a0d:000c", "::ffff:10.13.0.0/120", "[::ffff:10.13.0.12]",
        )),
        *((each, "2001:db8::c") for each in (
            "2001:db8::c", "2001:DB8::C", "2001:db8:0:0:0:0:0:c", "2001:0db8::000c", "[2001:db8::c]", "[2001:db8::]/64",
            "2001:db8::c/128", "2001:db8::/32", "::/0", "2001:db8::0.0.0.12",
        )),
    ],
)  # fmt: skip
def test_never_moved_is_kept_in_every_spelling(tmp_path: Path, spelling: str, device: str) -> None:
    site = load(tmp_path, f'{KNOWN}"{spelling}"')
    assert not moved(site, device)
    assert moved(load(tmp_path, LINK), device)
    other = "198.51.100.1" if "." in device else "fd00::1"
    assert moved(site, other) == (not spelling.endswith("/0"))


@pytest.mark.parametrize(
    ("spelling", "said"),
    [
        ("10.13.0.012", "leading zeros"),
        ("10.13.0.5/24", "host bits set; did you mean 10.13.0.0/24, or 10.13.0.5 alone"),
        ("2001:db8::c/64", "did you mean 2001:db8::/64, or 2001:db8::c alone"),
        ("plc.example", "is a name"),
        ("PLC", "is a name"),
        ("02:00:5e:00:53:01", "is a MAC address"),
        ("02-00-5E-00-53-01", "is a MAC address"),
        ("0200.5e00.5301", "is a MAC address"),
        ("fe80::1%eth0", "zone"),
        ("10.13.0.300", "expected an IPv4 or IPv6 address"),
        ("10.13.0", "expected an IPv4 or IPv6 address"),
        ("10.13.0.12:502", "expected an IPv4 or IPv6 address"),
        ("10.13.0.12-10.13.0.20", "is a name|expected an IPv4 or IPv6"),
        ("10.13.0.1\uff12", "expected an IPv4 or IPv6 address"),
        ("10.13.0.*", "expected an IPv4 or IPv6 address"),
        ("", "expected an IPv4 or IPv6 address"),
        ("10.13.0.0/33", "expected an IPv4 or IPv6 address"),
        ("2001:db8:::c", "expected an IPv4 or IPv6 address"),
        ("\\u202e10.13.0.12", "expected an IPv4 or IPv6 address"),
    ],
)
def test_what_packets_cannot_be_held_against_is_refused(tmp_path: Path, spelling: str, said: str) -> None:
    line = complaint(tmp_path, f'{KNOWN}"{spelling}"')
    assert "known device" in line
    assert re.search(said, line), line
    for key in ("devices", "only"):
        text = f'{LINK}devices = ["{spelling}"]' if key == "devices" else f'{LINK}[limits]\nonly = ["{spelling}"]'
        assert re.search(said, complaint(tmp_path, text))


def test_the_narrowest_network_counts(tmp_path: Path) -> None:
    text = f'{KNOWN}"10.13.0.0/24"\n[[links.known]]\naddress = "10.13.0.12"\npriority = 3'
    site = load(tmp_path, text)
    assert moved(site, "10.13.0.12")
    assert not moved(site, "10.13.0.13")


def test_only_is_held_against_mapped_addresses_too(tmp_path: Path) -> None:
    site = load(tmp_path, f'{LINK}[limits]\nonly = ["::ffff:10.13.0.0/120"]')
    assert moved(site, "10.13.0.12")
    assert not moved(site, "10.14.0.12")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[links]\nname = 'a'\ncapacity = 1e6", r"links: expected tables \[\[links\]\], .* found one table \[links\]"),
        (f"{LINK}[links.paths]\nname = 'x'\ncapacity = 1e6", r"link 'uplink': paths: expected tables \[\[links\.paths"),
        ("[[link]]\nname = 'a'", r"link: there is no such key; did you mean links\?"),
        ("[[links]]\nname = 'u'\ncapacty = 1e6", r"link 'u': capacty: there is no such key; did you mean capacity\?"),
        ("[[links]]\nname = 'u'\nCapacity = 1e6", r"Capacity: there is no such key; did you mean capacity\?"),
        (f"{LINK}wheels = 3", "wheels: there is no such key; there are name, interface, capacity"),
        ("[[links]]\nname = 'u'", r"link 'u': capacity: is missing \(docs/site\.md\)"),
        (LINK.replace('"8 Mbit/s"', "8"), "link 'uplink': capacity: expected 10 kbit/s to 1 Tbit/s; found 8 bit/s"),
        (LINK.replace('"8 Mbit/s"', '"9 kbit/s"'), "found 9 kbit/s"),
        (LINK.replace('"8 Mbit/s"', '"2 Tbit/s"'), "found 2 Tbit/s"),
        (LINK.replace('"8 Mbit/s"', '"100"'), "such as 20000000 or '20 Mbit/s'; found '100'"),
        (LINK.replace('"8 Mbit/s"', '"8 MB/s"'), "such as 20000000 or '20 Mbit/s'"),
        (f"{LINK}[[links.paths]]\nname = ''\ncapacity = 1e6", "path, entry 1: name: expected a name"),
        (f"{LINK}[[links.paths]]\nname = 'uplink'\ncapacity = 1e6", "link 'uplink': .*name of the link itself"),
        (f"{LINK}[[links.nodes]]\nname = 'e'\n[[links.nodes]]\nname = 'e'", "paths and nodes have the name 'e'"),
        (f"{LINK}[[links.paths]]\nname = 'e'\ncapacity = 1e6\n[[links.nodes]]\nname = 'e'", "have the name 'e'"),
        (f"{LINK}{LINK}", "two links have the name 'uplink'"),
        (f'{KNOWN}"10.0.0.9"\n[[links.known]]\naddress = "::ffff:10.0.0.9"', "10.0.0.9 stands twice"),
        (LINK.replace('"uplink"', '"up\\nlink"'), "expected text of printable characters"),
        (LINK.replace('"uplink"', '"\\u001b[2J"'), "expected text of printable characters"),
        (LINK.replace('"uplink"', f'"{"ü" * 41}"'), "expected at most 80 bytes; found 82"),
        (LINK.replace('"uplink"', '".."'), "expected a name"),
        (f'name = "a/b"\n{LINK}', "expected a name without /"),
        (f"{LINK}[policy]\nexpiry_s = inf", "policy: expiry_s: expected a number, 1 s to 86,400 s; found inf"),
        (f"{LINK}[policy]\nexpiry_s = 1e12", "expiry_s: expected 1 s to 86,400 s"),
        (f"{LINK}[policy]\nexpiry_s = 0.001", "expiry_s: expected 1 s to 86,400 s"),
        (f"{LINK}[policy]\nhold_s = inf", "hold_s: expected a number, 0 s to 86,400 s"),
        (f"{LINK}[policy]\nenter_probability = 0.3", "exit_probability of at most enter_probability"),
        (f"[[policy]]\n{LINK}", "policy: expected one table"),
        (f"{LINK}interface = ''", "leave the key out for any interface"),
        ("links = []", "links: expected at least 1"),
        ("", r"links: is missing"),
        ("a = " + "[" * 5000, "nested too deeply"),
        (LINK.replace('"8 Mbit/s"', "1" + "0" * 5000), "a number or date that is none"),
        (LINK.replace('"8 Mbit/s"', "1" + "0" * 4000), "a number of more than 20 digits"),
        (LINK.encode("utf-16"), "is no UTF-8 text"),
        (LINK.encode() + b"\xff", "is no UTF-8 text"),
        ("#" * (16 << 20) + "\n", "larger than 16 MB"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, text: str | bytes, said: str) -> None:
    assert re.search(said, complaint(tmp_path, text))


def test_a_byte_order_mark_is_no_matter(tmp_path: Path) -> None:
    assert load(tmp_path, b"\xef\xbb\xbf" + LINK.encode()) == load(tmp_path, LINK)


def test_a_folder_and_a_missing_file_are_one_line(tmp_path: Path) -> None:
    for path, said in ((tmp_path, "is a folder"), (tmp_path / "none.toml", "there is no such file")):
        with pytest.raises(ConfigError, match=said):
            load_site(path)


TABLES: dict[str, tuple[type[Strict], str]] = {
    "": (Site, ""),
    "[policy]": (Rules, ""),
    "[limits]": (Limits, ""),
    "[[links]]": (Link, 'name = "a"\ncapacity = 1e6\n'),
    "[[links.paths]]": (AltPath, 'name = "p"\ncapacity = 1e6\n'),
    "[[links.nodes]]": (Node, 'name = "n"\n'),
    "[[links.known]]": (Device, 'address = "10.0.0.1"\n'),
}
VALUES = (
    "true", "7", "-1", "0", "1.5", "1e300", "-1e300", "inf", "-inf", "nan", "1" + "0" * 400, "9223372036854775808",
    "''", "'x'", "'7'", "'true'", "' '", f"'{'x' * 5000}'", r'"\u0000"', r'"a\nb"',
    "[]", "[1]", "['x']", "[[]]", "{}", "{ x = 1 }", "[{}]", "[{ name = 'q' }]",
    "2026-01-01", "07:00:00", "1979-05-27T07:32:00Z",
)  # fmt: skip


@pytest.mark.parametrize("title", TABLES)
def test_any_value_at_any_key_is_taken_or_refused_in_our_words(tmp_path: Path, title: str) -> None:
    """Of every key: what is taken lies in the bounds, so that no later arithmetic fails."""
    kind, needed = TABLES[title]
    taken = 0
    for key in kind.model_fields:
        own = "".join(f"{line}\n" for line in needed.splitlines() if not line.startswith(f"{key} ="))
        for value in VALUES:
            head = "" if title in ("", "[[links]]") else LINK
            tail = LINK if title == "" and key != "links" else ""
            text = f"{head}{title}\n{own}{key} = {value}\n{tail}"
            try:
                load(tmp_path, text)
            except ConfigError:
                complaint(tmp_path, text)
            else:
                taken += 1
    assert taken


def test_each_number_has_a_bound_and_both_its_ends_are_taken(tmp_path: Path) -> None:
    """The ends of a bound may be used."""
    numbers = {
        "budget_ms": "budget_ms", "lateness_ms": "lateness_ms", "buffer_bytes": "buffer_bytes", "capacity": "rate",
    }  # fmt: skip
    for key, bound in numbers.items():
        for end in (BOUNDS[bound].least, BOUNDS[bound].most):
            text = f'[[links]]\nname = "a"\n{"" if key == "capacity" else "capacity = 1e6"}\n{key} = {end}\n'
            assert getattr(load(tmp_path, text).links[0], key) == end
    for key, bound in {"expiry_s": "expiry_s", "hold_s": "wait_s", "cooldown_s": "wait_s"}.items():
        for end in (BOUNDS[bound].least, BOUNDS[bound].most):
            assert getattr(load(tmp_path, f"{LINK}[policy]\n{key} = {end}").policy, key) == end


def test_every_kind_of_error_that_a_table_can_raise_has_words() -> None:
    assert {"value_error", "missing", "string_type", "literal_error", "tuple_type", "too_short"} <= set(WORDS)
    for kind, _ in TABLES.values():
        assert issubclass(kind, Strict)
