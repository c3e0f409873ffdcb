"""`offramp publish`: what it was asked for; files or a live interface to the feature topic.

An interface is opened, and the rights are dropped, before anything heavy is imported; see cli.tap.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from offramp.cli.listen import ListenOptions, open_links
from offramp.errors import ConfigError
from offramp.inference.bin_length import BIN_MS
from offramp.kafka import KafkaSettings


@dataclass(frozen=True, slots=True)
class PublishOptions:
    """What `offramp publish` was asked for: files, or an interface to listen on."""

    files: tuple[str, ...]
    settings: KafkaSettings
    site: Path | None = None
    agent: str = ""
    epoch: str = ""
    pace: str = "max"
    spool: Path | None = None
    spool_bytes: int = 1 << 30
    strict: bool = False
    listen: ListenOptions | None = None
    metrics: str = ""
    message_ms: int = BIN_MS
    link: str = ""


def run_publish(options: PublishOptions) -> None:
    """Run `offramp publish`: packets to the feature topic, the ledger to standard error."""
    check_publish(options)
    if options.listen is None:
        from offramp.stream.agent.files import publish_files
        from offramp.stream.metrics.server import serving

        with serving(options.metrics, "publish") as metrics:
            publish_files(options, metrics)
        return
    with ExitStack() as stack:
        sources = open_links(options.listen, () if options.spool is None else (options.spool,))
        for source in sources:
            stack.callback(source.close)
        from offramp.stream.agent.live import publish_links
        from offramp.stream.metrics.server import serving

        publish_links(sources, options.listen, options, stack.enter_context(serving(options.metrics, "publish")))


def check_publish(options: PublishOptions) -> None:
    """Raise ConfigError where options are asked for that do not go together."""
    listen = options.listen
    if listen is None:
        if options.message_ms != BIN_MS:
            raise ConfigError("--message-every goes with --interface IFACE; files are sent in the largest messages")
        if not options.files:
            raise ConfigError("nothing to publish: give capture files, or --interface IFACE")
        return
    if not listen.interfaces:
        raise ConfigError("--filter, --snaplen, --duration, --count, --write and --backend go with --interface IFACE")
    if options.files:
        raise ConfigError("give capture files or --interface, not both; one agent each, with its own --agent name")
    if options.message_ms % BIN_MS:
        raise ConfigError(f"--message-every {options.message_ms}: expected a multiple of a bin's {BIN_MS} ms")
    if options.pace != "max" or options.strict:
        raise ConfigError("--pace and --strict go with capture files; a live link has its own pace")
    if options.epoch not in ("", "new"):
        raise ConfigError(f"--epoch {options.epoch}: a live agent's epoch is always new; leave the option out")
