"""What a worker makes known of its workflows, for those who start runs without having their code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stepwell.core.codec import json_schema
from stepwell.core.policy import policy_text
from stepwell.core.records import Definition
from stepwell.core.retry import DEFAULT_RETRY
from stepwell.errors import DefinitionError

if TYPE_CHECKING:
    from collections.abc import Callable

    from stepwell.core.definition import Workflow
    from stepwell.core.registry import Registry


def definitions_of(registry: Registry) -> tuple[Definition, ...]:
    """One for each workflow."""
    return tuple(definition_of(workflow) for workflow in registry)


def retry_text(workflow: Workflow[Any, Any]) -> str:
    """How its steps are tried again where they do not say it themselves, as it is published."""
    return policy_text(workflow.retry or DEFAULT_RETRY)


def definition_of(workflow: Workflow[Any, Any]) -> Definition:
    """A workflow, as those see it who have not its code."""
    return Definition(
        name=workflow.name,
        version=workflow.version,
        queue=workflow.queue,
        priority=workflow.priority,
        timeout=None if workflow.timeout is None else workflow.timeout.total_seconds(),
        takes_version=workflow.takes_version,
        input_schema=_schema(lambda: workflow.input_annotation),
        output_schema=_schema(lambda: workflow.output_annotation),
        retry=retry_text(workflow),
    )


def _schema(annotation: Callable[[], Any]) -> str:
    """A workflow whose types cannot be told yet may still be executed, or fail where that is said."""
    try:
        return json_schema(annotation())
    except DefinitionError:
        return "{}"
