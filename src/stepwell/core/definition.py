"""What users declare: `@workflow` and `@step`. Records and checks it, there and then.

A declaration has no side effect: nothing is registered anywhere. The engine executes workflows; what a step does when it is called
is up to whoever has put a face into `body`.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property, update_wrapper
from types import FrameType
from typing import TYPE_CHECKING, Any, Concatenate, Final, Generic, ParamSpec, Protocol, TypeVar, cast, get_type_hints, overload

from stepwell.core.duration import Duration, parse_duration
from stepwell.core.naming import MAX_NAME, checked_name, function_name, snake_case
from stepwell.core.options import Debounce, Limit, Rate, Schedule, checked_count
from stepwell.core.records import UNRESOLVED
from stepwell.core.retry import Retry
from stepwell.errors import DefinitionError

if TYPE_CHECKING:
    from stepwell.core.records import RunInfo
    from stepwell.engine.logger import Logger
    from stepwell.engine.step import Step, SyncStep

__all__ = [
    "BodyFace",
    "Debounce",
    "Limit",
    "Rate",
    "Schedule",
    "StepFunction",
    "Workflow",
    "WorkflowDecorator",
    "body",
    "step",
    "workflow",
]

In = TypeVar("In")
Out = TypeVar("Out")
P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
Tool = TypeVar("Tool", bound="Step | SyncStep | Logger | RunInfo")
OtherTool = TypeVar("OtherTool", bound="Step | SyncStep | Logger | RunInfo")

MAX_STEPS: Final = 10_000
"""Steps of a run, where its workflow says nothing else."""

_GIVEN: Final = frozenset({"step", "logger", "version", "run"})
"""The parameters that a body is given by name. The one left over is its input."""

_PRIORITIES: Final = range(-1000, 1001)


# -- workflows


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Workflow(Generic[In, Out]):
    """A workflow as it was declared: `@workflow` makes it. It can be called like the function it wraps.

    Attributes:
        function: the body.
        name: by which, with `version`, runs find it.
        version: None where it has none.
        retry: of its steps and of its body; None leaves it to the default.
        timeout: how long after it was due a run fails; None is never.
        schedules: each with a name.
        queue: where its runs wait.
        priority: which of them go first, the higher before the lower.
        concurrency: how many of its runs may be under way at once.
        rate: how many may begin within a time.
        debounce: within which time starts become one.
        max_steps: how many steps a run may have.
        is_async: whether the body is an `async def`; any other runs in a thread.
        parameters: which of `step`, `logger`, `version` and `run` the body asks for.
        input_parameter: the one that is left over; None where the body takes no input.
        input_optional: whether the body has a default for its input.
        input_schema: the option `input`; None leaves it to the annotation.
        output_schema: the option `output`; None leaves it to the annotation.
        known_annotations: those that could be read when the workflow was declared, the only time to see classes local to a function.
    """

    function: Callable[..., Any]
    name: str
    version: str | None = None
    retry: Retry | None = None
    timeout: timedelta | None = None
    schedules: tuple[Schedule, ...] = ()
    queue: str = "default"
    priority: int = 0
    concurrency: Limit | None = None
    rate: Rate | None = None
    debounce: Debounce | None = None
    max_steps: int = MAX_STEPS
    is_async: bool
    parameters: frozenset[str] = frozenset()
    input_parameter: str | None = None
    input_optional: bool = False
    input_schema: Any = None
    output_schema: Any = None
    known_annotations: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # As functools.update_wrapper does it, past the guard of a frozen class.
        for name in ("__module__", "__name__", "__qualname__", "__doc__"):
            self.__dict__[name] = getattr(self.function, name)
        self.__dict__["__wrapped__"] = self.function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the body as the plain function that it is, for its unit tests."""
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<Workflow {self}>"

    def __str__(self) -> str:
        return f"{self.name!r} {self.version}" if self.version else repr(self.name)

    @property
    def takes_version(self) -> bool:
        """Whether the body asks for `version`, and so takes the runs of versions that have no function of their own."""
        return "version" in self.parameters

    @cached_property
    def input_annotation(self) -> Any:
        """The type of the input: the option, else the annotation, else `Any`; that of None where the body takes no input.

        Raises:
            DefinitionError: the annotation names what its module does not know.
        """
        if self.input_schema is not None:
            return self.input_schema
        if self.input_parameter is None:
            return type(None)
        return self._annotation(self.input_parameter)

    @cached_property
    def output_annotation(self) -> Any:
        """The type of the output: the option, else the annotation, else `Any`.

        Raises:
            DefinitionError: the annotation names what its module does not know.
        """
        return self._annotation("return") if self.output_schema is None else self.output_schema

    def arguments(self, input: Any, *, step: Any, logger: Any, version: str | None, run: Any) -> dict[str, Any]:
        """The arguments of one call of the body. An input of None leaves the body to its default, if it has one."""
        given = {"step": step, "logger": logger, "version": version, "run": run}
        arguments = {name: value for name, value in given.items() if name in self.parameters}
        if self.input_parameter is not None and not (input is None and self.input_optional):
            arguments[self.input_parameter] = input
        return arguments

    def _annotation(self, parameter: str) -> Any:
        if parameter in self.known_annotations:
            return self.known_annotations[parameter]
        try:
            return _resolved(self.function, parameter)
        except Exception as error:
            where = "what it returns" if parameter == "return" else f"its parameter {parameter!r}"
            option = "output" if parameter == "return" else "input"
            raise DefinitionError(
                f"workflow {self} cannot tell the type of {where}: {error}. The annotation must be readable in {self.function.__module__} "
                f"when the program runs, not only under TYPE_CHECKING; or give the type as @workflow({option}=…)"
            ) from error


