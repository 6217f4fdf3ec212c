"""A run as those see it who started it: `Handle`. It holds no state: each call asks the store."""

from __future__ import annotations

import asyncio
from math import isnan
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from stepwell.core.codec import codec_of, payload_text
from stepwell.core.failure import error_from
from stepwell.core.naming import checked_signal
from stepwell.core.records import LEVELS
from stepwell.core.starting import checked_actor
from stepwell.core.status import Action, RunStatus
from stepwell.engine.runloop import refuse_in_body
from stepwell.errors import BadValue, ErrorInfo, RunCanceled, RunFailed, RunNotFound
from stepwell.store.port import ALL

if TYPE_CHECKING:
    from stepwell.core.records import Event, LogLine, Run, StepRecord
    from stepwell.home import Home
    from stepwell.store.port import Ended

Out_co = TypeVar("Out_co", covariant=True)

LOOKS: Final = ("looks at a run", "look at it in a step")
ACTS: Final = ("acts on a run", "act on it in a step")

_LINES: Final = 10_000
"""Lines of log that are fetched at once."""


class Handle(Generic[Out_co]):
    """A run, to follow it and to act on it.

    Attributes:
        run_id: the run's id.
        created: whether the start that gave this handle made the run; False when its key was taken by an earlier one.
    """

    def __init__(self, home: Home, run_id: str, *, output: Any = Any, created: bool = True) -> None:
        self.run_id = run_id
        self.created = created
        self._home = home
        self._output = output

    def __repr__(self) -> str:
        return f"<Handle {self.run_id}>"

    async def result(self, timeout: float | None = None) -> Out_co:  # noqa: ASYNC109  # the public contract's
        """Wait for the run's end, and give what it returned.

        A handle from a start gives the typed output of its workflow; one from `app.handle(run_id)` gives plain JSON values.

        Args:
            timeout: seconds to wait; None: as long as it takes, also while the run is paused. With 0 nothing is waited for.

        Raises:
            RunFailed: with the error that it ended with.
            RunCanceled: it was canceled.
            TimeoutError: it has not ended in time. It goes on.
            RunNotFound: there is no such run.
            NotInStep: the body of a workflow calls it.
        """
        refuse_in_body("waits for the result of a run", "wait for it in a step")
        ended = await self._ended(checked_wait(timeout))
        if ended.status is RunStatus.FAILED:
            error = ErrorInfo("Unknown", "") if ended.error is None else error_from(ended.error)
            raise RunFailed(run_id=self.run_id, workflow=ended.workflow, error=error)
        if ended.status is RunStatus.CANCELED:
            raise RunCanceled(run_id=self.run_id, workflow=ended.workflow)
        output: Out_co = codec_of(self._output).decode(ended.output or "null", f"the output of run {self.run_id}")
        return output

    async def _ended(self, seconds: float | None) -> Ended:
        try:
            if seconds is None:
                return await self._home.ended(self.run_id)
            if seconds > 0:
                async with asyncio.timeout(seconds):
                    return await self._home.ended(self.run_id)
        except TimeoutError:
            raise TimeoutError(f"run {self.run_id} has not ended within {seconds:g} s; it goes on") from None
        known = await self._home.store.ended([self.run_id])
        if self.run_id not in known:
            raise TimeoutError(f"run {self.run_id} has not ended yet; it goes on")
        ended = known[self.run_id]
        if ended is None:
            raise RunNotFound(self.run_id)
        return ended

    async def get(self) -> Run:
        """The run as it stands, and if it waits for a worker, why (`waiting_for`). Raises RunNotFound."""
        refuse_in_body(*LOOKS)
        (run,) = await self._home.explained([await self._home.store.get(self.run_id)])
        return run

    async def status(self) -> RunStatus:
        """Its status. Raises RunNotFound."""
        refuse_in_body(*LOOKS)
        return (await self._home.store.get(self.run_id)).status

    async def steps(self) -> list[StepRecord]:
        """Its steps, one record an attempt, in order of their start. Raises RunNotFound."""
        refuse_in_body(*LOOKS)
        return await self._home.store.steps(self.run_id)

    async def logs(self) -> list[LogLine]:
        """What it has said. Raises RunNotFound."""
        return await get_logs(self._home, self.run_id)

    async def events(self) -> list[Event]:
        """What was done to it, when and by whom. Raises RunNotFound."""
        return await get_events(self._home, self.run_id)

    async def pause(self, *, actor: str | None = None) -> Run:
        """Stop it before its next step; the one in progress goes on to its end, and its result is kept. Pausing twice changes nothing.

        Args:
            actor: who does it, to be kept with the time; see `events`.

        Raises:
            RunNotFound: there is no such run.
            IllegalTransition: it has ended.
        """
        return await self._act(Action.PAUSE, actor)

    async def resume(self, *, actor: str | None = None) -> Run:
        """Let it go on where it was paused. Resuming a run that is not paused changes nothing.

        Raises:
            RunNotFound: there is no such run.
            IllegalTransition: it has ended.
        """
        return await self._act(Action.RESUME, actor)

    async def cancel(self, *, actor: str | None = None) -> Run:
        """End it here and now. Canceling twice changes nothing.

        Raises:
            RunNotFound: there is no such run.
            IllegalTransition: it has completed or failed.
        """
        return await self._act(Action.CANCEL, actor)

    async def retry(self, *, actor: str | None = None) -> Run:
        """Let a failed or canceled run go on: finished steps are kept, the failed one gets a new budget of attempts.

        Raises:
            RunNotFound: there is no such run.
            IllegalTransition: it has not failed, and was not canceled.
        """
        return await self._act(Action.RETRY, actor)

    async def signal(self, name: str, payload: Any = None, *, actor: str | None = None) -> None:
        """Send it a signal, for `step.wait_for_signal` of its body. It is kept until it is waited for.

        Args:
            name: of the signal.
            payload: what it carries.
            actor: who sends it, to be kept with the time and the name; see `events`. Nothing is kept of it when nobody says so.

        Raises:
            RunNotFound: there is no such run.
            IllegalTransition: it has ended.
            MailboxFull: it has 10,000 signals already.
            NotSerializable, PayloadTooLarge: the payload cannot be stored.
            DefinitionError: the name can be none of a signal, or the actor none of somebody.
        """
        refuse_in_body("sends a signal", "write step.send_signal")
        home = self._home
        name, text = checked_signal(name), payload_text(payload, signal=name, limit=home.max_payload)
        await home.store.signal(self.run_id, home.new_id(), name, text, home.now(), checked_actor(actor))

    async def _act(self, action: Action, actor: str | None) -> Run:
        refuse_in_body(*ACTS)
        home = self._home
        (run,) = await home.explained([await home.store.act(self.run_id, action, home.now(), checked_actor(actor))])
        return run


