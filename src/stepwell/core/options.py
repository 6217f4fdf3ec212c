"""What `@workflow` takes besides numbers and names: schedules, and limits across all workers. Records and checks them, no more."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Literal, get_args, overload

from stepwell.core.cron import checked_zone
from stepwell.core.duration import Duration, parse_duration
from stepwell.core.expression import checked_expression
from stepwell.core.naming import checked_name
from stepwell.errors import DefinitionError

Overlap = Literal["allow", "skip", "cancel", "wait"]
CatchUp = Literal["latest", "all", "none"]


@dataclass(frozen=True, slots=True)
class Limit:
    """How many runs may be under way at once, across all workers.

    Attributes:
        max: how many of one key; None only takes keys in turn.
        key: what of the input runs are told apart by; without one, all runs of the workflow count together.

    Raises:
        DefinitionError: the number is below 1, or there is neither number nor key.

    Example:
        Limit(5, key=lambda input: input.tenant)
    """

    max: int | None
    key: Callable[[Any], Any] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        _checked_key(self.key, "Limit")
        if self.max is not None:
            checked_count(self.max, "the number of a Limit")
        elif self.key is None:
            raise DefinitionError("Limit(None) takes keys in turn, so it needs a key: Limit(None, key=lambda input: input.tenant)")


@dataclass(frozen=True, slots=True, init=False)
class Rate:
    """How many runs may begin within a time, across all workers.

    Attributes:
        max: how many of one key.
        per: within which time.
        key: what of the input runs are told apart by; without one, all runs of the workflow count together.

    Raises:
        DefinitionError: the number is below 1, or the time is zero.
        ValueError, TypeError: `per` is no duration.

    Example:
        Rate(100, per="1m", key=lambda input: input.tenant)
    """

    max: int
    per: timedelta
    key: Callable[[Any], Any] | None

    def __init__(self, max: int, per: Duration, *, key: Callable[[Any], Any] | None = None) -> None:
        object.__setattr__(self, "max", checked_count(max, "the number of a Rate"))
        object.__setattr__(self, "per", _some_time(per, "the time of a Rate"))
        object.__setattr__(self, "key", _checked_key(key, "Rate"))


@dataclass(frozen=True, slots=True, init=False)
class Debounce:
    """Starts that follow each other within a time become one run, with the input of the last.

    Attributes:
        delay: how long it must have been quiet before the run begins.
        key: what of the input runs are told apart by; without one, all starts of the workflow count together.

    Raises:
        DefinitionError: the time is zero.
        ValueError, TypeError: `delay` is no duration.

    Example:
        Debounce("10s", key=lambda input: input.document)
    """

    delay: timedelta
    key: Callable[[Any], Any] | None

    def __init__(self, delay: Duration, *, key: Callable[[Any], Any] | None = None) -> None:
        object.__setattr__(self, "delay", _some_time(delay, "the time of a Debounce"))
        object.__setattr__(self, "key", _checked_key(key, "Debounce"))


@dataclass(frozen=True, slots=True, init=False)
class Schedule:
    """When runs of a workflow begin by themselves: `Schedule(name, expression, …)`, or `Schedule(expression, …)`.

    Each time that it comes, a slot, makes exactly one run, however many workers there are. It fires while a worker lives that has the
    workflow. `run.scheduled_at` is the slot.

    The expression is what clocks show in the zone. Where they are changed, its field of hours decides: with some hours, such as `2` or
    `*/6`, a time that is skipped comes once right after the gap, and one that is shown twice comes the first time; with every hour, it
    comes whenever an hour has passed. When day-of-month and day-of-week are both given, either may fit; both must, if one of them begins
    with a star.

    Attributes:
        name: unique within the workflow, which gives it `workflow[expression]` where it is left out; empty until then.
        expression: five fields of cron, or six with seconds first, or `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`.
        input: a value, or a function (also async) of nothing or of the slot's time, which comes as an aware datetime in the zone. It is
            called before the run is made, perhaps more than once, and may take 30 s. If it fails, so does the run, and a retry calls it
            again.
        timezone: the zone of the expression, such as `Europe/Paris`; None is the app's.
        overlap: what happens while the last run is still going, be it paused: `allow` another beside it, `skip` the slot, `cancel` the
            last run, or `wait` for its end, which one slot does at most.
        catch_up: which slots are made up for that no worker has fired within 10 s: the `latest` of them, `all`, or `none`.
        jitter: by up to how long the beginning of each run is put off; None keeps to the time.

    Raises:
        DefinitionError: the name, the expression, the zone, `overlap` or `catch_up` cannot be, or the function takes more than the slot.
        ValueError, TypeError: `jitter` is no duration.

    Example:
        Schedule("hourly", "0 * * * *", input={"type": "incremental"}, overlap="skip")
        Schedule("nightly", "0 2 * * *", input=lambda slot: {"type": "full", "day": slot.date()}, timezone="Europe/Paris")
    """

    name: str
    expression: str
    input: Any
    timezone: str | None
    overlap: Overlap
    catch_up: CatchUp
    jitter: timedelta | None

    @overload
    def __init__(
        self,
        name: str,
        expression: str,
        *,
        input: Any = None,
        timezone: str | None = None,
        overlap: Overlap = "allow",
        catch_up: CatchUp = "latest",
        jitter: Duration | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self,
        expression: str,
        *,
        input: Any = None,
        timezone: str | None = None,
        overlap: Overlap = "allow",
        catch_up: CatchUp = "latest",
        jitter: Duration | None = None,
    ) -> None: ...
    def __init__(  # type: ignore[misc]  # the first argument is the name or, alone, the expression
        self,
        name: str | None = None,
        expression: str | None = None,
        *,
        input: Any = None,
        timezone: str | None = None,
        overlap: Overlap = "allow",
        catch_up: CatchUp = "latest",
        jitter: Duration | None = None,
    ) -> None:
        if expression is None:
            name, expression = None, name
        object.__setattr__(self, "name", "" if name is None else checked_name(name, "schedule"))
        object.__setattr__(self, "expression", checked_expression(expression))
        object.__setattr__(self, "input", _checked_input(input, self.name or self.expression))
        object.__setattr__(self, "timezone", None if timezone is None else checked_zone(timezone).key)
        object.__setattr__(self, "overlap", _one_of(get_args(Overlap), overlap, "overlap"))
        object.__setattr__(self, "catch_up", _one_of(get_args(CatchUp), catch_up, "catch_up"))
        object.__setattr__(self, "jitter", None if jitter is None else parse_duration(jitter, "the jitter of a schedule"))

    def named(self, workflow: str) -> Schedule:
        """This schedule as one of the workflow's, with a name in any case."""
        return self if self.name else replace(self, name=f"{workflow}[{self.expression}]")


