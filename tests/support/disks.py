"""A disk that refuses: the operating system's own limit of a file's size, which root has too."""

from __future__ import annotations

import resource

BEFORE = resource.getrlimit(resource.RLIMIT_FSIZE)


class SmallFiles:
    """Lets no file of this process grow beyond some bytes; what is larger is refused with EFBIG."""

    def allow(self, size: int | None) -> None:
        """Set the limit; None: as it was when the tests began."""
        soft, hard = BEFORE
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft if size is None else size, hard))
