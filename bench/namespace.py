"""A network namespace with a veth pair, for as long as a test or a bench needs it.

A namespace belongs to a thread: everything that must happen in it is handed to the thread that made it. Sockets opened
there stay there whoever uses them, and so do programs started there.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")

NEW_NETWORK = 0x40000000  # CLONE_NEWNET
ENVIRONMENT = os.environ | {"PATH": os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin"}
PAIR = """
set -e
sysctl -qw net.ipv6.conf.default.disable_ipv6=1 net.ipv6.conf.all.disable_ipv6=1 2>/dev/null || true
ip link set lo up
ip link add v0 type veth peer name v1
ip link set v0 gso_max_size 1600
ip link set v0 up; ip link set v1 up
"""


class NotAllowedError(Exception):
    """This machine does not let us make network namespaces; the message says why."""


class Namespace:
    """A network namespace with lo and the pair v0, v1: what is sent on one arrives on the other, and nothing else.

    Raises NotAllowedError where it cannot be made.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "offramp-namespace")
        try:
            self.call(_enter)
        except (OSError, subprocess.CalledProcessError) as error:
            self._thread.shutdown()
            reason = error.stderr.strip() if isinstance(error, subprocess.CalledProcessError) else str(error)
            raise NotAllowedError(f"network namespaces are not allowed here: {reason}") from error

    def call(self, function: Callable[..., T], *arguments: Any, **named: Any) -> T:
        """Run a function in the namespace and return its result."""
        return self._thread.submit(function, *arguments, **named).result()

    def start(self, command: list[str], **options: Any) -> subprocess.Popen[str]:
        """Start a program in the namespace; standard output and error are pipes of text."""
        pipe = subprocess.PIPE
        return self.call(subprocess.Popen, command, stdout=pipe, stderr=pipe, text=True, env=ENVIRONMENT, **options)

    def run(self, script: str) -> str:
        """Run a shell script in the namespace and return what it prints."""
        return self.call(_shell, script)

    def dropped_before_tap(self, interface: str) -> int:
        """Return how many packets were lost on the veth pair itself, before any tap on `interface` could see them."""
        counters = json.loads(self.run(f"ip -s -j link show {interface}"))[0]["stats64"]["rx"]
        return int(counters["dropped"])

    def close(self) -> None:
        """Leave the namespace; it ends with its last socket and program."""
        self._thread.shutdown()


def _enter() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(NEW_NETWORK) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    _shell(PAIR)


def _shell(script: str) -> str:
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True, env=ENVIRONMENT)
    return done.stdout
