"""How to reach Kafka: addresses, topic prefix, TLS and SASL, for every client of offramp; errors in one line."""

from __future__ import annotations

import logging
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from offramp_errors import ConfigError, OfframpError

SERVERS_VARIABLE = "OFFRAMP_KAFKA"
CONFIG_VARIABLE = "OFFRAMP_KAFKA_CONFIG"
PASSWORD_VARIABLE = "OFFRAMP_KAFKA_PASSWORD"  # noqa: S105 - the name of a variable, no password
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
LARGEST_MESSAGE = 1_000_000
"""Bytes of a message, headers included, that every broker takes at its defaults (message.max.bytes 1,048,588)."""


class KafkaAccessError(OfframpError):
    """Kafka cannot be reached, refuses us, or fails while we use it."""


class KafkaAwayError(KafkaAccessError):
    """No broker answers: it may be back later."""


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """Where the cluster is and who we are to it.

    servers: host:port of some brokers; prefix: first word of the topics' names; tls: encrypt, trusting `ca` (a PEM
    file; none: the system's), showing `certificate` and `key`; username and password: SASL by `mechanism`.
    """

    servers: tuple[str, ...]
    prefix: str = "offramp"
    tls: bool = False
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    mechanism: str = "SCRAM-SHA-512"
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    @property
    def shown(self) -> str:
        """The addresses as text, for messages."""
        return ",".join(self.servers)

    @property
    def protocol(self) -> str:
        """Kafka's name of the security protocol."""
        return ("SASL_" if self.username else "") + ("SSL" if self.tls else "PLAINTEXT")

    def topic(self, name: str) -> str:
        """Return the full name of a topic such as `features`."""
        return f"{self.prefix}.{name}.v1"

    def client_arguments(self) -> dict[str, Any]:
        """Return the connection arguments of every client of kafka-python."""
        arguments: dict[str, Any] = {
            "bootstrap_servers": list(self.servers),
            "security_protocol": self.protocol,
            "reconnect_backoff_max_ms": 1_000,
            "bootstrap_timeout_ms": 5_000,
        }
        if self.tls:
            arguments["ssl_context"] = self.ssl_context()
        if self.username:
            arguments |= {"sasl_mechanism": self.mechanism, "sasl_plain_username": self.username,
                          "sasl_plain_password": self.password}  # fmt: skip
        return arguments

    def ssl_context(self) -> Any:
        """Return the TLS context. Raise ConfigError naming the file that is missing or no certificate."""
        import ssl

        for name in ("ca", "certificate", "key"):
            path = getattr(self, name)
            if path is not None and not Path(path).is_file():
                raise ConfigError(f"kafka configuration: {name}: there is no file {path}")
        try:
            context = ssl.create_default_context(cafile=self.ca)
            if self.certificate:
                context.load_cert_chain(self.certificate, self.key)
        except (ssl.SSLError, OSError) as error:
            raise ConfigError(
                f"kafka configuration: ca, certificate or key cannot be used: {error}; all three are PEM files"
            ) from error
        return context


CONFIG_KEYS: dict[str, type] = {
    "prefix": str, "tls": bool, "ca": str, "certificate": str, "key": str, "mechanism": str, "username": str,
    "password_file": str,
}  # fmt: skip
"""Keys of the file that --kafka-config names, with their types."""


def kafka_settings(
    servers: str | None = None, config: Path | None = None, environment: Mapping[str, str] | None = None
) -> KafkaSettings:
    """Return the settings of options and environment.

    servers: `host:port[,host:port]`, else OFFRAMP_KAFKA; config: a TOML file, else OFFRAMP_KAFKA_CONFIG. The password
    comes from OFFRAMP_KAFKA_PASSWORD or the file that `password_file` names, never from an option. Raises ConfigError.
    """
    known = os.environ if environment is None else environment
    addresses = servers or known.get(SERVERS_VARIABLE) or ""
    names = tuple(part.strip() for part in addresses.split(",") if part.strip())
    if not names:
        raise ConfigError(f"no Kafka named: give --kafka host:port or set {SERVERS_VARIABLE}; `make kafka` starts one")
    for name in names:
        host, colon, port = name.rpartition(":")
        if not (host and colon and port.isdecimal() and 0 < int(port) < 65536):
            raise ConfigError(f"kafka address {name!r}: expected host:port, such as 127.0.0.1:9092")
    path = config or (Path(known[CONFIG_VARIABLE]) if known.get(CONFIG_VARIABLE) else None)
    values = _read_config(path) if path else {}
    password = known.get(PASSWORD_VARIABLE)
    file = values.pop("password_file", None)
    if file is not None and password is None:
        password = _read_password(file)
    if values.get("username") and not password:
        raise ConfigError(f"kafka configuration: username without a password: set {PASSWORD_VARIABLE} or password_file")
    return KafkaSettings(names, password=password if values.get("username") else None, **values)