def checked_wait(timeout: object) -> float | None:
    """Seconds to wait for a result. Raises TypeError: it is no number; ValueError: it is NaN."""
    if timeout is None:
        return None
    if not isinstance(timeout, int | float) or isinstance(timeout, bool):
        raise TypeError(f"the timeout of result() is a number of seconds, such as 5 or 0.5; not {type(timeout).__name__}: {timeout!r}")
    if isnan(timeout):
        raise ValueError("the timeout of result() is a number of seconds, not NaN")
    return timeout


def worse_than(level: str | None) -> tuple[str, ...] | None:
    """The levels from this one on; None: all. Raises ValueError: there is no such level."""
    if level in (None, LEVELS[0]):
        return None
    if level not in LEVELS:
        raise BadValue(f"there is no level {level!r}; there are {', '.join(LEVELS)}")
    return LEVELS[LEVELS.index(level) :]


async def get_logs(
    home: Home,
    run_id: str,
    after: int = 0,
    limit: int | None = None,
    *,
    step: str | None = None,
    levels: tuple[str, ...] | None = None,
    last: bool = False,
) -> list[LogLine]:
    """What a run has said: see `Runs.logs`."""
    refuse_in_body(*LOOKS)
    lines: list[LogLine] = []
    while True:
        portion = _LINES if limit is None else min(_LINES, limit - len(lines))
        page = await home.store.logs(run_id, after + len(lines), portion, step=step, levels=levels, last=last)
        lines = [*page, *lines] if last else [*lines, *page]
        if len(page) < portion or len(lines) == limit:
            return lines


async def get_events(home: Home, run_id: str, limit: int | None = None) -> list[Event]:
    """What was done to a run: the first `limit`, or all."""
    refuse_in_body(*LOOKS)
    return await home.store.events(run_id, ALL if limit is None else limit)
