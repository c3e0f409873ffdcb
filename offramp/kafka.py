"""How to reach Kafka: addresses, topic prefix, TLS and SASL, for every client of offramp; errors in one line."""

from __future__ import annotations

import logging
import os
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from offramp.errors import ConfigError, OfframpError
from offramp.toml import read_toml, unknown_key

SERVERS_VARIABLE = "OFFRAMP_KAFKA"
CONFIG_VARIABLE = "OFFRAMP_KAFKA_CONFIG"
PASSWORD_VARIABLE = "OFFRAMP_KAFKA_PASSWORD"  # noqa: S105 - the name of a variable, no password
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
MAX_MESSAGE = 1_000_000
"""Bytes of a message, headers included, that every broker takes at its defaults (message.max.bytes 1,048,588)."""
MAX_BODY = MAX_MESSAGE - 100_000
"""Bytes of a message's value: what is left is for key and headers."""
MAX_NAME = 200
"""Bytes of the name of a site, link, agent, controller or group: names stand in headers, keys and checkpoints."""
TOPIC_VERSIONS = {"features": 2, "state": 2}
"""Versions of topics that are not the first."""
MAX_PREFIX = 249 - len(".dead-letters.v1")
"""Kafka's limit of a topic's name, less the longest of ours."""

FINAL = {10: "too large", 17: "no topic's name", 18: "too large", 32: "time", 43: "format", 44: "policy", 87: "invalid"}
"""Kafka's codes of refusals that are the message's fault: sent again it is refused again."""


class KafkaAccessError(OfframpError):
    """Kafka cannot be reached, refuses us, or fails while we use it."""


class KafkaAwayError(KafkaAccessError):
    """No broker answers: it may be back later."""


class KafkaRefusedError(KafkaAccessError):
    """A message that no broker would ever take (`is_final`): the next one may be taken."""


def topic_name(prefix: str, name: str) -> str:
    """Return the full name of a topic such as `features`."""
    return f"{prefix}.{name}.v{TOPIC_VERSIONS.get(name, 1)}"


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """Where the cluster is and who we are to it.

    servers: host:port of some brokers; prefix: first word of the topics' names; tls: encrypt, trusting `ca` (a PEM
    file; none: the system's), showing `certificate` and `key`; username and password: SASL by `mechanism`, which
    without TLS needs `sasl_without_tls`. Raises ConfigError.
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
    sasl_without_tls: bool = False

    def __post_init__(self) -> None:
        """Refuse a user without encryption, unless allowed, and a prefix that Kafka takes in no topic's name."""
        if self.username and not self.tls and not self.sasl_without_tls:
            raise ConfigError(
                "kafka configuration: username without tls: who listens on the way reads all messages, and the "
                "password or what it can be guessed from; set tls = true (where nobody can listen: "
                "sasl_without_tls = true)"
            )
        if not re.fullmatch(r"[A-Za-z0-9._-]+", self.prefix) or len(self.prefix) > MAX_PREFIX:
            raise ConfigError(
                f"kafka configuration: prefix {self.prefix[:40]!r}: topics' names hold only letters, digits, dots, "
                f"hyphens and underscores, and a prefix at most {MAX_PREFIX} of them"
            )

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
        return topic_name(self.prefix, name)

    def client_arguments(self) -> dict[str, Any]:
        """Return the connection arguments of every client of kafka-python."""
        return {**self.connection_arguments(), "reconnect_backoff_max_ms": 1_000, "bootstrap_timeout_ms": 5_000}

    def connection_arguments(self) -> dict[str, Any]:
        """Return where the brokers are and who asks, which kafka-python and aiokafka name alike."""
        arguments: dict[str, Any] = {"bootstrap_servers": list(self.servers), "security_protocol": self.protocol}
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
    "password_file": str, "sasl_without_tls": bool,
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
    values = read_toml(path, "--kafka-config")
    for key, value in values.items():
        if key not in CONFIG_KEYS:
            raise ConfigError(f"{path}: {key if key.isprintable() else ascii(key)}: {unknown_key(key, CONFIG_KEYS)}")
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


def is_final(error: BaseException) -> bool:
    """Return whether a message that was refused so will never be taken, of aiokafka's and kafka-python's errors alike.

    Of Kafka's own refusals those in FINAL; and what cannot be made a message at all. All others may pass: a broker
    comes back, a right is granted.
    """
    unserialisable = (TypeError, ValueError, AssertionError, OverflowError, struct.error)
    if isinstance(error, OSError):
        return False  # its numbers are the system's
    return isinstance(error, unserialisable) or getattr(error, "errno", None) in FINAL


def require_name(what: str, name: str) -> None:
    """Refuse a name that is empty or longer than others read it. Raises ConfigError."""
    size = len(name.encode(errors="replace"))
    if not 0 < size <= MAX_NAME:
        raise ConfigError(f"{what} {name[:40]!r}: {size} bytes; give a name of 1 to {MAX_NAME}")


