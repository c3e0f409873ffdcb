"""The command line: the table of commands, and how an error, an interrupt or a full disk ends any of them."""

from __future__ import annotations

import errno
import os
import resource
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Any, NoReturn

import typer

from offramp.cli import topics
from offramp.cli.arena import arena
from offramp.cli.doctor import doctor
from offramp.cli.door import add
from offramp.cli.edge_iiotset import edge_iiotset
from offramp.cli.features import features
from offramp.cli.follow import follow
from offramp.cli.kernels import kernels
from offramp.cli.learning import dataset
from offramp.cli.learning.evaluate import evaluate
from offramp.cli.learning.federate import federate
from offramp.cli.learning.train import train
from offramp.cli.learning.tune import tune
from offramp.cli.publish import publish
from offramp.cli.refine import refine
from offramp.cli.replay import replay
from offramp.cli.tap import tap
from offramp.cli.tell.explain import explain
from offramp.cli.worker import worker
from offramp.errors import OfframpError, ReaderGoneError
from offramp.extras import missing_extra
from offramp.streams import forget_output, standard_streams

app = typer.Typer(
    name="offramp",
    help="Watch a link, foresee its congestion, and tell the network what to move before users feel it.\n\n"
    "Start with: offramp replay CAPTURE.pcap",
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage or input. Data goes to stdout, everything else to stderr.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

MIN_ADDRESS_SPACE = 1_000 << 20
"""Bytes. With 600 to 900 MiB the numeric libraries crash, or wait for ever; with more Python reports what it lacks."""
FRUGAL = ("-h", "--help", "--version", "follow", "topics")
"""What does with less."""
NO_MEMORY = "not enough memory: give it more (ulimit -v, the service's MemoryMax), or less to do at once"


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"offramp {version('offramp')}")
        raise typer.Exit


@app.callback()
def door(
    _: Annotated[
        bool, typer.Option("--version", help="show the version and exit", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Take what concerns no command."""


def group(name: str, about: str, *commands: Callable[[Any], None]) -> None:
    """Add a group of commands."""
    found = typer.Typer(no_args_is_help=True, help=about)
    add(found, *commands)
    app.add_typer(found, name=name)


add(app, replay, tap, features, edge_iiotset, train, tune)
group("dataset", "Labelled data sets to train and evaluate on.", dataset.build, dataset.show)
add(app, evaluate, federate)
group("topics", "The topics on Kafka.", topics.create, topics.list_, topics.describe, topics.acl)
add(app, arena, publish, topics.mark, worker, refine, follow, explain, kernels, doctor)


INTERRUPTED = 130
"""What Typer makes of Ctrl-C."""


def main() -> None:
    """Run the command line; every error is one line, an interrupt ends in order."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        with standard_streams():
            _heed_address_space()
            app(prog_name="offramp")
    except ReaderGoneError:
        forget_output()
        sys.exit(0)
    except OfframpError as error:
        _end(str(error), error.exit_code)
    except ModuleNotFoundError as error:
        missing = missing_extra(error, f"offramp {sys.argv[1]}")
        if missing is None:
            raise
        _end(str(missing), missing.exit_code)
    except (SystemExit, KeyboardInterrupt) as ended:
        if isinstance(ended, SystemExit) and ended.code != INTERRUPTED:
            raise
        with suppress(OfframpError, OSError):
            sys.stdout.flush()
        sys.stderr.flush()
        os._exit(INTERRUPTED)  # a thread that waits for standard input lets the interpreter not end in order
    except MemoryError:
        _end(NO_MEMORY, 1)
    except OSError as error:  # of the machine: a full disk, no memory, no file left to open
        where = f"{error.filename}: " if error.filename else ""
        _end(NO_MEMORY if error.errno == errno.ENOMEM else f"{where}{error.strerror or error}", 1)


def _heed_address_space() -> None:
    """Raise OfframpError where the command's libraries would crash, or wait for ever, for want of address space."""
    allowed = resource.getrlimit(resource.RLIMIT_AS)[0]
    if allowed == resource.RLIM_INFINITY:
        return
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # it waits for ever where a thread's buffer has no room
    if allowed < MIN_ADDRESS_SPACE and sys.argv[1:2] and sys.argv[1] not in FRUGAL:
        raise OfframpError(
            f"{allowed >> 20} MiB of address space are too few; allow {MIN_ADDRESS_SPACE >> 20} (ulimit -v)"
        )


def _end(text: str, exit_code: int) -> NoReturn:
    """End with a line on standard error."""
    forget_output()
    print(f"offramp: {text}", file=sys.stderr)
    sys.exit(exit_code)


if __name__ == "__main__":
    main()