def takes_slot(function: Callable[..., Any]) -> bool:
    """Whether a function of a schedule is one of the slot's time: it has a parameter that must be given."""
    return bool(_must_be_given(function))


def checked_count(value: object, what: str) -> int:
    """The whole number from 1 on that was given.

    Raises:
        DefinitionError: it is another number, or none.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise DefinitionError(f"{what} is a whole number, not {type(value).__name__}: {value!r}")
    if value < 1:
        raise DefinitionError(f"{what} is at least 1, not {value}")
    return value


def _checked_key(key: object, what: str) -> Any:
    if key is not None and not callable(key):
        raise DefinitionError(f"the key of a {what} is a function of the input, not {type(key).__name__}: {key!r}")
    return key


def _some_time(value: object, what: str) -> timedelta:
    duration = parse_duration(value, what)
    if not duration:
        raise DefinitionError(f"{what} is longer than zero")
    return duration


def _checked_input(input: Any, schedule: str) -> Any:
    needed = _must_be_given(input) if callable(input) else []
    if len(needed) > 1 or any(each.kind is each.KEYWORD_ONLY for each in needed):
        raise DefinitionError(
            f"the input function of schedule {schedule!r} takes nothing, or the slot's time; "
            f"this one needs {', '.join(each.name for each in needed)}: {input!r}"
        )
    return input


def _must_be_given(function: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (ValueError, TypeError):  # of some built-ins nobody knows
        return []
    return [each for each in parameters if each.default is each.empty and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]


def _one_of(choices: tuple[Any, ...], value: object, what: str) -> Any:
    if value not in choices:
        raise DefinitionError(f"{what} of a schedule is one of {', '.join(choices)}, not {value!r}")
    return value
