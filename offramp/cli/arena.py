"""`offramp arena`: policies in a closed loop, on a simulated site."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from offramp.cli.options import ModelFolder, SiteFile
from offramp.errors import ConfigError, InputError

if TYPE_CHECKING:
    from offramp.stream.arena.contest import Contest
    from offramp.stream.arena.episode import Model
    from offramp.stream.arena.scenario import Scenario


@dataclass(frozen=True, kw_only=True)
class ArenaOptions:
    """What `offramp arena` was asked for."""

    scenarios: Annotated[
        tuple[str, ...],
        typer.Argument(metavar="SCENARIO.toml...", help="each a site, its network and its traffic (docs/arena.md)"),
    ] = ()
    policies: Annotated[
        tuple[str, ...], typer.Option("--policy", metavar="NAME", help="one of --list, again for more; all of them")
    ] = ()
    capture: Annotated[
        Path | None, typer.Option("--capture", help="one's own traffic, on the first link of --site, beside scenarios")
    ] = None
    site: SiteFile = None
    seeds: Annotated[int, typer.Option("--seeds", help="episodes of each scenario", min=1, max=10_000)] = 30
    command_ms: Annotated[
        float | None,
        typer.Option("--latency", help="ms until a command is carried out; none: the scenario's", min=0, max=10_000),
    ] = None
    tune: Annotated[
        int,
        typer.Option("--tune", help="settings that each policy is tuned by, on seeds of their own", min=0, max=10_000),
    ] = 0
    root: Annotated[Path | None, typer.Option("--root", help="the folder that $ROOT/ means in scenarios")] = None
    model: ModelFolder = None
    classes: Annotated[bool, typer.Option("--classes", help="a row for each class of traffic, too")] = False
    as_json: Annotated[bool, typer.Option("--json", help="one JSON line a scenario and policy")] = False
    list_them: Annotated[bool, typer.Option("--list", help="name the policies and end")] = False


def arena(options: ArenaOptions) -> None:
    """Play scenarios under policies, commands carried out on the way, and compare what users would have felt.

    Example: offramp arena samples/arena/web.toml --seeds 12; or --capture week.pcap --site site.toml
    """
    from offramp.decision.policies.table import POLICIES
    from offramp.kernels import announce_compiling
    from offramp.stream.arena.episode import BOUND
    from offramp.stream.arena.scenario import load_scenario

    known = {name: row.about for name, row in POLICIES.items()} | {BOUND: "the bound: knows every packet to come"}
    if options.list_them:
        for name, about in known.items():
            print(f"{name:<12}{about}")
        return
    if not options.scenarios and options.capture is None:
        raise ConfigError("expected a scenario, such as samples/arena/web.toml, or --list (docs/arena.md)")
    for name in options.policies:
        if name not in known:
            raise ConfigError(f"--policy {name}: expected one of {', '.join(known)}")
    scenarios = [(Path(name), load_scenario(Path(name))) for name in options.scenarios]
    if options.capture is not None:
        scenarios.append((options.capture, _own(options.capture, options.site)))
    announce_compiling()
    policies = options.policies or tuple(known)
    model = _model(options) if any(_needs_model(name) for name in policies) else None
    for path, scenario in scenarios:
        if options.command_ms is not None:
            network = scenario.network.model_copy(update={"command_ms": options.command_ms})
            scenario = scenario.model_copy(update={"network": network})
        _play(options, path, scenario, policies, model)


def _own(capture: Path, site: Path | None) -> Scenario:
    """Return the scenario of a user's own capture and site."""
    from offramp.decision.site import load_site
    from offramp.stream.arena.scenario import of_capture
    from offramp.stream.arena.traffic import packets_of

    if site is None:
        raise ConfigError("--capture: needs --site, whose paths and nodes are where its flows could go (docs/site.md)")
    packets = packets_of(capture.absolute())
    if not len(packets.time_ns):
        raise InputError(f"{capture}: no packet with a time")
    return of_capture(capture, load_site(site), float(packets.time_ns[-1] - packets.time_ns[0]) / 1e9 + 0.01)


def _needs_model(policy: str) -> bool:
    from offramp.decision.policies.table import POLICIES
    from offramp.decision.site import default_site

    site = default_site()
    return policy in POLICIES and POLICIES[policy].make(site, site.links[0].name).needs_forecast


def _model(options: ArenaOptions) -> Model:
    from offramp.inference.artifact import DEFAULT_ARTIFACT, load_artifact
    from offramp.inference.serving.table import open_backend
    from offramp.stream.arena.episode import Model

    artifact = load_artifact(options.model or DEFAULT_ARTIFACT)
    return Model(artifact, open_backend("compiled", artifact))


def _play(options: ArenaOptions, path: Path, scenario: Scenario, policies: Sequence[str], model: Model | None) -> None:
    """Play one scenario under all policies, and print what came of it."""
    from offramp.capture.sources.source import Progress
    from offramp.cli.show.progress import console_bar
    from offramp.stream.arena.contest import Contest

    seeds = options.seeds if scenario.varies else 1
    if options.tune and not scenario.varies:
        raise ConfigError(
            f"{path}: --tune: its traffic is the same for all seeds; tune on another scenario (docs/arena.md)"
        )
    contest = Contest(scenario, policies, seeds, options.tune, model, path.parent, options.root)
    with console_bar(Progress(), "playing", unit="episodes") as bar:
        done, whole = 0, len(policies) * seeds * (2 if options.tune else 1)

        def played() -> None:
            nonlocal done
            done += 1
            bar.steps(done, max(whole, done))

        contest.played = played
        if options.as_json:
            for policy in policies:
                print(json.dumps(contest.row(policy)), flush=True)
        else:
            _tables(options, contest)


def _tables(options: ArenaOptions, contest: Contest) -> None:
    """Print the tables of a contest, the rows of the first one as they are known."""
    from offramp.cli.show.arena_table import TOOK, TUNED, felt_columns, head, line
    from offramp.cli.show.ledger_text import warn
    from offramp.stream.arena.measures import SURE_BLOCKS

    scenario, seeds, rows = contest.scenario, contest.seeds, []
    network, budget_ms = scenario.network, scenario.link.budget_ms
    blocks = seeds * math.ceil(scenario.seconds / 5)
    columns = felt_columns(blocks >= SURE_BLOCKS)
    if blocks < SURE_BLOCKS:
        few = f"{scenario.name}: {blocks} blocks of 5 s, fewer than {SURE_BLOCKS}: intervals (*) are too narrow"
        warn(f"{few}; ask for more --seeds" if scenario.varies else few)
    about = f"; {scenario.about}" if scenario.about else ""
    print(f"{scenario.name}: {seeds} episode{'s' if seeds > 1 else ''} of {scenario.seconds:g} s{about}")
    print(f"commands take {network.command_ms:g} ms; late: over {budget_ms:g} ms")
    print(head(columns))
    for policy in contest.policies:
        row = contest.row(policy)
        rows.append(row)
        print(line(policy, row, columns), flush=True)
        for name, served in row["classes"].items() if options.classes else ():
            print(line(f"  {name}", served, columns))
    print(f"\ncongested: bins with a wait over {budget_ms:g} ms; moves to broken: a minute\n{head(TOOK)}")
    for row in rows:
        print(line(row["policy"], row, TOOK))
    if contest.trials:
        print(f"\ntuned by up to {contest.trials} trials on seeds of their own\n{head(TUNED)}")
        for row in rows:
            print(line(row["policy"], row, TUNED))
            if row["settings"]:
                print(f"{'':<14}{', '.join(f'{name} {value}' for name, value in row['settings'].items())}")
