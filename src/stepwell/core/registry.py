"""Which workflows a worker has, and which of them takes a run. Knows no database: what other workers have is not seen here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from types import ModuleType
from typing import Any, NamedTuple, TypeAlias

from stepwell.core.definition import Workflow
from stepwell.errors import DefinitionError, WorkflowNotFound

AnyWorkflow: TypeAlias = Workflow[Any, Any]


class Lane(NamedTuple):
    """Where runs of one kind wait. Workers claim from the lanes that they have functions for."""

    queue: str
    workflow: str
    version: str | None


class Resolved(NamedTuple):
    """A workflow, and the version of a run that it takes."""

    workflow: AnyWorkflow
    version: str | None


class Registry:
    """The workflows of one worker, by name and version.

    Args:
        workflows: Workflows, and modules: all that a module has in its namespace. One that is met twice is there once.

    Raises:
        DefinitionError: two have the same name and version, one declares what is not supported, or it is no workflow at all.
    """

    def __init__(self, workflows: Iterable[AnyWorkflow | ModuleType] = ()) -> None:
        self._versions: dict[str, dict[str | None, AnyWorkflow]] = {}
        for workflow in _collected(workflows):
            refuse_unsupported(workflow)
            versions = self._versions.setdefault(workflow.name, {})
            other = versions.setdefault(workflow.version, workflow)
            if other is not workflow:
                raise DefinitionError(
                    f"there are two workflows {workflow}: {_place(other)} and {_place(workflow)}; give one another name or version"
                )

    def __iter__(self) -> Iterator[AnyWorkflow]:
        for versions in self._versions.values():
            yield from versions.values()

    def newest(self) -> Iterator[AnyWorkflow]:
        """The newest version of each workflow. One without a version is older than any other."""
        for versions in self._versions.values():
            yield versions[max(versions, key=natural_order)]

    def lanes(self) -> frozenset[Lane]:
        """Where runs wait that were started as their workflow says. One that asks for `version` takes those of other versions too."""
        return frozenset(Lane(workflow.queue, workflow.name, workflow.version) for workflow in self)

    def find(self, name: str, version: str | None) -> AnyWorkflow | None:
        """The workflow that takes a run of this name and version; None: it has to wait for another worker.

        It is the one of just that version; else, of those that ask for the parameter `version`, the newest.
        """
        versions = self._versions.get(name, {})
        if version in versions:
            return versions[version]
        takers = [taker for taker, workflow in versions.items() if workflow.takes_version]
        return versions[max(takers, key=natural_order)] if takers else None

    def get(self, name: str, version: str | None) -> AnyWorkflow:
        """As `find`, for those who cannot wait.

        Raises:
            WorkflowNotFound: no workflow here takes such a run. The message says which there are.
        """
        workflow = self.find(name, version)
        if workflow is None:
            raise WorkflowNotFound(self._what_is_missing(name, version), workflow=name, version=version)
        return workflow

    def resolve_version(self, name: str) -> str | None:
        """The version of a run that is started by name alone: None if there is a function without one, else the newest.

        Raises:
            WorkflowNotFound: no workflow here has this name.
        """
        versions = self._versions.get(name)
        if not versions:
            raise WorkflowNotFound(self._what_is_missing(name, None), workflow=name)
        return None if None in versions else max(versions, key=natural_order)

    def resolve(self, name: str, version: str | None) -> Resolved | None:
        """What a start by name means, as far as it is known here: the workflow that takes the run, and the run's version; None: nothing."""
        if name not in self._versions:
            return None
        wanted = self.resolve_version(name) if version is None else version
        workflow = self.find(name, wanted)
        return None if workflow is None else Resolved(workflow, wanted)

    def _what_is_missing(self, name: str, version: str | None) -> str:
        versions = sorted(self._versions.get(name, {}), key=natural_order)
        if not versions:
            return f"there is no workflow {name!r} here{self._hint(name)}"
        known = ", ".join(other if other is not None else "one without" for other in versions)
        if version is None:
            return (
                f"workflow {name!r} has no function without a version here; this worker has {known}. "
                "Keep the one without until its runs have ended."
            )
        return (
            f"workflow {name!r} has no version {version!r} here; this worker has {known}. "
            f"Keep {version} registered until its runs have ended."
        )

    def _hint(self, name: str) -> str:
        names = sorted(self._versions)
        if not names:
            return "; this worker has none at all"
        close = get_close_matches(name, names, n=1)
        return f"; did you mean {close[0]!r}?" if close else f"; this worker has {', '.join(names)}"


def natural_order(version: str | None) -> tuple[Any, ...]:
    """A key to sort versions by, as people count: `v9` before `v10`, and what has no version before all."""
    if version is None:
        return ()
    # Texts and numbers alternate, a text first, so that like is always compared with like.
    words = [int(word) if place % 2 else word for place, word in enumerate(re.split(r"([0-9]+)", version))]
    return (words, version)


def check_version(workflow: AnyWorkflow, version: str | None) -> None:
    """Starting a Workflow, rather than a name, leaves no choice of its version.

    Raises:
        DefinitionError: it is asked for in another version than its own.
    """
    if version is not None and version != workflow.version:
        has = f"is version {workflow.version!r}" if workflow.version is not None else "has no version"
        raise DefinitionError(
            f"workflow {workflow.name!r} {has} and cannot be started as {version!r}; start it by its name: {workflow.name!r}"
        )


def refuse_unsupported(workflow: AnyWorkflow) -> None:
    """Better no run than one without the limits that were asked for.

    Raises:
        DefinitionError: the workflow declares something that this version of Stepwell records, and does not yet hold.
    """
    declared = {
        "concurrency": workflow.concurrency,
        "rate": workflow.rate,
        "debounce": workflow.debounce,
    }
    unsupported = [option for option, value in declared.items() if value is not None]
    if unsupported:
        raise DefinitionError(
            f"workflow {workflow} declares {', '.join(unsupported)}, which this version of Stepwell does not hold yet; leave it out"
        )


def _collected(workflows: Iterable[AnyWorkflow | ModuleType]) -> Iterator[AnyWorkflow]:
    if not isinstance(workflows, Iterable):
        raise DefinitionError(f"workflows takes several Workflows or modules; put it into a list: [{workflows!r}]")
    for item in workflows:
        if isinstance(item, Workflow):
            yield item
        elif isinstance(item, ModuleType):
            yield from (value for value in vars(item).values() if isinstance(value, Workflow))
        else:
            raise DefinitionError(f"workflows takes Workflows and modules, not {item!r}; is the function decorated with @workflow?")


def _place(workflow: AnyWorkflow) -> str:
    return f"{workflow.function.__module__}.{workflow.function.__qualname__}"