class _Anything:
    """Of no use to anybody: only a parameter that takes anything, such as one without an annotation, takes it too."""


class WorkflowDecorator(Protocol):
    """What `workflow(…)` with options returns: it takes the body.

    Type checkers tell the input by its place: it is the first parameter, or the second after `step` or `logger`. They take the first
    overload that fits, and so an `async def` by those that name a Coroutine, although the others would fit it too.
    """

    @overload
    def __call__(self, function: Callable[Concatenate[_Anything, ...], Coroutine[Any, Any, Out]], /) -> Workflow[Any, Out]: ...
    @overload
    def __call__(self, function: Callable[[Tool, OtherTool], Coroutine[Any, Any, Out]], /) -> Workflow[None, Out]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[Tool, OtherTool, ...], Coroutine[Any, Any, Out]], /) -> Workflow[Any, Out]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[Tool, In, ...], Coroutine[Any, Any, Out]], /) -> Workflow[In, Out]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, function: Callable[Concatenate[Tool, ...], Coroutine[Any, Any, Out]], /) -> Workflow[None, Out]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[In, ...], Coroutine[Any, Any, Out]], /) -> Workflow[In, Out]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, function: Callable[[], Coroutine[Any, Any, Out]], /) -> Workflow[None, Out]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[_Anything, ...], Out], /) -> Workflow[Any, Out]: ...
    @overload
    def __call__(self, function: Callable[[Tool, OtherTool], Out], /) -> Workflow[None, Out]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[Tool, OtherTool, ...], Out], /) -> Workflow[Any, Out]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[Tool, In, ...], Out], /) -> Workflow[In, Out]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[Tool, ...], Out], /) -> Workflow[None, Out]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[In, ...], Out], /) -> Workflow[In, Out]: ...
    @overload
    def __call__(self, function: Callable[[], Out], /) -> Workflow[None, Out]: ...


