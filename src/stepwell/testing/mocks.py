"""What tests put in the place of steps' functions: results, errors, and failures of the first attempts. Knows no app and no run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeAlias

from stepwell.core.naming import checked_name
from stepwell.core.options import checked_count
from stepwell.engine.requests import StepRequest
from stepwell.errors import DefinitionError

Raisable: TypeAlias = BaseException | type[BaseException]

MISSING: Final[Any] = object()
"""Where None is a value."""


class _Failing(NamedTuple):
    """The next attempts of a step, which fail."""

    left: int
    error: Raisable | None


class Mocks:
    """What stands in for which step, by the step's name or its key. A key goes before a name."""

    def __init__(self) -> None:
        self._mocks: dict[str, Callable[..., Any]] = {}
        self._failing: dict[str, _Failing] = {}

    def mock(self, step: str, returns: Any, raises: Raisable | None) -> None:
        """From the next attempt on, this is called instead of the step's function. Of two for one step the later counts."""
        step = checked_name(step, "step")
        if returns is not MISSING and raises is not None:
            raise DefinitionError(f"a mock of step {step!r} either returns or raises; give one of the two")
        if raises is not None:
            self._mocks[step] = _raising(_checked_error(raises, f"what a mock of step {step!r} raises"))
        elif callable(returns):
            self._mocks[step] = returns
        else:
            self._mocks[step] = _returning(None if returns is MISSING else returns)

    def fail(self, step: str, times: int, error: Raisable | None) -> None:
        """The next `times` attempts fail. Said again, it counts anew."""
        step = checked_name(step, "step")
        if error is not None:
            _checked_error(error, f"the error of step {step!r}")
        self._failing[step] = _Failing(checked_count(times, f"how often step {step!r} fails"), error)

    def unmock(self, step: str) -> None:
        """The step's own function runs again, and fails no more than it does by itself."""
        if self._mocks.pop(step, None) is None and step not in self._failing:
            known = ", ".join(map(repr, sorted({*self._mocks, *self._failing}))) or "none is"
            raise DefinitionError(f"step {step!r} is not mocked; mocked: {known}")
        self._failing.pop(step, None)

    def clear(self) -> None:
        """Nothing is mocked."""
        self._mocks.clear()
        self._failing.clear()

    def stand_in(self, request: StepRequest) -> Callable[..., Any]:
        """What this attempt calls. See `StepRunner.stand_in`."""
        error = self._next_failure(request)
        if error is not None:
            return _raising(error)
        mocks = self._mocks
        return mocks[request.key] if request.key in mocks else mocks.get(request.name, request.function)

    def _next_failure(self, request: StepRequest) -> Raisable | None:
        for step in (request.key, request.name):
            failing = self._failing.get(step)
            if failing is not None and failing.left:
                self._failing[step] = failing._replace(left=failing.left - 1)
                said = f"attempt {request.attempt} of step {request.key!r} fails, as fail_step({step!r}) says"
                return RuntimeError(said) if failing.error is None else failing.error
        return None


def _checked_error(error: object, what: str) -> Raisable:
    if isinstance(error, BaseException) or (isinstance(error, type) and issubclass(error, BaseException)):
        return error
    raise DefinitionError(f"{what} is an exception, an object or a class; not {error!r}")


def _returning(value: Any) -> Callable[..., Any]:
    async def mock(*_: Any, **__: Any) -> Any:
        return value

    return mock


def _raising(error: Raisable) -> Callable[..., Any]:
    async def mock(*_: Any, **__: Any) -> Any:
        if isinstance(error, BaseException):
            raise error.with_traceback(None)  # without the frames of the attempt before
        raise error

    return mock
