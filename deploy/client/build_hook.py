"""Builds `offramp_client` of the files of `offramp.decision.client` and of all that it imports, whichever they are.

The files stay where they are. Two distributions may not own one folder, so the second carries them under a name of its
own, flat: `offramp.decision.client` becomes `offramp_client.client`, `offramp.kafka` becomes `offramp_client.kafka`.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).resolve().parents[2]
NAME = "offramp_client"
BEGIN = "decision/client.py"
BESIDE = ("decision/command.schema.json", "offramp/py.typed", "LICENSE")
IMPORT = re.compile(r"^(\s*from )offramp(?:\.decision)?\.(\w+)( import )", re.MULTILINE)
INIT = '''"""The commands of offramp for a controller: each once, valid and in time; and how to acknowledge them.

    from offramp_client import DecisionClient

    with DecisionClient("127.0.0.1:9092", controller="mine") as client:
        for command in client:
            ...  # carry it out where command["mode"] is "enforce"
            client.ack(command, "applied")
"""

from offramp_client.acceptance import Acceptance
from offramp_client.client import DecisionClient
from offramp_client.command import validate
from offramp_client.errors import ConfigError, ContractError, OfframpError
from offramp_client.kafka import KafkaAccessError, KafkaSettings, kafka_settings

__all__ = [
    "Acceptance", "ConfigError", "ContractError", "DecisionClient", "KafkaAccessError", "KafkaSettings", "OfframpError",
    "kafka_settings", "validate",
]
'''


class ClientHook(BuildHookInterface):  # type: ignore[type-arg]
    """Hands the renamed files to hatchling."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write them to a folder of their own; an editable install has a copy, too."""
        self._folder = Path(tempfile.mkdtemp())
        write_client(self._folder)
        build_data["force_include"][str(self._folder)] = NAME

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the folder."""
        shutil.rmtree(self._folder)


def write_client(folder: Path) -> None:
    """Write the files of the package. Raises ValueError where two would have one name, or one is not renamed whole."""
    sys.path.insert(0, str(ROOT))
    try:
        from offramp.sources import sources_of
    finally:
        sys.path.remove(str(ROOT))
    sources = [path for path in sources_of(ROOT / BEGIN) if path.name != "__init__.py"]
    names = [path.name for path in sources]
    if len(set(names)) < len(names):
        raise ValueError(f"two files of one name: {sorted(names)}")
    for source in sources:
        text = IMPORT.sub(rf"\1{NAME}.\2\3", source.read_text(encoding="utf-8"))
        if re.search(r"^\s*(from|import) offramp\b", text, re.MULTILINE):
            raise ValueError(f"{source}: an import that is not renamed")
        (folder / source.name).write_text(text, encoding="utf-8")
    for name in BESIDE:
        shutil.copy(ROOT / name, folder)
    (folder / "__init__.py").write_text(INIT, encoding="utf-8")