@overload
def workflow(fn: Callable[Concatenate[_Anything, ...], Coroutine[Any, Any, Out]], **options: Any) -> Workflow[Any, Out]: ...
@overload
def workflow(fn: Callable[[Tool, OtherTool], Coroutine[Any, Any, Out]], **options: Any) -> Workflow[None, Out]: ...
@overload
def workflow(fn: Callable[Concatenate[Tool, OtherTool, ...], Coroutine[Any, Any, Out]], **options: Any) -> Workflow[Any, Out]: ...
@overload
def workflow(fn: Callable[Concatenate[Tool, In, ...], Coroutine[Any, Any, Out]], **options: Any) -> Workflow[In, Out]: ...
@overload
def workflow(fn: Callable[Concatenate[Tool, ...], Coroutine[Any, Any, Out]], **options: Any) -> Workflow[None, Out]: ...
@overload
def workflow(fn: Callable[Concatenate[In, ...], Coroutine[Any, Any, Out]], **options: Any) -> Workflow[In, Out]: ...
@overload
def workflow(fn: Callable[[], Coroutine[Any, Any, Out]], **options: Any) -> Workflow[None, Out]: ...
@overload
def workflow(fn: Callable[Concatenate[_Anything, ...], Out], **options: Any) -> Workflow[Any, Out]: ...
@overload
def workflow(fn: Callable[[Tool, OtherTool], Out], **options: Any) -> Workflow[None, Out]: ...
@overload
def workflow(fn: Callable[Concatenate[Tool, OtherTool, ...], Out], **options: Any) -> Workflow[Any, Out]: ...
@overload
def workflow(fn: Callable[Concatenate[Tool, In, ...], Out], **options: Any) -> Workflow[In, Out]: ...
@overload
def workflow(fn: Callable[Concatenate[Tool, ...], Out], **options: Any) -> Workflow[None, Out]: ...
@overload
def workflow(fn: Callable[Concatenate[In, ...], Out], **options: Any) -> Workflow[In, Out]: ...
@overload
def workflow(fn: Callable[[], Out], **options: Any) -> Workflow[None, Out]: ...
@overload
def workflow(
    fn: None = None,
    *,
    name: str | None = None,
    version: str | None = None,
    input: Any = None,
    output: Any = None,
    retry: Retry | None = None,
    timeout: Duration | None = None,
    schedules: Iterable[Schedule] = (),
    queue: str = "default",
    priority: int = 0,
    concurrency: Limit | None = None,
    rate: Rate | None = None,
    debounce: Debounce | None = None,
    max_steps: int = MAX_STEPS,
) -> WorkflowDecorator: ...
def workflow(  # type: ignore[misc]  # what the options of the bare form are is checked here, by name
    fn: Callable[..., Any] | None = None,
    *,
    name: str | None = None,
    version: str | None = None,
    input: Any = None,
    output: Any = None,
    retry: Retry | None = None,
    timeout: Duration | None = None,
    schedules: Iterable[Schedule] = (),
    queue: str = "default",
    priority: int = 0,
    concurrency: Limit | None = None,
    rate: Rate | None = None,
    debounce: Debounce | None = None,
    max_steps: int = MAX_STEPS,
) -> Any:
    """Declare a workflow: `@workflow`, or `@workflow(name=…, …)`.

    The body gets `step`, `logger`, `version` and `run` by name, as far as it asks for them. Its one other parameter is the input.

    Args:
        fn: the body, `async def` or `def`.
        name: unique with `version`; without one, the function's name in snake_case.
        version: a run keeps the one it was started with.
        input: the type of the input, instead of the annotation: anything that a pydantic TypeAdapter takes.
        output: the type of the output, likewise.
        retry: for its steps and for its own body.
        timeout: how long after it was due, the end of its delay included, a run fails with DeadlineExceeded.
        schedules: when runs begin by themselves, each with a name of its own: `[Schedule("nightly", "0 2 * * *")]`. Those of the newest
            version count, as the worker declares them that was started last.
        queue: where its runs wait.
        priority: which runs go first, the higher before the lower: from -1000 to 1000.
        concurrency: how many runs may be under way at once, across all workers.
        rate: how many may begin within a time, across all workers.
        debounce: within which time starts become one run.
        max_steps: how many steps a run may have.

    Raises:
        DefinitionError: the function cannot be the body of a workflow, or an option is not what it should be.
        ValueError, TypeError: `timeout` is no duration.
    """

    def declared(function: Any, caller: FrameType) -> Workflow[Any, Any]:
        called = checked_name(name, "workflow") if name is not None else snake_case(_body_name(function))
        _check_body(function, called)
        given, leftover = _parameters(function, called)
        return Workflow(
            function=function,
            name=called,
            version=checked_version(version, called),
            retry=_checked(retry, Retry, "retry", called),
            timeout=None if timeout is None else parse_duration(timeout, f"the timeout of workflow {called!r}"),
            schedules=_checked_schedules(schedules, called),
            queue=checked_name(queue, "queue"),
            priority=checked_priority(priority, called),
            concurrency=_checked(concurrency, Limit, "concurrency", called),
            rate=_checked(rate, Rate, "rate", called),
            debounce=_checked(debounce, Debounce, "debounce", called),
            max_steps=checked_count(max_steps, f"max_steps of workflow {called!r}"),
            is_async=_is_async(function),
            parameters=given,
            input_parameter=leftover.name if leftover else None,
            input_optional=leftover is not None and leftover.default is not inspect.Parameter.empty,
            input_schema=input,
            output_schema=output,
            known_annotations=_known_annotations(function, leftover, caller),
        )

    if fn is not None:
        return declared(fn, sys._getframe(1))
    return lambda function: declared(function, sys._getframe(1))


# -- steps


