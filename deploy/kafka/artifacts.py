"""Kafka's jars: fetched once by Maven from the committed pom.xml, kept in the user's cache outside the checkout."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from offramp.errors import OfframpError
from offramp.kernel_places import cache_root

POM = Path(__file__).with_name("pom.xml")
FETCH_S = 600


class BrokerError(OfframpError):
    """The broker cannot be fetched, started or reached."""


def cache_folder() -> Path:
    """Return where the jars of this pom.xml are kept: another pom, another folder."""
    return cache_root() / "kafka" / hashlib.sha256(POM.read_bytes()).hexdigest()[:12]


def fetch_jars() -> Path:
    """Return the folder of Kafka's jars, fetching them with Maven where they are not there yet.

    Raises BrokerError where java or mvn is missing or Maven fails.
    """
    for program, package in (("java", "openjdk-17-jre-headless"), ("mvn", "maven")):
        if shutil.which(program) is None:
            raise BrokerError(f"{program} is missing, Kafka needs it: apt install {package}")
    folder = cache_folder()
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = folder.with_name(f"{folder.name}.{os.getpid()}.part")
    command = ["mvn", "-B", "-q", "-f", str(POM), "dependency:copy-dependencies", "-DincludeScope=runtime"]
    try:
        done = subprocess.run(
            [*command, f"-DoutputDirectory={part}"], capture_output=True, text=True, timeout=FETCH_S, check=False
        )
        if done.returncode:
            lines = (done.stdout + done.stderr).strip().splitlines() or ["no output"]
            raise BrokerError(f"maven could not fetch Kafka ({' '.join(command)}): {lines[0]}")
        _keep(part, folder)
    except subprocess.TimeoutExpired as error:
        raise BrokerError(f"maven did not fetch Kafka within {FETCH_S} s; is its repository reachable?") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def _keep(part: Path, folder: Path) -> None:
    """Move what was fetched to its place, in one step; another process may have been first."""
    try:
        part.rename(folder)
    except OSError as error:
        if not folder.is_dir():
            raise BrokerError(f"{folder}: cannot be written: {error.strerror}") from error
