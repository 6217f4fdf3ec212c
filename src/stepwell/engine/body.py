"""Makes the coroutine that a run's main task is: the user's function, called with its input and the tools that it asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stepwell.core.codec import codec_of, input_value
from stepwell.core.records import RunInfo, instant, optional_instant
from stepwell.engine.attempts import is_async
from stepwell.engine.logger import Logger

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from stepwell.core.definition import Workflow
    from stepwell.core.records import Claimed
    from stepwell.engine.execution import Execution


def body_of(run: Execution, workflow: Workflow[Any, Any], step: Any) -> Coroutine[Any, Any, Any]:
    """The body, not yet begun.

    Raises:
        InvalidInput: the stored input does not fit the workflow's schema.
        DefinitionError: the type of the input cannot be told.
    """
    wanted = workflow.parameters
    arguments = workflow.arguments(
        _input(run.claimed.input, workflow),
        step=step,
        logger=Logger(run) if "logger" in wanted else None,
        version=run.claimed.version,
        run=_info(run.claimed) if "run" in wanted else None,
    )
    if run.body_thread is not None:
        return run.body_thread.drive(workflow.function, arguments)
    if is_async(workflow.function):
        coroutine: Coroutine[Any, Any, Any] = workflow.function(**arguments)
        return coroutine
    return _awaited(workflow.function, arguments)


def _input(text: str, workflow: Workflow[Any, Any]) -> Any:
    if text == "null" and workflow.input_optional:
        return None
    return input_value(codec_of(workflow.input_annotation), text, workflow=workflow.name)


def _info(run: Claimed) -> RunInfo:
    return RunInfo(
        id=run.id,
        workflow=run.workflow,
        version=run.version,
        attempt=run.attempt,
        created_at=instant(run.created_at),
        started_at=instant(run.started_at),
        scheduled_at=optional_instant(run.scheduled_at),
        tags=run.tags,
    )


async def _awaited(function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    """A body behind a decorator of the user's that is no `async def` itself."""
    return await function(**arguments)