class TopicState(NamedTuple):
    """A topic as the cluster has it; id: another one once the topic is deleted and made again."""

    id: str
    partitions: int


def require_topics(settings: KafkaSettings, doing: str, *names: str) -> dict[str, int]:
    """Return how many partitions each topic has. Raise KafkaAccessError where one is missing or no broker answers."""
    return {name: topic.partitions for name, topic in topic_states(settings, doing, *names).items()}


def topic_states(settings: KafkaSettings, doing: str, *names: str) -> dict[str, TopicState]:
    """Return the state of each topic by its full name. Raise KafkaAccessError as `require_topics` does."""
    from kafka import KafkaAdminClient
    from kafka.errors import UnknownTopicOrPartitionError

    with kafka_errors(settings, doing):
        admin = KafkaAdminClient(**settings.client_arguments())
        try:
            wanted = [settings.topic(name) for name in names]
            found = described(admin, wanted)
            missing = [name for name in wanted if name not in found]
            if missing:
                raise UnknownTopicOrPartitionError(missing)
        finally:
            admin.close()
    return found


def described(admin: Any, topics: Sequence[str]) -> dict[str, TopicState]:
    """Ask for topics by their full names; return those that are there. Raises KafkaError where asking is refused."""
    from kafka.errors import TopicAuthorizationFailedError, UnknownTopicOrPartitionError, for_code

    found = {}
    for topic in admin.describe_topics(list(topics)):
        error = for_code(topic["error_code"])
        if error is TopicAuthorizationFailedError:
            raise error(topic["name"])
        if error is UnknownTopicOrPartitionError or not topic["partitions"]:
            continue
        found[topic["name"]] = TopicState(_id_text(topic["topic_id"]), len(topic["partitions"]))
    return found


def _id_text(value: object) -> str:
    """Return a topic's id as text, empty where the broker gives none."""
    text = str(value or "")
    return text if text.strip("0-") else ""


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
        refused = KafkaRefusedError if is_final(error) else KafkaAccessError
        raise (KafkaAwayError if away else refused)(f"{doing}: {text}") from error
    except OSError as error:
        raise KafkaAccessError(f"{doing}: Kafka at {settings.shown}: {error}") from error
    except CLOSING as error:
        if not _of_client(error):
            raise
        raise KafkaAccessError(f"{doing}: Kafka at {settings.shown}: the client fails: {error!r}") from error


CLOSING = (RuntimeError, ValueError, AttributeError, AssertionError, KeyError, TypeError)
"""What kafka-python raises, beside its own errors, where a client is closed while another thread uses it."""


def _of_client(error: BaseException) -> bool:
    """Return whether an error was raised inside kafka-python."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and str(trace.tb_frame.f_globals.get("__name__", "")).partition(".")[0] == "kafka"


def close_client(client: Any, **how: Any) -> None:
    """Close a client of kafka-python, ignoring its errors: without a broker they would hide why the work ended."""
    with suppress(Exception):
        client.close(**how)


class _Causes(logging.Handler):
    """Collects what kafka-python only logs: why connections fail; in the end it raises a time-out."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.refused = False
        self.tls = ""
        self.nameless: set[str] = set()

    def clear(self) -> None:
        """Forget what was logged."""
        self.refused, self.tls, self.nameless = False, "", set()

    def emit(self, record: logging.LogRecord) -> None:
        """Note a refused user, the first failure of TLS, and servers whose host has no address."""
        text = record.getMessage()
        self.nameless.update(re.findall(r"^DNS lookup failed for (\S+:\d+),", text))
        found = re.search(r"\[SSL: (\w+)\]", text)
        self.refused |= "SaslAuthenticationFailed" in text
        self.tls = self.tls or (found[1].replace("_", " ").lower() if found else "")


def _listen() -> _Causes:
    """Return the one listener to the log of kafka-python, which goes nowhere else, as it has a record for each try."""
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
        named = error.args[0] if error.args and isinstance(error.args[0], list) else ["a topic"]
        return f"{at} lacks {', '.join(named)}: run `offramp topics create`", False
    if isinstance(error, (errors.MessageSizeTooLargeError, errors.RecordListTooLargeError)):
        return f"{at} takes no message that large: set max.message.bytes to {MAX_MESSAGE + 48_588} or more", False
    if isinstance(error, (errors.KafkaConnectionError, errors.KafkaTimeoutError, errors.NodeNotReadyError)):
        if causes.nameless.issuperset(settings.servers):
            return f"{at}: no address is known for that name: is it right?", True
        return f"{at} does not answer ({settings.protocol}): is it running, and is the address right?", True
    return f"{at}: {type(error).__name__}: {text}", False
