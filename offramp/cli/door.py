"""Build commands for Typer from functions of one frozen dataclass, whose fields declare the options.

So an option is declared once, with its type, default and help, and reaches its command by name. Nothing heavy is
imported here, nor by the modules of the commands before they run, so that `--help` is immediate.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

import typer


class OneOf(NamedTuple):
    """In an option's annotation: the names that it takes, from the table that knows them."""

    names: tuple[str, ...]


def add(app: typer.Typer, *commands: Callable[[Any], None]) -> None:
    """Add commands to an app; what a docstring says from `Example` on stands below the help."""
    for run in commands:
        about, _, example = (inspect.getdoc(run) or "").partition("\n\nExample")
        epilog = " ".join(f"Example{example}".split()) if example else None
        app.command(run.__name__.rstrip("_").replace("_", "-"), help=about, epilog=epilog)(called(run))


def called(run: Callable[[Any], None]) -> Callable[..., None]:
    """Return a command as Typer takes it: with a parameter for each field of its options."""
    options = next(hint for argument, hint in get_type_hints(run).items() if argument != "return")
    parameters = parameters_of(options)
    several = {each.name for each in parameters if get_origin(get_args(each.annotation)[0]) is list}

    def command(**given: Any) -> None:
        run(options(**{name: tuple(value or ()) if name in several else value for name, value in given.items()}))

    command.__name__ = run.__name__
    command.__annotations__ = {each.name: each.annotation for each in parameters}
    command.__dict__["__signature__"] = inspect.Signature(parameters)
    return command


def parameters_of(options: type) -> list[inspect.Parameter]:
    """Return the fields of an options class as Typer takes parameters; a tuple of any length is given as a list."""
    hints = get_type_hints(options, include_extras=True)
    out = []
    for field in fields(options):
        kind, *words = get_args(hints[field.name])
        default = inspect.Parameter.empty if field.default is MISSING else field.default
        names = next((word.names for word in words if isinstance(word, OneOf)), ())
        if names:
            kind = Literal.__getitem__(names)
        elif get_origin(kind) is tuple:
            kind, default = types.GenericAlias(list, get_args(kind)[0]), None if default == () else default
        annotated: Any = Annotated
        annotation = annotated[(kind, *(word for word in words if not isinstance(word, OneOf)))]
        out.append(
            inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        )
    return out
