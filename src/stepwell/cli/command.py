"""What all commands share: their common options, the app they work on, and how they say that they were called wrongly."""

from __future__ import annotations

import asyncio
import getpass
import inspect
import json
import os
import sys
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, NoReturn, ParamSpec, TypeAlias, overload

import typer

from stepwell.app import Stepwell
from stepwell.cli.output import note
from stepwell.core.duration import parse_duration

if TYPE_CHECKING:
    from collections.abc import Iterable

P = ParamSpec("P")

Database: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--database", metavar="URL", help="Where the runs are: sqlite:///file.db, postgresql://user@host/name.", rich_help_panel="Database"
    ),
]
Namespace: TypeAlias = Annotated[
    str | None,
    typer.Option("--namespace", metavar="NAME", help="Which of several apps in the database.", rich_help_panel="Database"),
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Yes: TypeAlias = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Which database is meant. None: what the environment, the configuration or the default says."""

    database: str | None = None
    namespace: str | None = None


class BadUsage(typer.TyperException):
    """A command was called in a way that it cannot be."""

    exit_code = 2


class Failed(typer.TyperException):
    """A command could not do what it was asked for."""

    exit_code = 1


def on_app(
    *, migrate: bool = False, is_open: bool = True
) -> Callable[[Callable[Concatenate[Stepwell, P], Awaitable[None]]], Callable[..., None]]:
    """Make a command of a coroutine function whose first parameter is the app, which is open while it runs.

    The command gets the options `--database` and `--namespace`.

    Args:
        migrate: whether it may make the tables where there are none. What only looks, or acts on what is there, has no need to.
        is_open: False: the function opens the app itself, when it has found that it was called rightly.
    """

    def decorate(function: Callable[Concatenate[Stepwell, P], Awaitable[None]]) -> Callable[..., None]:
        @wraps(function)
        def command(context: typer.Context, **options: Any) -> None:
            place = place_of(context, options.pop("database"), options.pop("namespace"))

            async def work() -> None:
                app = app_at(place, migrate=migrate)
                async with app if is_open else nullcontext():
                    await function(app, **options)  # type: ignore[call-arg]  # Typer gives each by name

            asyncio.run(work())

        _sign(command, function)
        return command

    return decorate


def _sign(command: Callable[..., None], function: Callable[..., Any]) -> None:
    """Let Typer see the parameters of the function, without the app and with the common options."""
    _app, *own = inspect.signature(function, eval_str=True).parameters.values()
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [
        inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context),
        *own,
        inspect.Parameter("database", keyword, default=None, annotation=Database),
        inspect.Parameter("namespace", keyword, default=None, annotation=Namespace),
    ]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # functions have it, but their type says nothing of it
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}


def place_of(context: typer.Context, database: str | None, namespace: str | None) -> Place:
    """What was said after the command, else before it."""
    common = context.find_root().obj
    common = common if isinstance(common, Place) else Place()
    return Place(database=common.database if database is None else database, namespace=common.namespace if namespace is None else namespace)


def app_at(place: Place, *, migrate: bool) -> Stepwell:
    """An app without workflows, to look and to act."""
    return Stepwell(place.database, namespace=place.namespace, migrate=migrate)


def actor() -> str:
    """Who acts: kept with every action on a run or schedule."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError, ImportError):
        # A container may run under a number that has no name.
        return f"cli:{os.getuid() if hasattr(os, 'getuid') else 'unknown'}"


def ask(what: str, *, yes: bool) -> None:
    """Let the user agree to it. Raises BadUsage: nobody is there to ask; Exit: the answer is no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise BadUsage(f"this would {what}; add --yes to do it")
    sys.stderr.write(f"This will {what}. Go on? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        note("nothing was done")
        raise typer.Exit(1)


# -- reading what was given


@overload
def duration(text: str, option: str) -> timedelta: ...
@overload
def duration(text: str | None, option: str) -> timedelta | None: ...
def duration(text: str | None, option: str) -> timedelta | None:
    """The duration that was given to an option. Raises BadUsage: it is none."""
    if text is None:
        return None
    try:
        return parse_duration(text, option)
    except ValueError as error:
        raise BadUsage(str(error)) from None


def json_input(text: str | None, file: Path | None, source: str = "--input") -> Any:
    """The value of `--input` or `--input-file`; None where neither was given. Raises BadUsage: it is no JSON."""
    if text is not None and file is not None:
        raise BadUsage("--input and --input-file say the same thing twice; give one of them")
    if file is not None:
        return _parsed(_read(file), f"--input-file {file}", "")
    if text is not None:
        return _parsed(text, source, "; a text is written with quotes around it: '\"hello\"'")
    return None


def _read(file: Path) -> str:
    try:
        return sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadUsage(f"--input-file {file} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _parsed(text: str, source: str, advice: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        raise BadUsage(f"{source} is nested more deeply than can be read") from None
    except ValueError as error:
        raise BadUsage(f"{source} is no JSON: {error}{advice}") from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not in JSON")


def runs_counted(number: int) -> str:
    """`1 run`, `2,000 runs`."""
    return "1 run" if number == 1 else f"{number:,} runs"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?`, or which there are."""
    names = sorted({str(each) for each in known})
    close = get_close_matches(name, names, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; there are {', '.join(names)}" if names else ""
