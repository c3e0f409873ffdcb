"""Where things lie in a checkout, and beside it."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "samples/demo.pcap.zst"
SITE = ROOT / "samples/site.toml"
SHARED = ROOT.parent / "shared"
"""Captures of others, which are not ours to give: a checkout that has none beside it skips what asks for them."""
