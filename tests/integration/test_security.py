"""TLS and SASL/SCRAM against the real broker: what is right works, what is wrong is one line and tells no secret."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bench.service import site_file
from deploy.kafka.broker import Broker
from deploy.kafka.tls import make_certificates
from tests.integration.agents import SECRET, config_of, messages_of
from tests.support.places import ROOT, SITE
from tests.support.workers import DEMO


def offramp(address: str, config: Path, *arguments: str, password: str | None = SECRET) -> tuple[int, str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("OFFRAMP_")}
    if password is not None:
        environment["OFFRAMP_KAFKA_PASSWORD"] = password
    command = [sys.executable, "-m", "offramp", *arguments, "--kafka", address, "--kafka-config", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment, timeout=120)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def settings(broker: Broker, tmp_path: Path) -> dict[str, dict[str, object]]:
    made = broker.certificates
    assert made is not None
    base = {"prefix": f"s{tmp_path.name}", "tls": True, "ca": made.authority}
    return {
        "plain": base,
        "ssl": base | {"certificate": made.client, "key": made.client_key},
        "sasl": base | {"username": broker.user.name, "mechanism": "SCRAM-SHA-512"},
    }


def test_agent_and_reader_work_over_tls_with_a_certificate(
    broker: Broker, settings: dict[str, dict[str, object]], tmp_path: Path
) -> None:
    address, config = broker.ssl_address, config_of(tmp_path / "kafka.toml", **settings["ssl"])
    for arguments in (
        ["topics", "create", "--partitions", "1"],
        ["publish", DEMO, "--site", str(SITE)],
        ["follow", "--topic", "features", "--from", "beginning", "--no-wait"],
    ):
        code, told = offramp(address, config, *arguments)
        assert code == 0, told
        assert SECRET not in told
        if arguments[0] == "publish":
            sent = messages_of(told)
    assert told.count("rows=") == sent > 6


def test_a_worker_decides_over_scram(broker: Broker, settings: dict[str, dict[str, object]], tmp_path: Path) -> None:
    from offramp.kafka import kafka_settings
    from tests.support.workers import Decisions, expected

    config = config_of(tmp_path / "kafka.toml", **settings["sasl"])
    site, path = site_file(1, tmp_path)
    for arguments in (["topics", "create", "--partitions", "1"], ["publish", DEMO, "--site", str(path)]):
        assert offramp(broker.sasl_address, config, *arguments)[0] == 0
    command = [sys.executable, "-m", "offramp", "worker", "--site", str(path), "--kafka", broker.sasl_address,
               "--kafka-config", str(config)]  # fmt: skip
    log = tmp_path / "worker.log"
    with log.open("wb") as out:
        worker = subprocess.Popen(
            command, cwd=ROOT, stdout=out, stderr=out, env={**os.environ, "OFFRAMP_KAFKA_PASSWORD": SECRET}
        )
    decisions = Decisions(kafka_settings(broker.sasl_address, config, {"OFFRAMP_KAFKA_PASSWORD": SECRET}))
    try:
        decisions.wait_for(expected(site))
    finally:
        worker.terminate()
        worker.wait(60)
        decisions.close()
    assert SECRET not in log.read_text()


def answered(address: str, config: Path, password: str | None) -> tuple[int, str]:
    """What the broker says; a client on a busy machine gives it up before."""
    for _ in range(5):
        code, told = offramp(address, config, "topics", "create", password=password)
        if "does not answer" not in told:
            break
    return code, told


def test_what_is_wrong_is_one_line(broker: Broker, settings: dict[str, dict[str, object]], tmp_path: Path) -> None:
    other = make_certificates(tmp_path / "other")
    sasl, ssl = settings["sasl"], settings["ssl"]
    wrong = {
        "password": (broker.sasl_address, sasl, "not it", "refuses user offramp"),
        "user": (broker.sasl_address, sasl | {"username": "nobody"}, SECRET, "refuses user nobody"),
        "authority": (broker.ssl_address, ssl | {"ca": other.authority}, None, "TLS fails"),
        "certificate": (
            broker.ssl_address, ssl | {"certificate": other.client, "key": other.client_key}, None, "TLS fails",
        ),
        "no certificate": (broker.ssl_address, settings["plain"], None, "TLS fails"),
        "no certificate file": (broker.ssl_address, ssl | {"ca": "/no/such.pem"}, None, "no file /no/such.pem"),
    }  # fmt: skip
    with ThreadPoolExecutor(2) as pool:  # more at once wait for processors until the client gives up
        runs = {}
        for name, (address, values, password, _) in wrong.items():
            config = config_of(tmp_path / f"{name}.toml", **values)
            runs[name] = pool.submit(answered, address, config, password)
    for name, (_, _, _, word) in wrong.items():
        code, told = runs[name].result()
        assert code in (1, 2), (name, told)
        assert word in told, name
        assert told.count("\n") == 1, (name, told)
        assert "not it" not in told
        assert SECRET not in told
