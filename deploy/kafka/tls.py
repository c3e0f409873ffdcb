"""Certificates for a broker on loopback: an authority of two days, a server's and a client's, made by openssl."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from deploy.kafka.artifacts import BrokerError

DAYS = "2"


@dataclass(frozen=True, slots=True)
class Certificates:
    """Files in PEM: the authority's certificate, and key with certificate of server and client."""

    authority: Path
    server_key: Path
    server: Path
    client_key: Path
    client: Path

    @property
    def server_store(self) -> Path:
        """Key and chain in one file, as Kafka's PEM key store wants it."""
        return self.server.with_name("server-store.pem")


def make_certificates(folder: Path) -> Certificates:
    """Make certificates in `folder`. Raise BrokerError where openssl is missing or fails."""
    folder.mkdir(parents=True, exist_ok=True)
    made = Certificates(*(folder / name for name in ("ca.pem", "server.key", "server.pem", "client.key", "client.pem")))
    ca_key = folder / "ca.key"
    _openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", DAYS, "-subj", "/CN=offramp test authority",
             "-keyout", ca_key, "-out", made.authority)  # fmt: skip
    for key, certificate, name in (
        (made.server_key, made.server, "localhost"),
        (made.client_key, made.client, "offramp"),
    ):
        request = certificate.with_suffix(".csr")
        names = certificate.with_suffix(".ext")
        names.write_text(f"subjectAltName=DNS:{name},DNS:localhost,IP:127.0.0.1\n")
        _openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        _openssl("x509", "-req", "-days", DAYS, "-in", request, "-CA", made.authority, "-CAkey", ca_key,
                 "-CAcreateserial", "-extfile", names, "-out", certificate)  # fmt: skip
    made.server_store.write_bytes(made.server_key.read_bytes() + made.server.read_bytes())
    return made


def _openssl(*arguments: str | Path) -> None:
    try:
        subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, check=True)
    except FileNotFoundError as error:
        raise BrokerError("openssl is missing, certificates need it: apt install openssl") from error
    except subprocess.CalledProcessError as error:
        raise BrokerError(f"openssl {arguments[0]}: {error.stderr.strip().splitlines()[-1:]}") from error
