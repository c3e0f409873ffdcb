"""The address that Prometheus asks: `--metrics HOST:PORT`, on loopback where no host is named."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from contextlib import contextmanager

from offramp.errors import ConfigError
from offramp.stream.metrics.registry import Metrics
from offramp.streams import tell

LOOPBACK = "127.0.0.1"


def parse_address(text: str) -> tuple[str, int]:
    """Return host and port of `HOST:PORT`, `:PORT` or `PORT`. Raises ConfigError."""
    host, _, port = text.strip().rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (port.isascii() and port.isdecimal() and int(port) < 65536):
        raise ConfigError(f"--metrics {text}: expected HOST:PORT or PORT, such as 127.0.0.1:9464; 0 takes a free one")
    return host or LOOPBACK, int(port)


@contextmanager
def serving(address: str, command: str) -> Iterator[Metrics | None]:
    """Give the metrics of a command, which are served while the body runs; None where no address is given.

    Raises ConfigError where the address cannot be listened on.
    """
    if not address:
        yield None
        return
    from prometheus_client import start_http_server

    host, port = parse_address(address)
    metrics = Metrics(command)
    try:
        server, thread = start_http_server(port, host, metrics.registry)
    except OSError as error:
        raise ConfigError(
            f"--metrics {address}: cannot listen there: {error.strerror or error}; name another HOST:PORT"
        ) from error
    metrics.url = f"http://{_shown(host)}:{server.server_port}/metrics"
    tell(f"metrics on {metrics.url}")
    try:
        yield metrics
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _shown(host: str) -> str:
    """Return a host as it stands in a URL."""
    try:
        return f"[{host}]" if ipaddress.ip_address(host).version == 6 else host
    except ValueError:
        return host
