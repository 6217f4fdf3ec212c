"""`app.workflows`, `app.queues` and `app.workers`, as operations."""

from __future__ import annotations

from stepwell.web.api.answers import Queues, Workers, Workflows
from stepwell.web.api.calls import Call
from stepwell.web.api.given import Named, Nothing
from stepwell.web.workers import MOST


async def list_workflows(call: Call[Named]) -> Workflows:
    """List workflows, those of this app and those that any worker has published, by name."""
    given = call.given
    page = await call.app.workflows.page(find=given.find, limit=given.limit, cursor=given.cursor)
    return Workflows(workflows=list(page), next_cursor=page.next_cursor)


async def pause_workflow(call: Call[Nothing]) -> None:
    """Begin no run of a workflow until it is resumed. Runs that a worker has go on."""
    await call.app.workflows.pause(call.path("name"), actor=call.actor)


async def resume_workflow(call: Call[Nothing]) -> None:
    """Let runs of a workflow begin again."""
    await call.app.workflows.resume(call.path("name"), actor=call.actor)


async def list_queues(call: Call[Nothing]) -> Queues:
    """List queues."""
    return Queues(queues=await call.app.queues.list())


async def pause_queue(call: Call[Nothing]) -> None:
    """Begin no run that waits in a queue until it is resumed. Runs that a worker has go on."""
    await call.app.queues.pause(call.path("name"), actor=call.actor)


async def resume_queue(call: Call[Nothing]) -> None:
    """Let runs of a queue begin again."""
    await call.app.queues.resume(call.path("name"), actor=call.actor)


async def list_workers(call: Call[Nothing]) -> Workers:
    """List workers, also those that were not heard of for a while."""
    return Workers(workers=await call.app.workers.list(limit=MOST))


async def drain_worker(call: Call[Nothing]) -> None:
    """Ask a worker to stop, by its id, or all workers of a name: they hand their runs back, and leave."""
    await call.app.workers.drain(call.path("worker"), actor=call.actor)