def _read_config(path: Path) -> dict[str, Any]:
    """Return the checked keys of a configuration file."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--kafka-config {path}: cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"--kafka-config {path}: is no TOML: {error}") from error
    for key, value in values.items():
        if key not in CONFIG_KEYS:
            raise ConfigError(f"{path}: {key}: there is no such key; there are {', '.join(CONFIG_KEYS)}")
        if not isinstance(value, CONFIG_KEYS[key]):
            raise ConfigError(f"{path}: {key}: expected {CONFIG_KEYS[key].__name__}, found {type(value).__name__}")
    if values.get("mechanism", MECHANISMS[0]) not in MECHANISMS:
        raise ConfigError(f"{path}: mechanism: expected one of {', '.join(MECHANISMS)}, found {values['mechanism']!r}")
    return values


def _read_password(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"kafka configuration: password_file {file}: cannot be read: {error}") from error


def require_topics(settings: KafkaSettings, doing: str, *names: str) -> dict[str, int]:
    """Return how many partitions each topic has. Raise KafkaAccessError where one is missing or no broker answers."""
    from kafka import KafkaAdminClient
    from kafka.errors import UnknownTopicOrPartitionError

    with kafka_errors(settings, doing):
        admin = KafkaAdminClient(**settings.client_arguments())
        try:
            there = set(admin.list_topics())
            missing = [name for name in map(settings.topic, names) if name not in there]
            if missing:
                raise UnknownTopicOrPartitionError(missing)
            told = admin.describe_topics([settings.topic(name) for name in names])
        finally:
            admin.close()
    return {topic["name"]: len(topic["partitions"]) for topic in told}


@contextmanager
def kafka_errors(settings: KafkaSettings, doing: str) -> Iterator[None]:
    """Turn what a Kafka client raises in the body into one line: what was done, where, what to look at."""
    from kafka import errors

    causes = _listen()
    causes.clear()
    try:
        yield
    except errors.KafkaError as error:
        text, away = _reason(error, causes, settings)
        raise (KafkaAwayError if away else KafkaAccessError)(f"{doing}: {text}") from error
    except OSError as error:
        raise KafkaAccessError(f"{doing}: Kafka at {settings.shown}: {error}") from error


def close_client(client: Any, **how: Any) -> None:
    """Close a client of kafka-python: without a broker it raises what it likes, and hides why the work has ended."""
    with suppress(Exception):
        client.close(**how)


class _Causes(logging.Handler):
    """What kafka-python only logs: why connections fail, as what it raises in the end is that time is up."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.refused = False
        self.tls = ""

    def clear(self) -> None:
        """Forget what was heard."""
        self.refused, self.tls = False, ""

    def emit(self, record: logging.LogRecord) -> None:
        """Note a refused user, and the first failure of TLS."""
        text = record.getMessage()
        found = re.search(r"\[SSL: (\w+)\]", text)
        self.refused |= "SaslAuthenticationFailed" in text
        self.tls = self.tls or (found[1].replace("_", " ").lower() if found else "")


def _listen() -> _Causes:
    """Return the one listener to the log of kafka-python, which goes nowhere else: it tells of each try."""
    log = logging.getLogger("kafka")
    for handler in log.handlers:
        if isinstance(handler, _Causes):
            return handler
    causes = _Causes()
    log.addHandler(causes)
    log.setLevel(logging.WARNING)
    log.propagate = False
    return causes


def _reason(error: Exception, causes: _Causes, settings: KafkaSettings) -> tuple[str, bool]:
    """Return a client's error in words an operator can act on, and whether no broker answers."""
    from kafka import errors

    text = " ".join(str(error).split())[:200] or type(error).__name__
    at = f"Kafka at {settings.shown}"
    user = settings.username or "(none)"
    if isinstance(error, errors.SaslAuthenticationFailedError) or causes.refused:
        return f"{at} refuses user {user}: check username, password and mechanism", False
    if causes.tls:
        return f"{at}: TLS fails ({causes.tls}): check tls, ca, certificate and key", False
    if isinstance(error, errors.AuthorizationError):
        return f"{at} does not allow this to user {user}: {text}", False
    if isinstance(error, errors.UnknownTopicOrPartitionError):
        return f"{at} lacks a topic: run `offramp topics create`", False
    if isinstance(error, (errors.MessageSizeTooLargeError, errors.RecordListTooLargeError)):
        return f"{at} takes no message that large: set max.message.bytes to {LARGEST_MESSAGE + 48_588} or more", False
    if isinstance(error, (errors.KafkaConnectionError, errors.KafkaTimeoutError, errors.NodeNotReadyError)):
        return f"{at} does not answer ({settings.protocol}): is it running, and is the address right?", True
    return f"{at}: {type(error).__name__}: {text}", False
