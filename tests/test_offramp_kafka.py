from __future__ import annotations

from pathlib import Path

import pytest

from offramp_errors import ConfigError
from offramp_kafka import KafkaSettings, close_client, kafka_settings


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
    assert settings.topic("features") == "lab.features.v1"
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


def test_a_password_without_a_user_is_not_used() -> None:
    settings = kafka_settings("a:1", environment={"OFFRAMP_KAFKA_PASSWORD": "x"})
    assert settings == KafkaSettings(("a:1",))
    assert settings.protocol == "PLAINTEXT"


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
