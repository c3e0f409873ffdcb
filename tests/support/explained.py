"""Commands of the sample, as a user of replay has them, and a site that the optimiser decides for."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import offramp
from offramp.decision.site import load_site
from tests.support.places import ROOT

DEMO, SITE = ROOT / "samples/demo.pcap.zst", ROOT / "samples/site.toml"


@lru_cache
def demo_commands(policy: str) -> tuple[str, ...]:
    """Return the commands of a policy for the sample, a line of JSON each; others than the shipped move only flows."""
    site = load_site(SITE)
    chosen = site.model_copy(update={"policy": site.policy.model_copy(update={"name": policy})})
    if policy != "shipped":
        chosen = chosen.model_copy(update={"limits": site.limits.model_copy(update={"actions": ("reroute",)})})
    return tuple(command.to_json() for command in offramp.replay(DEMO, site=chosen).commands)


def commands_file(folder: Path, policy: str) -> Path:
    """Write those commands to a file."""
    path = folder / f"{policy}.jsonl"
    path.write_text("".join(f"{line}\n" for line in demo_commands(policy)))
    return path
