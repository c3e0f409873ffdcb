from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from offramp.capture.publish.publisher import Publisher
from offramp.decision.client import DecisionClient
from offramp.errors import ConfigError
from offramp.kafka import (
    KafkaAccessError,
    KafkaSettings,
    close_client,
    kafka_errors,
    kafka_settings,
    require_name,
    require_topics,
)
from offramp.stream.topics.table import TOPICS


def test_servers_come_from_the_option_or_the_environment() -> None:
    assert kafka_settings("a:1, b:2", environment={}).servers == ("a:1", "b:2")
    assert kafka_settings(environment={"OFFRAMP_KAFKA": "c:3"}).servers == ("c:3",)
    assert kafka_settings("a:1", environment={"OFFRAMP_KAFKA": "c:3"}).servers == ("a:1",)
    assert kafka_settings("[::1]:9092", environment={}).servers == ("[::1]:9092",)


@pytest.mark.parametrize("address", ["", "host", "host:", ":1", "host:0", "host:99999", "host:port"])
def test_wrong_addresses_are_refused(address: str) -> None:
    with pytest.raises(ConfigError):
        kafka_settings(address, environment={})


def test_a_configuration_file_gives_tls_and_sasl_and_no_secret_is_shown(tmp_path: Path) -> None:
    secret, config = tmp_path / "secret", tmp_path / "kafka.toml"
    secret.write_text("hush\n")
    config.write_text(f'prefix = "lab"\ntls = true\nca = "ca.pem"\nusername = "u"\npassword_file = "{secret}"\n')
    settings = kafka_settings("a:1", config, {})
    assert settings.protocol == "SASL_SSL"
    assert settings.password == "hush"
    assert settings.topic("features") == "lab.features.v2"
    assert "hush" not in repr(settings) + str(settings)
    assert kafka_settings("a:1", config, {"OFFRAMP_KAFKA_PASSWORD": "other"}).password == "other"
    with pytest.raises(ConfigError, match=r"ca: there is no file ca\.pem"):
        settings.client_arguments()


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("surprise = 1", "surprise"),
        ("tls = 'yes'", "tls: expected bool, found str"),
        ("mechanism = 'GSSAPI'", "mechanism"),
        ("username = 'u'", "password"),
        ("password_file = '/nowhere/at/all'", "/nowhere/at/all"),
        ("= 3", "no TOML"),
    ],
)
def test_wrong_configuration_is_named(tmp_path: Path, text: str, word: str) -> None:
    config = tmp_path / "kafka.toml"
    config.write_text(text)
    with pytest.raises(ConfigError, match=word):
        kafka_settings("a:1", config, {})
    with pytest.raises(ConfigError, match="--kafka-config"):
        kafka_settings("a:1", tmp_path / "missing", {})


def test_a_user_without_tls_is_refused_unless_that_is_asked_for(tmp_path: Path) -> None:
    config, known = tmp_path / "kafka.toml", {"OFFRAMP_KAFKA_PASSWORD": "x"}
    for text in ("", "tls = false\n", 'mechanism = "PLAIN"\n'):
        config.write_text(f'username = "u"\n{text}')
        with pytest.raises(ConfigError, match="sasl_without_tls = true") as told:
            kafka_settings("a:1", config, known)
        assert "\n" not in str(told.value)
        config.write_text(f'username = "u"\n{text}sasl_without_tls = true\n')
        assert kafka_settings("a:1", config, known).protocol == "SASL_PLAINTEXT"
    with pytest.raises(ConfigError, match="tls = true"):
        KafkaSettings(("a:1",), username="u", password="x")


def test_a_password_without_a_user_is_not_used() -> None:
    settings = kafka_settings("a:1", environment={"OFFRAMP_KAFKA_PASSWORD": "x"})
    assert settings == KafkaSettings(("a:1",))
    assert settings.protocol == "PLAINTEXT"


@pytest.mark.parametrize("prefix", ["", "a/b", "a b", "\u00e4", "p" * 234, "x\n", "*"])
def test_a_prefix_that_makes_no_topics_name_is_refused(prefix: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="prefix"):
        KafkaSettings(("a:1",), prefix=prefix)
    config = tmp_path / "kafka.toml"
    config.write_text(f"prefix = {json.dumps(prefix)}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="prefix"):
        kafka_settings("a:1", config, {})


def test_the_longest_prefix_gives_topics_that_kafka_takes(tmp_path: Path) -> None:
    config = tmp_path / "kafka.toml"
    config.write_text(f'prefix = "{"p" * 233}"\n')
    settings = kafka_settings("a:1", config, {})
    assert max(len(settings.topic(topic.name)) for topic in TOPICS) == 249


@pytest.mark.parametrize("name", ["", "n" * 201, "\u00e4" * 101])
def test_a_name_that_no_reader_takes_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="give a name of 1 to 200"):
        require_name("agent", name)
    for site, agent in ((name, "a"), ("s", name)):
        with pytest.raises(ConfigError):
            Publisher(KafkaSettings(("a:1",)), site=site, agent=agent, epoch=1)
    with pytest.raises(ConfigError):
        DecisionClient("a:1", controller=name)


def raised_in(module: str, error: Exception) -> None:
    """Raise an error in a function of a module of that name."""
    exec("def work(error):\n    raise error", space := dict[str, Any](__name__=module))  # noqa: S102 - two lines of ours
    space["work"](error)


@pytest.mark.parametrize("kind", [RuntimeError, ValueError, AttributeError])
def test_what_the_client_raises_of_a_closed_connection_is_one_line(kind: type[Exception]) -> None:
    """Where another thread closes it; the same error of our own code is a fault, and stays what it is."""
    settings = KafkaSettings(("a:1",))
    with (
        pytest.raises(KafkaAccessError, match=r"publish: Kafka at a:1: the client fails: "),
        kafka_errors(settings, "publish"),
    ):
        raised_in("kafka.net.selector", kind("NetworkSelector closed!"))
    with pytest.raises(kind), kafka_errors(settings, "publish"):
        raised_in("offramp.capture.publish.publisher", kind("NetworkSelector closed!"))


def test_closing_a_client_hides_no_other_error() -> None:
    class Client:
        def close(self, timeout: float) -> None:
            raise RuntimeError("NetworkSelector closed!")

    def work() -> None:
        try:
            raise ConfigError("why the work has ended")
        finally:
            close_client(Client(), timeout=0)

    with pytest.raises(ConfigError, match="why"):
        work()


@pytest.mark.parametrize(
    ("servers", "said"),
    [
        (("nosuch.invalid:9092",), r"nosuch\.invalid:9092: no address is known for that name"),
        (("nosuch.invalid:9092", "nor.invalid:9"), "no address is known for that name"),
        (("nosuch.invalid:9092", "127.0.0.1:9"), "does not answer"),
        (("127.0.0.1:9",), "does not answer"),
    ],
)
def test_a_host_that_nobody_knows_is_told_from_one_that_does_not_answer(servers: tuple[str, ...], said: str) -> None:
    with pytest.raises(KafkaAccessError, match=said):
        require_topics(KafkaSettings(servers), "test", "features")