class BodyFace(Protocol):
    """What stands behind the calls of `@step` functions: a workflow's body, which makes checkpoints of them, or a step."""

    def call(self, step_function: StepFunction[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The outcome of this call; something to await, where the function is an `async def`."""


body: Final[ContextVar[BodyFace | None]] = ContextVar("stepwell_body", default=None)
"""Set where a body or a step runs; a `@step` function called where it is None is the plain function."""


class StepFunction(Generic[P, R_co]):
    """A function that is a step wherever a workflow calls it: `@step` makes it. Anywhere else it is the plain function.

    Attributes:
        function: what it runs.
        name: of the step.
        retry: None leaves it to the workflow.
        timeout: of one attempt; None is no limit.
    """

    def __init__(self, function: Callable[P, R_co], *, name: str, retry: Retry | None = None, timeout: timedelta | None = None) -> None:
        update_wrapper(self, function)
        self.function = function
        self.name = name
        self.retry = retry
        self.timeout = timeout
        if sys.version_info >= (3, 12) and inspect.iscoroutinefunction(function):
            inspect.markcoroutinefunction(self)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """A checkpoint where a workflow runs; elsewhere a plain call."""
        face = body.get()
        if face is None:
            return self.function(*args, **kwargs)
        return cast("R_co", face.call(self, args, kwargs))

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> StepFunction[P, R_co]: ...
    @overload
    def __get__(self: StepFunction[Concatenate[Any, Q], R_co], instance: object, owner: type | None = None) -> StepFunction[Q, R_co]: ...
    def __get__(self, instance: object, owner: type | None = None) -> StepFunction[..., R_co]:
        """As a method: the step with its object in hand."""
        if instance is None:
            return self
        bound = self.function.__get__(instance, owner)
        return StepFunction(bound, name=self.name, retry=self.retry, timeout=self.timeout)

    def __repr__(self) -> str:
        return f"<step {self.name!r}>"


@overload
def step(
    function: Callable[P, R], /, name: str | None = None, *, retry: Retry | None = None, timeout: Duration | None = None
) -> StepFunction[P, R]: ...
@overload
def step(
    name: str, /, *, retry: Retry | None = None, timeout: Duration | None = None
) -> Callable[[Callable[P, R]], StepFunction[P, R]]: ...
@overload
def step(
    *, name: str | None = None, retry: Retry | None = None, timeout: Duration | None = None
) -> Callable[[Callable[P, R]], StepFunction[P, R]]: ...
def step(function: Any = None, /, name: str | None = None, *, retry: Retry | None = None, timeout: Duration | None = None) -> Any:
    """Make a function a reusable step: `@step`, or `@step("name", retry=…)`.

    Args:
        function: what the step runs, `async def` or `def`; a text in its place is the name.
        name: of the step; without one, the function's.
        retry: for this step, wherever it is called.
        timeout: of one attempt.

    Raises:
        DefinitionError: it is no function, has no name, or `retry` is no Retry.
        ValueError, TypeError: `timeout` is no duration.
    """
    if isinstance(function, str):
        if name is not None:
            raise DefinitionError(f"a step has one name, not {function!r} and {name!r}")
        function, name = None, function
    if name is not None:
        checked_name(name, "step")

    def declared(function: Any) -> StepFunction[..., Any]:
        _check_step(function)
        called = name if name is not None else function_name(function, "step")
        limit = None if timeout is None else parse_duration(timeout, f"the timeout of step {called!r}")
        return StepFunction(function, name=called, retry=_checked(retry, Retry, "retry", called, kind="step"), timeout=limit)

    return declared if function is None else declared(function)


# -- checks, in the order of their use


def _body_name(function: Any) -> str:
    # What cannot be a body may have no name either, and that is not what is wrong with it.
    return function_name(function, "workflow") if inspect.isroutine(function) else getattr(function, "__name__", type(function).__name__)


def _check_body(function: Any, workflow: str) -> None:
    problem = None
    if isinstance(function, Workflow):
        problem = "it is a workflow already"
    elif isinstance(function, StepFunction):
        problem = "it is a step; a function is one or the other"
    elif not (inspect.isfunction(function) or inspect.ismethod(function)):
        problem = f"it is no function but {function!r}; write a `def` or `async def` around it"
    elif any(inspect.isasyncgenfunction(layer) or inspect.isgeneratorfunction(layer) for layer in (function, inspect.unwrap(function))):
        problem = "it is a generator; a workflow returns its output, and does not yield"
    if problem:
        raise DefinitionError(f"{workflow!r} cannot be the body of a workflow: {problem}")


def _parameters(function: Any, workflow: str) -> tuple[frozenset[str], inspect.Parameter | None]:
    """Which of the given parameters the body asks for, and the one that is its input."""
    given, leftover = set(), []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}:
            raise DefinitionError(
                f"workflow {workflow!r} takes {parameter}, but a body is given its parameters by name: name each; "
                "if a decorator hides them, it needs functools.wraps"
            )
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise DefinitionError(f"workflow {workflow!r} is given {parameter.name!r} by name; take the `/` out of its parameters")
        if parameter.name in _GIVEN:
            given.add(parameter.name)
        else:
            leftover.append(parameter)
    if len(leftover) > 1:
        names = ", ".join(parameter.name for parameter in leftover)
        raise DefinitionError(f"workflow {workflow!r} has {len(leftover)} inputs ({names}), and may have one: bundle them into a model")
    return frozenset(given), leftover[0] if leftover else None


def _is_async(function: Any) -> bool:
    # A decorator's plain wrapper of an async function returns what there is to await, so it is async too.
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(inspect.unwrap(function))


def checked_version(version: object, workflow: str) -> str | None:
    """The version itself; None where there is none. Raises DefinitionError: it is no text, empty, too long, or taken for something else."""
    if version is None:
        return None
    if not isinstance(version, str):
        raise DefinitionError(f"the version of workflow {workflow!r} is a text, not {type(version).__name__}: {version!r}")
    if not version.strip():
        raise DefinitionError(f"the version of workflow {workflow!r} is empty; leave it out for a workflow without versions")
    if len(version) > MAX_NAME:
        raise DefinitionError(f"the version of workflow {workflow!r} has {len(version)} characters, and may have {MAX_NAME}")
    if version == UNRESOLVED:
        raise DefinitionError(f"{version!r} is not for a version of workflow {workflow!r}: it stands for one that is not known yet")
    return checked_name(version, f"version of workflow {workflow!r}")


def _checked(value: Any, expected: type[R], option: str, owner: str, kind: str = "workflow") -> R | None:
    if value is None or isinstance(value, expected):
        return value
    raise DefinitionError(f"{option} of {kind} {owner!r} is a {expected.__name__}, not {type(value).__name__}: {value!r}")


def checked_priority(priority: object, workflow: str) -> int:
    """The priority itself. Raises DefinitionError: it is no whole number, or out of the range."""
    if not isinstance(priority, int) or isinstance(priority, bool) or priority not in _PRIORITIES:
        raise DefinitionError(
            f"the priority of workflow {workflow!r} is a whole number from {_PRIORITIES[0]} to {_PRIORITIES[-1]}, not {priority!r}"
        )
    return priority


def _checked_schedules(schedules: object, workflow: str) -> tuple[Schedule, ...]:
    if not isinstance(schedules, Iterable):
        raise DefinitionError(f"schedules of workflow {workflow!r} is a list of Schedules, not {type(schedules).__name__}: {schedules!r}")
    named: dict[str, Schedule] = {}
    for schedule in schedules:
        if not isinstance(schedule, Schedule):
            raise DefinitionError(f"schedules of workflow {workflow!r} has {schedule!r} in it, which is no Schedule")
        one = schedule.named(workflow)
        if one.name in named:
            raise DefinitionError(f"workflow {workflow!r} has two schedules named {one.name!r}; give each a name of its own")
        named[one.name] = one
    return tuple(named.values())


def _known_annotations(function: Any, leftover: inspect.Parameter | None, caller: FrameType) -> dict[str, Any]:
    """The types of input and output, as far as they are known by now. What is defined further down is looked up when it is used."""
    # Classes local to a function are known to nobody but the frame in which they are made, and only now.
    definer = inspect.unwrap(function)
    is_nested = "." in definer.__qualname__ and caller.f_globals is definer.__globals__
    names = dict(caller.f_locals) if is_nested else None
    known = {}
    for parameter in ("return", leftover.name if leftover else "return"):
        with suppress(Exception):
            known[parameter] = _resolved(function, parameter, names)
    return known


def _resolved(function: Any, parameter: str, names: dict[str, Any] | None = None) -> Any:
    """The annotation of a parameter, or of what is returned, as a type."""
    signature = inspect.signature(function)
    annotation = signature.return_annotation if parameter == "return" else signature.parameters[parameter].annotation
    if annotation is inspect.Parameter.empty:
        return Any

    def bearer() -> None:
        """It has this annotation alone: others may name what only type checkers know."""

    bearer.__annotations__ = {parameter: annotation}
    return get_type_hints(bearer, inspect.unwrap(function).__globals__, names, include_extras=True)[parameter]


def _check_step(function: Any) -> None:
    problem = None
    if isinstance(function, StepFunction):
        problem = "it is a step already"
    elif isinstance(function, Workflow):
        problem = "it is a workflow, which is started and not called as a step"
    elif isinstance(function, staticmethod | classmethod):
        problem = f"it is a {type(function).__name__}; put @step below that"
    elif not callable(function):
        problem = f"it is no function but {type(function).__name__}"
    if problem:
        raise DefinitionError(f"{function!r} cannot be made a step: {problem}")
