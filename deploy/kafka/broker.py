"""One Kafka node (KRaft) on loopback: started on free ports, ready when it answers, data in a temporary folder."""

from __future__ import annotations

import atexit
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from deploy.kafka.artifacts import BrokerError, fetch_jars
from deploy.kafka.tls import Certificates, make_certificates

CLUSTER = "b2ZmcmFtcC1sb2NhbC0wMQ"
JAVA = ("-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.awt.headless=true")
READY_S = 90.0
STOP_S = 30.0


@dataclass(frozen=True, slots=True)
class User:
    """A SCRAM-SHA-512 user of the broker."""

    name: str
    password: str


class Broker:
    """A Kafka node; `start`, `restart`, `stop` and `kill` keep ports and data, `close` removes the data.

    secure: adds an SSL listener (client certificate asked for) and a SASL_SSL one (SCRAM-SHA-512, `user`, `more`).
    guarded: users of the SASL_SSL listener may do only what ACLs allow them; who comes without TLS may do all.
    """

    def __init__(
        self, *, secure: bool = False, user: User | None = None, more: tuple[User, ...] = (), guarded: bool = False
    ) -> None:
        self.user = user or User("offramp", "a test's secret")
        self.users, self.guarded = (self.user, *more), guarded
        self.secure = secure
        self.folder = Path(tempfile.mkdtemp(prefix="offramp-kafka-"))
        self.log = self.folder / "broker.log"
        self.certificates: Certificates | None = None
        names = ["PLAINTEXT", "CONTROLLER", *(("SSL", "SASL_SSL") if secure else ())]
        self._ports = dict(zip(names, free_ports(len(names)), strict=True))
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.close)
        self._jars: Path | None = None

    @property
    def address(self) -> str:
        """The host:port of the listener without encryption."""
        return f"127.0.0.1:{self._ports['PLAINTEXT']}"

    @property
    def pid(self) -> int:
        """The number of its process; 0 where it does not run."""
        return self._process.pid if self._process else 0

    @property
    def ssl_address(self) -> str:
        """The host:port of the TLS listener."""
        return f"localhost:{self._ports['SSL']}"

    @property
    def sasl_address(self) -> str:
        """The host:port of the TLS listener that asks for a SCRAM user."""
        return f"localhost:{self._ports['SASL_SSL']}"

    def start(self) -> Broker:
        """Start the broker and wait until it answers. Raise BrokerError, with the log's last line, if not."""
        if self._jars is None:
            self._jars = fetch_jars()
            self._format()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._java("kafka.Kafka", str(self._properties)), stdout=log, stderr=log,
                stdin=subprocess.DEVNULL, cwd=self.folder,
            )  # fmt: skip
        self._wait_ready(time.monotonic() + READY_S)
        return self

    def stop(self) -> None:
        """Shut the broker down in order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the broker at once, as a crash would."""
        self._end(signal.SIGKILL)

    def restart(self, *, crash: bool = False) -> None:
        """Stop (or kill) the broker and start it again with the same ports and data."""
        if crash:
            self.kill()
        else:
            self.stop()
        self.start()

    def close(self) -> None:
        """Kill the broker and remove its data."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
        atexit.unregister(self.close)

    def wait(self) -> int:
        """Wait until the broker ends by itself; return its exit status."""
        return self._process.wait() if self._process else 0

    def __enter__(self) -> Broker:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _properties(self) -> Path:
        return self.folder / "server.properties"

    def _java(self, main: str, *arguments: str) -> list[str]:
        log = ("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.showDateTime=true")
        return ["java", *JAVA, *log, "-cp", f"{self._jars}/*", main, *arguments]

    def _format(self) -> None:
        """Write the configuration and the empty log directory, with the SCRAM user in it."""
        if self.secure:
            self.certificates = make_certificates(self.folder / "tls")
        self._properties.write_text("".join(f"{key}={value}\n" for key, value in self._settings().items()))
        command = self._java("kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c", str(self._properties))
        for user in self.users if self.secure else ():
            command += ["--add-scram", f"SCRAM-SHA-512=[name={user.name},password={user.password}]"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=READY_S)
        if done.returncode:
            raise BrokerError(f"kafka could not format its data folder: {_last_line(done.stdout + done.stderr)}")

    def _settings(self) -> dict[str, str]:
        """Return server.properties: one node that is broker and controller, everything kept once."""
        listeners = ",".join(f"{name}://127.0.0.1:{port}" for name, port in self._ports.items())
        advertised = ",".join(
            f"{name}://{'127.0.0.1' if name == 'PLAINTEXT' else 'localhost'}:{port}"
            for name, port in self._ports.items()
            if name != "CONTROLLER"
        )
        settings = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{self._ports['CONTROLLER']}",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "listeners": listeners,
            "advertised.listeners": advertised,
            "listener.security.protocol.map": ",".join(
                f"{name}:{'PLAINTEXT' if name == 'CONTROLLER' else name}" for name in self._ports
            ),
            "log.dirs": str(self.folder / "data"),
            "offsets.topic.num.partitions": "4",
            "offsets.topic.replication.factor": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.num.partitions": "4",
            "transaction.state.log.min.isr": "1",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "default.replication.factor": "1",
            "min.insync.replicas": "1",
            "group.initial.rebalance.delay.ms": "0",
            "group.min.session.timeout.ms": "1000",
            "auto.create.topics.enable": "false",
            "controlled.shutdown.enable": "false",
            "broker.session.timeout.ms": "1000",  # a restart waits for the session before it
            "broker.heartbeat.interval.ms": "200",
        }
        if self.guarded:
            authorizer = "org.apache.kafka.metadata.authorizer.StandardAuthorizer"
            settings |= {"authorizer.class.name": authorizer, "super.users": "User:ANONYMOUS"}
        return settings | (self._security() if self.certificates else {})

    def _security(self) -> dict[str, str]:
        made = self.certificates
        assert made is not None  # noqa: S101 - only called where there are certificates
        return {
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(made.server_store),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(made.authority),
            "listener.name.ssl.ssl.client.auth": "required",
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": (
                "org.apache.kafka.common.security.scram.ScramLoginModule required;"
            ),
        }

    def _wait_ready(self, deadline: float) -> None:
        """Wait until the broker answers a request for its topics."""
        while time.monotonic() < deadline:
            if self._process is not None and self._process.poll() is not None:
                break
            if _answers(self.address):
                return
            time.sleep(0.1)
        state = "ended" if self._process and self._process.poll() is not None else f"did not answer in {READY_S:g} s"
        line = _last_line(self.log.read_text(errors="replace"))
        self.kill()
        raise BrokerError(f"kafka {state}; its log says: {line}")

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.send_signal(how)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_ports(count: int) -> list[int]:
    """Return `count` different TCP ports of loopback that nobody listens on now.

    They lie below the range from which clients get theirs: a client that tries a closed port of that range again and
    again may be given the very same port, meet itself, and so keep the broker from coming back.
    """
    ports: list[int] = []
    candidates = random.SystemRandom().sample(range(15_000, 32_000), 500)
    for port in candidates:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        ports.append(port)
        if len(ports) == count:
            return ports
    raise BrokerError("no free ports between 15000 and 32000 on loopback")


def _answers(address: str) -> bool:
    """Return whether a Kafka broker at `address` answers a metadata request."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    from kafka import KafkaAdminClient
    from kafka.errors import KafkaError

    try:
        client = KafkaAdminClient(bootstrap_servers=address, bootstrap_timeout_ms=5_000, request_timeout_ms=5_000)
    except (KafkaError, OSError):
        return False
    try:
        client.list_topics()
    except (KafkaError, OSError):
        return False
    finally:
        client.close()
    return True


def _last_line(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if not line.startswith("\tat ")]
    return lines[-1] if lines else "nothing"
