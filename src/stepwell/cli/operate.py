"""`stepwell workers`, `workflows` and `queues`: what runs where, and pausing a whole workflow or queue."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Protocol, TypeAlias

import typer

from stepwell.app import Stepwell
from stepwell.cli.command import AsJson, Database, Failed, Namespace, actor, did_you_mean, on_app
from stepwell.cli.output import Column, cell_text, print_json, print_table, say

if TYPE_CHECKING:
    from stepwell.core.records import WorkerState

workers = typer.Typer(help="See which workers live, and let one leave.", invoke_without_command=True)
workflows = typer.Typer(help="See which workflows workers have, and pause one as a whole.")
queues = typer.Typer(help="See where runs wait, and pause a queue as a whole.")

Name: TypeAlias = Annotated[str, typer.Argument(metavar="NAME")]

_WORKERS = (
    Column(title="name"),
    Column(title="id", rank=3),
    Column(title="host", rank=5),
    Column(title="pid", rank=4),
    Column(title="queues", rank=6),
    Column(title="running"),
    Column(title="parked", rank=2),
    Column(title="last heard of", rank=1),
    Column(title="workflows", rank=7, short=24, elastic=True),
)


# -- workers


@workers.callback()
def workers_alone(context: typer.Context, *, database: Database = None, namespace: Namespace = None, as_json: AsJson = False) -> None:
    """See which workers live, and let one leave."""
    if context.invoked_subcommand is None:
        list_workers(context, as_json=as_json, database=database, namespace=namespace)


@workers.command("list")
@on_app()
async def list_workers(app: Stepwell, *, as_json: AsJson = False) -> None:
    """List the workers that live."""
    found = await app.workers.list()
    if as_json:
        print_json({"workers": found})
        return
    print_table(_WORKERS, [_worker_row(worker) for worker in found], empty="no worker lives; begin one: stepwell worker TARGET")


def _worker_row(worker: WorkerState) -> tuple[object, ...]:
    running = f"{worker.running}/{worker.concurrency}" + (" draining" if worker.draining else "")
    queues_shown = "all" if worker.queues is None else cell_text(worker.queues)
    return (
        worker.name, worker.id, worker.host, worker.pid, queues_shown, running, worker.parked, worker.beat_at, worker.definitions,
    )  # fmt: skip


@workers.command("drain")
@on_app()
async def drain_worker(app: Stepwell, worker: Annotated[str, typer.Argument(metavar="WORKER", help="Its id, or its name.")]) -> None:
    """Ask a worker to end its steps in progress, hand its runs to others, and leave."""
    found = await app.workers.list()
    meant = [state for state in found if worker in {state.id, state.name}]
    if not meant:
        raise Failed(f"no worker {worker!r} lives{did_you_mean(worker, (state.name for state in found))}")
    if len(meant) > 1:
        raise Failed(f"{len(meant)} workers are named {worker!r}; give an id: {', '.join(state.id for state in meant)}")
    await app.workers.drain(meant[0].id, actor=actor())
    say(f"worker {meant[0].id} drains")


# -- workflows and queues


class _Whole(Protocol):
    """A workflow or queue, as it is listed."""

    @property
    def name(self) -> str:
        """By which it is paused."""


@workflows.command("list")
@on_app()
async def list_workflows(app: Stepwell, *, as_json: AsJson = False) -> None:
    """List the workflows that workers have published."""
    found = await app.workflows.list()
    if as_json:
        print_json({"workflows": found})
        return
    columns = (Column(title="workflow"), Column(title="versions"), Column(title="paused"))
    rows = [(state.name, [version or "without" for version in state.versions], state.paused) for state in found]
    print_table(columns, rows, empty="no worker has published a workflow yet")


@workflows.command("pause")
@on_app()
async def pause_workflow(app: Stepwell, name: Name) -> None:
    """Begin and continue no run of a workflow, until it is resumed."""
    _check_known("workflow", name, await app.workflows.list())
    await app.workflows.pause(name, actor=actor())
    say(f"paused workflow {name}")


@workflows.command("resume")
@on_app()
async def resume_workflow(app: Stepwell, name: Name) -> None:
    """Let the runs of a workflow go on."""
    _check_known("workflow", name, await app.workflows.list())
    await app.workflows.resume(name, actor=actor())
    say(f"resumed workflow {name}")


@queues.command("list")
@on_app()
async def list_queues(app: Stepwell, *, as_json: AsJson = False) -> None:
    """List the queues in which runs wait, or have waited."""
    found = await app.queues.list()
    if as_json:
        print_json({"queues": found})
        return
    print_table(
        (Column(title="queue"), Column(title="paused")), [(state.name, state.paused) for state in found], empty="there are no queues"
    )


@queues.command("pause")
@on_app()
async def pause_queue(app: Stepwell, name: Name) -> None:
    """Begin and continue no run of a queue, until it is resumed."""
    _check_known("queue", name, await app.queues.list())
    await app.queues.pause(name, actor=actor())
    say(f"paused queue {name}")


@queues.command("resume")
@on_app()
async def resume_queue(app: Stepwell, name: Name) -> None:
    """Let the runs of a queue go on."""
    _check_known("queue", name, await app.queues.list())
    await app.queues.resume(name, actor=actor())
    say(f"resumed queue {name}")


def _check_known(kind: str, name: str, states: Iterable[_Whole]) -> None:
    """A name that nobody knows is a slip of the pen: pausing it would stop nothing. Raises Failed."""
    known: Sequence[str] = [state.name for state in states]
    if name not in known:
        raise Failed(f"nobody has heard of a {kind} {name!r} yet{did_you_mean(name, known)}")
