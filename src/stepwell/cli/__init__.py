"""The command line: `stepwell`. Puts the commands together, and says in one line what went wrong.

Exit codes: 0 done, 1 failed, 2 called wrongly, 130 interrupted.
"""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING, Annotated, Final

import typer

from stepwell.cli import acting, deleting, operate, runs, schedules, scheduling
from stepwell.cli.check import check
from stepwell.cli.command import Database, Namespace, Place
from stepwell.cli.dev import dev
from stepwell.cli.doctor import doctor
from stepwell.cli.migrate import migrate
from stepwell.cli.output import complain
from stepwell.cli.signaling import signal
from stepwell.cli.start import start
from stepwell.cli.ui import ui
from stepwell.cli.worker import worker
from stepwell.errors import StepwellError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_INTERRUPTED: Final = 130
"""As shells have it: 128 and the number of SIGINT."""

cli = typer.Typer(name="stepwell", add_completion=False, no_args_is_help=False, pretty_exceptions_enable=False)


@cli.callback(invoke_without_command=True)
def common(
    context: typer.Context,
    *,
    database: Database = None,
    namespace: Namespace = None,
    version: Annotated[bool, typer.Option("--version", help="Print which Stepwell this is.")] = False,
) -> None:
    """Durable workflows in plain Python."""
    context.obj = Place(database=database, namespace=namespace)
    if version:
        from importlib.metadata import version as version_of  # noqa: PLC0415  # it takes a while, and is seldom asked for

        typer.echo(f"stepwell {version_of('stepwell')}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


_first: tuple[Callable[..., None], ...] = (dev, worker, ui, start, signal)
for command in _first:
    cli.command()(command)
runs.commands.add_typer(acting.commands)
runs.commands.add_typer(deleting.commands)
cli.add_typer(runs.commands, name="runs")
schedules.commands.add_typer(scheduling.commands)
cli.add_typer(schedules.commands, name="schedules")
cli.add_typer(operate.workers, name="workers")
cli.add_typer(operate.workflows, name="workflows")
cli.add_typer(operate.queues, name="queues")
for command in (check, migrate, doctor):
    cli.command()(command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the arguments say, those of the process where none are given; the exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a sign that it cannot show is no reason to fail
    try:
        code = int(cli(args=arguments, prog_name="stepwell", standalone_mode=False) or 0)
        sys.stdout.flush()
    except BrokenPipeError:
        # Who read the output has seen enough. The interpreter's own flush at its end must not find out again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except typer.TyperException as error:
        complain(error.format_message())
        return error.exit_code
    except (StepwellError, ExceptionGroup) as error:
        expected = _only(error)
        if not isinstance(expected, StepwellError):
            raise
        complain(str(expected))
        return 1
    except (typer.Abort, KeyboardInterrupt):
        return _INTERRUPTED
    return code


def _only(error: Exception) -> Exception:
    """The error that a group is made around, if there is just one."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
