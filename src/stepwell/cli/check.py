"""`stepwell check`: whether the code of TARGET still fits the runs that are under way. It only reads, and runs no step."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias

import typer

from stepwell.app import Stepwell
from stepwell.cli.command import AsJson, Database, Namespace, place_of, runs_counted
from stepwell.cli.output import Column, note, print_json, print_table, printable, say
from stepwell.cli.target import load
from stepwell.cli.worker import ShowTraceback, Target
from stepwell.core.records import TO_COMPUTE, UNRESOLVED, Claimed, Run, version_label
from stepwell.core.status import RunStatus
from stepwell.errors import InvalidInput, NonDeterminism, RunNotFound, WorkflowNotFound

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from stepwell.core.definition import Workflow
    from stepwell.core.registry import Registry

_LIVE: Final = (RunStatus.PENDING, RunStatus.RUNNING, RunStatus.SLEEPING, RunStatus.PAUSED)

_COLUMNS: Final = (
    Column(title="run", short=18),
    Column(title="workflow"),
    Column(title="version", rank=1),
    Column(title="status", rank=2),
    Column(title="what", short=40, elastic=True),
)

Verdict: TypeAlias = Literal["fits", "changed arguments", "does not fit", "no such version", "no such workflow"]

_WRONG: Final = frozenset({"does not fit", "no such version"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A run, and what becomes of it under the code of TARGET.

    Attributes:
        run: its id.
        verdict: `no such workflow`: it may be another program's. The rest says what it is.
        what: one sentence; None where it fits.
        explanation: all that the worker would say.
    """

    run: str
    workflow: str
    version: str | None
    status: RunStatus
    verdict: Verdict
    what: str | None = None
    explanation: str | None = None


class _Found(NamedTuple):
    verdict: Verdict
    what: str | None = None
    explanation: str | None = None


def check(
    context: typer.Context,
    target: Target,
    *,
    as_json: AsJson = False,
    show_traceback: ShowTraceback = False,
    database: Database = None,
    namespace: Namespace = None,
) -> None:
    """Replay the runs that are under way against the code of TARGET, before it is deployed. Fails if it does not fit one of them.

    No step runs, and nothing is written. The body of a `def` workflow does again what it does outside of steps.
    """
    app = load(target, place_of(context, database, namespace), show_traceback=show_traceback)
    logging.getLogger("stepwell.engine").addHandler(logging.NullHandler())  # what it would warn of is in the table
    checked = asyncio.run(_check(app))
    wrong = [each for each in checked if each.verdict in _WRONG]
    if as_json:
        print_json({"ok": not wrong, "checked": len(checked), "runs": [each for each in checked if each.verdict != "fits"]})
    else:
        _print(checked, wrong)
    if wrong:
        raise typer.Exit(1)


def _print(checked: list[Checked], wrong: list[Checked]) -> None:
    shown = [each for each in checked if each.verdict in _WRONG or each.verdict == "changed arguments"]
    if shown:
        print_table(_COLUMNS, [(each.run, each.workflow, each.version, each.status, each.what) for each in shown], empty="")
    others = Counter(version_label(each.workflow, each.version) for each in checked if each.verdict == "no such workflow")
    for name, count in others.items():
        note(f"{runs_counted(count)} of {printable(name)} not checked: TARGET has no such workflow")
    replayed = len(checked) - sum(others.values())
    if wrong:
        say(f"{len(wrong):,} of {runs_counted(replayed)} under way would not go on with this code")
    else:
        say(f"{runs_counted(replayed)} under way, and the code fits" if replayed else "no run of these workflows is under way")


# -- the runs


async def _check(loaded: Stepwell) -> list[Checked]:
    # The app of TARGET might make or migrate the tables.
    reader = Stepwell(loaded.database_url, namespace=loaded.namespace, migrate=False)
    async with reader:
        return [checked async for checked in _each(reader, loaded._registry)]


async def _each(reader: Stepwell, registry: Registry) -> AsyncIterator[Checked]:
    from stepwell.testing.histories import read_history  # noqa: PLC0415  # no other command needs it

    async for run in reader.runs.iterate(status=_LIVE, order="oldest"):
        try:
            history = await read_history(reader._home.store, run.id)
        except RunNotFound:
            continue  # it has been deleted meanwhile
        found = await _found(run, history, registry)
        yield Checked(run=run.id, workflow=run.workflow, version=run.version, status=run.status, **found._asdict())


async def _found(run: Run, history: Claimed, registry: Registry) -> _Found:
    try:
        version = registry.resolve_version(run.workflow) if history.version == UNRESOLVED else history.version
    except WorkflowNotFound:
        return _Found("no such workflow", f"TARGET has no workflow {run.workflow!r}")
    try:
        workflow = registry.get(run.workflow, version)
    except WorkflowNotFound as missing:
        known = any(each.name == run.workflow for each in registry)
        return _Found("no such version" if known else "no such workflow", str(missing))
    if history.input == TO_COMPUTE or (run.started_at is None and not history.outcomes):
        return _Found("fits")  # it is not under way
    return await _replayed(workflow, history)


async def _replayed(workflow: Workflow[Any, Any], history: Claimed) -> _Found:
    from stepwell.testing.replaying import replay_claimed  # noqa: PLC0415

    try:
        replayed = await replay_claimed(workflow, history)
    except NonDeterminism as misfit:
        return _Found("does not fit", _sentence(str(misfit)), str(misfit))
    if replayed.error is not None and replayed.error.caused_by(InvalidInput):
        return _Found("does not fit", f"its input does not fit any more: {replayed.error.message}", str(replayed.error))
    if replayed.changed_arguments:
        return _Found("changed arguments", f"called with other arguments, the results stay: {_keys(replayed.changed_arguments)}")
    return _Found("fits")


def _keys(keys: Iterable[str]) -> str:
    return ", ".join(f"step {key!r}" for key in keys)


def _sentence(explanation: str) -> str:
    """What was found, without what to do about it."""
    first, _, rest = explanation.partition("\n\n")
    return rest.partition("\n")[0].strip().rstrip(".") or first
