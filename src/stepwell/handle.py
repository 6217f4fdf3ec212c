"""A run as those see it who started it: `Handle`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

from pydantic_core import to_json

from stepwell.core.codec import codec_of
from stepwell.core.status import RunStatus
from stepwell.engine.runloop import refuse_in_body
from stepwell.errors import ErrorInfo, RunCanceled, RunFailed

if TYPE_CHECKING:
    from stepwell.core.records import LogLine, Run, StepRecord
    from stepwell.store.port import Store

Out_co = TypeVar("Out_co", covariant=True)

_LOOKS: Final = ("looks at a run", "look at it in a step")
_ACTS: Final = ("acts on a run", "act on it in a step")


class Home(Protocol):
    """The app that a handle belongs to."""

    @property
    def store(self) -> Store: ...  # noqa: D102  # where the run is
    def now(self) -> float: ...  # noqa: D102  # seconds since 1970
    def acted(self) -> None: ...  # noqa: D102  # somebody has acted on a run: workers may have something to do
    async def changed(self) -> None: ...  # noqa: D102  # wait until something was written


class Handle(Generic[Out_co]):
    """A run, to follow it and to act on it. It holds no state of its own.

    Attributes:
        run_id: the run's id.
        created: whether the start that gave this handle made the run; False when its key was taken by an earlier one.
    """

    def __init__(self, home: Home, run_id: str, *, output: Any = Any, created: bool = True) -> None:
        self.run_id = run_id
        self.created = created
        self._home = home
        self._output = output

    async def result(self, timeout: float | None = None) -> Out_co:  # noqa: ASYNC109  # the public contract's
        """Wait for the run's end, and give what it returned.

        Args:
            timeout: seconds to wait; None: as long as it takes, also while the run is paused.

        Raises:
            RunFailed: with the error that it ended with.
            RunCanceled: it was canceled.
            TimeoutError: it has not ended in time. It goes on.
            RunNotFound: there is no such run.
            NotInStep: the body of a workflow calls it.
        """
        refuse_in_body("waits for the result of a run", "wait for it in a step")
        async with asyncio.timeout(timeout):
            while not (run := await self.get()).status.ended:
                await self._home.changed()
        if run.status is RunStatus.FAILED:
            raise RunFailed(run_id=run.id, workflow=run.workflow, error=run.error or ErrorInfo("Unknown", ""))
        if run.status is RunStatus.CANCELED:
            raise RunCanceled(run_id=run.id, workflow=run.workflow)
        output: Out_co = codec_of(self._output).decode(to_json(run.output).decode(), f"the output of run {self.run_id}")
        return output

    async def get(self) -> Run:
        """The run as it stands. Raises RunNotFound."""
        refuse_in_body(*_LOOKS)
        return await self._home.store.get(self.run_id)

    async def status(self) -> RunStatus:
        """Its status. Raises RunNotFound."""
        return (await self.get()).status

    async def steps(self) -> list[StepRecord]:
        """Its steps, one record an attempt, in order of their start. Raises RunNotFound."""
        refuse_in_body(*_LOOKS)
        return await self._home.store.steps(self.run_id)

    async def logs(self) -> list[LogLine]:
        """What it has said. Raises RunNotFound."""
        refuse_in_body(*_LOOKS)
        return await self._home.store.logs(self.run_id)

    async def pause(self) -> Run:
        """Stop it before its next step; the one in progress goes on to its end, and its result is kept. Pausing twice changes nothing.

        Raises:
            RunNotFound: there is no such run.
            IllegalTransition: it has ended.
        """
        refuse_in_body(*_ACTS)
        run = await self._home.store.pause(self.run_id, self._home.now())
        self._home.acted()
        return run

    async def resume(self) -> Run:
        """Let it go on where it was paused. Resuming a run that is not paused changes nothing.

        Raises:
            RunNotFound: there is no such run.
            IllegalTransition: it has ended.
        """
        refuse_in_body(*_ACTS)
        run = await self._home.store.resume(self.run_id, self._home.now())
        self._home.acted()
        return run

    async def cancel(self) -> Run:
        """End it here and now. Canceling twice changes nothing.

        Raises:
            RunNotFound: there is no such run.
            IllegalTransition: it has completed or failed.
        """
        refuse_in_body(*_ACTS)
        run = await self._home.store.cancel(self.run_id, self._home.now())
        self._home.acted()
        return run

    async def retry(self) -> Run:
        """Let a failed or canceled run go on: finished steps are kept, the failed one gets a new budget of attempts.

        Raises:
            RunNotFound: there is no such run.
            IllegalTransition: it has not failed, and was not canceled.
        """
        refuse_in_body(*_ACTS)
        run = await self._home.store.retry(self.run_id, self._home.now())
        self._home.acted()
        return run
