"""Messages of `offramp.models.v1`: a whole artifact each, as an uncompressed zip of its three files; never pickle.

The key is site/link, so that compaction keeps the newest of each link. What a message claims is checked before room is
made for it: its own bytes bound the files, and these bound their arrays (inference.artifact).
"""

from __future__ import annotations

import io
import re
import uuid
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from offramp.decision.command import Headers, event_headers, rfc3339
from offramp.errors import ArtifactError, ContractError
from offramp.inference.artifact import FILES, Artifact, parse_artifact
from offramp.kafka import MAX_MESSAGE, MAX_NAME
from offramp.stream.channels import BIN_NS

NAMES = ("manifest.json", *FILES)
REASONS = ("swapped", "rolled_back", "federated")
MAX_FILES = MAX_MESSAGE - 20_000
NAMESPACE = uuid.UUID("3f0c9f0e-7a53-5d1c-8a2e-5f6f0c1d7b11")
_SHA, _NUMBER = re.compile(r"[0-9a-f]{64}"), re.compile(r"\d{1,18}")


@dataclass(frozen=True, slots=True)
class ModelMessage:
    """A model of a link.

    base: sha of the model that service there began with; reason: why it is there; serves_from: the bin that it is
    meant from; files: the artifact's, as they came.
    """

    site: str
    link: str
    artifact: Artifact
    base: str
    reason: str
    serves_from: int
    files: Mapping[str, bytes]

    @property
    def rows(self) -> int:
        """Rows that it was refined on; 0 where it was not."""
        refined = self.artifact.manifest.get("refined")
        rows = refined.get("rows", 0) if isinstance(refined, Mapping) else 0
        return rows if isinstance(rows, int) else 0


def pack(folder: Path) -> bytes:
    """Return an artifact's folder as the value of a message; the same files give the same bytes.

    Raises ArtifactError where a file cannot be read or all are larger than a broker takes.
    """
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as packed:
        for name in NAMES:
            try:
                packed.writestr(zipfile.ZipInfo(name), (folder / name).read_bytes())
            except OSError as error:
                raise ArtifactError(f"{folder}/{name}: cannot be read ({error.strerror})") from error
    if len(out.getvalue()) > MAX_FILES:
        raise ArtifactError(
            f"{folder}: takes {len(out.getvalue()):,} bytes, a message at most {MAX_FILES:,}; train a smaller preset"
        )
    return out.getvalue()


def encode_model(
    site: str, link: str, folder: Path, sha: str, base: str, reason: str, serves_from: int
) -> tuple[bytes, bytes, Headers]:
    """Return key, value and headers (CloudEvents, binary mode) of a model's message."""
    text = f"{site} {link} {sha} {reason} {serves_from}"
    attributes = {
        "id": str(uuid.uuid5(NAMESPACE, text)), "type": "offramp.model.v1",
        "source": f"/offramp/{site}", "subject": f"link:{link}", "time": rfc3339(serves_from * BIN_NS),
        "model": sha, "base": base, "reason": reason, "servesfrom": str(serves_from),
    }  # fmt: skip
    return f"{site}/{link}".encode(), pack(folder), event_headers(attributes, "application/zip")


def decode_model(key: bytes | None, headers: Iterable[tuple[str, bytes]], value: bytes | None) -> ModelMessage:
    """Return a checked message. Raises ContractError saying what of it is wrong."""
    texts = {name: text.decode(errors="replace") for name, text in headers if isinstance(text, bytes)}
    site, slash, link = (key or b"").decode(errors="replace").partition("/")
    if not (site and slash and link) or len(key or b"") > 2 * MAX_NAME + 1:
        raise ContractError("the key is no site/link")
    sha, base, reason = (texts.get(f"ce_{name}", "") for name in ("model", "base", "reason"))
    begin = texts.get("ce_servesfrom", "")
    if not (_SHA.fullmatch(sha) and _SHA.fullmatch(base) and reason in REASONS and _NUMBER.fullmatch(begin)):
        raise ContractError("headers ce_model, ce_base, ce_reason or ce_servesfrom are missing or wrong")
    files = unpack(value or b"")
    try:
        artifact = parse_artifact(f"model {sha[:16]} of {site}/{link}", files.__getitem__)
    except ArtifactError as error:
        raise ContractError(str(error)) from error
    if artifact.sha != sha:
        raise ContractError(f"is the model {artifact.sha[:16]}, the header says {sha[:16]}")
    return ModelMessage(site, link, artifact, base, reason, int(begin), files)


def unpack(value: bytes) -> dict[str, bytes]:
    """Return the three files of a message's value. Raises ContractError."""
    if len(value) > MAX_MESSAGE:
        raise ContractError(f"a model of {len(value):,} bytes, at most {MAX_MESSAGE:,} are read")
    try:
        with zipfile.ZipFile(io.BytesIO(value)) as packed:
            members = packed.infolist()
            if sorted(each.filename for each in members) != sorted(NAMES):
                raise ContractError(f"is no zip of {', '.join(NAMES)}")
            if any(each.compress_type != zipfile.ZIP_STORED for each in members):
                raise ContractError("the zip is compressed")
            return {each.filename: packed.read(each) for each in members}
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, RuntimeError, OSError) as error:
        raise ContractError(f"is no zip: {error}") from error
