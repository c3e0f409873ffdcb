"""Models as messages: what is packed comes back to the byte; what lies, or is made to harm, is refused."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from offramp.errors import ArtifactError, ContractError
from offramp.inference.artifact import DEFAULT_ARTIFACT, Artifact, load_artifact, require_like, save_artifact
from offramp.kafka import MAX_MESSAGE
from offramp.stream.topics.model_message import NAMES, decode_model, encode_model, unpack


@pytest.fixture(scope="module")
def base() -> Artifact:
    return load_artifact(DEFAULT_ARTIFACT)


def sent(folder: Path, sha: str, base: str) -> tuple[bytes, bytes, list[tuple[str, bytes]]]:
    return encode_model("lab", "up/link", folder, sha, base, "swapped", 123)


def test_a_model_comes_back_as_it_was(base: Artifact) -> None:
    key, value, headers = sent(DEFAULT_ARTIFACT, base.sha, base.sha)
    model = decode_model(key, headers, value)
    assert (model.site, model.link, model.artifact.sha, model.serves_from) == ("lab", "up/link", base.sha, 123)
    assert model.files == {name: (DEFAULT_ARTIFACT / name).read_bytes() for name in NAMES}
    assert sent(DEFAULT_ARTIFACT, base.sha, base.sha)[1] == value
    assert len(value) < MAX_MESSAGE


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return out.getvalue()


def npy(header: str, content: bytes) -> bytes:
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + content


HUGE = npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776,), }", b"1234")
PICKLED = npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", b"cos\nsystem\n")


@pytest.mark.parametrize("arrays", [HUGE, PICKLED, b"", b"nothing"])
def test_arrays_that_lie_are_refused_before_room_is_made(arrays: bytes, base: Artifact) -> None:
    files = dict(unpack(sent(DEFAULT_ARTIFACT, base.sha, base.sha)[1]))
    files["weights.npz"] = zipped({"dense1_w.npy": arrays})
    manifest = json.loads(files["manifest.json"])
    manifest["sha256"]["weights.npz"] = sha256(files["weights.npz"]).hexdigest()
    files["manifest.json"] = json.dumps(manifest).encode()
    key, _, headers = sent(DEFAULT_ARTIFACT, sha256(files["manifest.json"]).hexdigest(), base.sha)
    with pytest.raises(ContractError, match=r"weights\.npz"):
        decode_model(key, headers, zipped(files))


def test_bombs_and_strangers_are_refused(base: Artifact) -> None:
    key, value, headers = sent(DEFAULT_ARTIFACT, base.sha, base.sha)
    files = dict(unpack(value))
    bomb = zipped({"a.npy": bytes(300 << 20)}, zipfile.ZIP_DEFLATED)
    assert len(bomb) < MAX_MESSAGE
    manifest = json.loads(files["manifest.json"])
    manifest["sha256"]["weights.npz"] = sha256(bomb).hexdigest()
    packed = zipped({**files, "weights.npz": bomb, "manifest.json": json.dumps(manifest).encode()})
    more = zipped({**files, "more": b""})
    wrongs = (packed, b"", None, b"garbage", value[:-100], zipped(files, zipfile.ZIP_DEFLATED), more)
    for wrong in (*wrongs, bytes(MAX_MESSAGE + 1)):
        with pytest.raises(ContractError):
            decode_model(key, headers, wrong)
    for name in ("ce_model", "ce_base", "ce_reason", "ce_servesfrom"):
        with pytest.raises(ContractError, match="ce_model"):
            decode_model(key, [(each, b"x" if each == name else text) for each, text in headers], value)
    for bad in (None, b"", b"lab", b"/uplink"):
        with pytest.raises(ContractError, match="key"):
            decode_model(bad, headers, value)
    with pytest.raises(ContractError, match="the header says"):
        decode_model(key, [(name, b"0" * 64 if name == "ce_model" else text) for name, text in headers], value)


def test_a_flipped_byte_anywhere_in_a_model_is_noticed(base: Artifact) -> None:
    key, value, headers = sent(DEFAULT_ARTIFACT, base.sha, base.sha)
    rng = np.random.default_rng(1)
    for place in rng.integers(0, len(value), 40).tolist():
        changed = value[:place] + bytes([value[place] ^ 0x10]) + value[place + 1 :]
        try:
            found = decode_model(key, headers, changed)
        except ContractError:
            continue
        assert found.artifact.sha == base.sha  # the byte was in a part of the zip that says nothing of the files
        assert found.files == decode_model(key, headers, value).files


def test_only_a_model_of_the_same_make_may_stand_in(base: Artifact, tmp_path: Path) -> None:
    require_like(base, base, "x")
    meta = {key: value for key, value in base.manifest.items() if key not in ("format", "sha256")}
    small = {**base.weights, "dense2_w": base.weights["dense2_w"][:2]}
    with pytest.raises(ArtifactError, match="dense2_w"):
        require_like(base, save_artifact(tmp_path / "a", small, base.normaliser, meta), "x")
    none = {**base.weights, "dense2_b": np.full(64, np.nan, np.float32)}
    with pytest.raises(ArtifactError, match="dense2_b"):
        require_like(base, replace(base, weights=none), "x")
    with pytest.raises(ArtifactError, match="horizon_ms"):
        require_like(base, replace(base, manifest={**base.manifest, "horizon_ms": 100}), "x")
    with pytest.raises(ArtifactError, match="scale"):
        require_like(base, replace(base, normaliser={**base.normaliser, "total": base.normaliser["total"] + 1}), "x")
