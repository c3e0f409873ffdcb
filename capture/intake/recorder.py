"""Write captured packets to files in a thread of its own, so that a slow disk does not hold up the pipeline."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

from offramp.capture.block import PacketBlock
from offramp.capture.intake.block_queue import BlockQueue
from offramp.capture.intake.pcapng_writer import PcapngFiles


class FileRecorder:
    """Writes blocks to `files` in a thread. The first error ends the writing, not the capture.

    Packets put = written + unwritten, by reason. `report` is called from the thread when writing ends early.
    """

    def __init__(self, files: PcapngFiles, report: Callable[[str], None], limit_bytes: int = 64 << 20) -> None:
        self.files = files
        self.error: OSError | None = None
        self._told = report
        self._failed = 0
        self._queue = BlockQueue(limit_bytes)
        self._thread = threading.Thread(target=self._work, name="offramp-recorder", daemon=True)
        self._thread.start()

    @property
    def unwritten(self) -> Counter[str]:
        """The packets that were not written, by reason."""
        return +Counter(write_failed=self._failed, disk_too_slow=self._queue.shed)

    def put(self, block: PacketBlock) -> None:
        """Take a block to write."""
        self._queue.put(block)

    def close(self) -> None:
        """Write what is left and close the file."""
        self._queue.end()
        self._thread.join()
        self.files.close()

    def _work(self) -> None:
        while (block := self._queue.get(8192)) is not None:
            if self.error is None:
                try:
                    self.files.write(block)
                    continue
                except Exception as error:  # whatever it is, the thread must go on to take the blocks
                    found = error if isinstance(error, OSError) else OSError(0, f"{type(error).__name__}: {error}")
                    self.error = found
                    self._told(f"--write: {found.strerror}; no more is written, the pipeline goes on")
            self._failed += len(block)
