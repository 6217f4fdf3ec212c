"""What the tests of stores write: runs, outcomes and moves, with everything filled in that a test does not care about."""

from typing import Any

from stepwell.core.failure import error_text
from stepwell.core.records import Attempt, Claimed, Kind, LogEntry, Move, NewRun, Outcome, Progress, Run
from stepwell.core.registry import Lane
from stepwell.core.status import Action, RunStatus
from stepwell.errors import ErrorInfo
from stepwell.store.port import Batch, Store

NOW = 1_800_000_000.0
LANE = Lane("default", "pay", None)
ALICE = "alice"
BOB = "bob"
CARD_DECLINED = error_text(ErrorInfo("CardDeclined", "no funds"))
STEP_FAILED = error_text(ErrorInfo("StepFailed", 'step "charge" failed', steps=("charge",)))

Write = Outcome | Attempt | Move | LogEntry | Progress


def run_id(number: int) -> str:
    """Ids grow with the number, as those of real runs do with time."""
    return f"01890000-0000-7000-8000-{number:012x}"


FIRST = run_id(1)


def new_run(number: int = 1, **changed: Any) -> NewRun:
    """Run number so-and-so; each is a second younger than the one before."""
    known = {"id": run_id(number), "workflow": "pay", "version": None, "input": "null", "created_at": NOW + number - 1_000}
    return NewRun(**{"available_at": NOW - 500, **known, **changed})


def outcome(key: str, seq: int, **changed: Any) -> Outcome:
    """A step that has succeeded at the first attempt."""
    known = {"run": FIRST, "claim": 1, "asked": 0, "kind": Kind.FUNCTION, "ok": True, "value": '"done"', "at": NOW + seq, "mark": 0}
    return Outcome(**{"key": key, "seq": seq, "attempt": 1, "started_at": NOW + seq - 1, "python": 311, **known, **changed})


def failure(key: str, seq: int, **changed: Any) -> Outcome:
    """A step that has failed for good."""
    return outcome(key, seq, **{"ok": False, "value": CARD_DECLINED, **changed})


def attempt(key: str, number: int = 1, **changed: Any) -> Attempt:
    """An attempt that has failed."""
    known = {"run": FIRST, "claim": 1, "asked": 0, "canceled": False, "error": CARD_DECLINED, "started_at": NOW, "finished_at": NOW + 0.5}
    return Attempt(**{"key": key, "attempt": number, "due": NOW + 10.0, **known, **changed})


def line(message: str, n: int = 1, **changed: Any) -> LogEntry:
    """A line of the body."""
    known = {"run": FIRST, "claim": 1, "after": 0, "scope": "", "at": NOW + n, "level": "info", "fields": "{}", "step": None}
    return LogEntry(**{"message": message, "n": n, **known, **changed})


def progress(done: float = 1.0, **changed: Any) -> Progress:
    """One of ten."""
    return Progress(**{"run": FIRST, "claim": 1, "done": done, "total": 10.0, "message": None, **changed})


def move(action: Action, **changed: Any) -> Move:
    """A move with what such a move has with it."""
    known: dict[Action, dict[str, Any]] = {
        Action.PARK: {"due": NOW + 60.0},
        Action.WAKE: {"keep": True},
        Action.RETRY_LATER: {"due": NOW + 60.0, "attempt": 2},
        Action.COMPLETE: {"output": '"paid"'},
        Action.FAIL: {"error": CARD_DECLINED},
        Action.DIVERGE: {"error": error_text(ErrorInfo("NonDeterminism", "the code has changed"))},
        Action.CONTINUE_AS_NEW: {"input": '"again"'},
    }
    return Move(**{"run": FIRST, "claim": 1, "action": action, **known.get(action, {}), **changed})


WRITTEN_BY_WORKERS = (
    Action.PARK,
    Action.WAKE,
    Action.RETRY_LATER,
    Action.RELEASE,
    Action.CONTINUE_AS_NEW,
    Action.DIVERGE,
    Action.COMPLETE,
    Action.FAIL,
)
"""The actions of moves; the others are those of operators, and of stores themselves."""


def batch(*writes: Write) -> Batch:
    """These, by kind."""
    return Batch(
        [each for each in writes if isinstance(each, Outcome)],
        [each for each in writes if isinstance(each, Attempt)],
        [each for each in writes if isinstance(each, Move)],
        [each for each in writes if isinstance(each, LogEntry)],
        [each for each in writes if isinstance(each, Progress)],
    )


async def claim_one(store: Store, worker: str = ALICE, now: float = NOW) -> Claimed:
    """The only run that can be claimed."""
    (claimed,) = await store.claim(worker, [LANE], 10, now)
    return claimed


async def claimed_run(store: Store, **changed: Any) -> Claimed:
    """Run 1, which Alice executes."""
    await store.enqueue([new_run(**changed)])
    return await claim_one(store)


async def write(store: Store, *writes: Write, worker: str = ALICE, now: float = NOW) -> dict[tuple[str, int], RunStatus | None]:
    """One transaction."""
    return dict(await store.commit(worker, batch(*writes), now))


async def bring_to(store: Store, status: RunStatus) -> None:
    """Run 1, claimed once by Alice, who keeps it for as long as the status allows."""
    await claimed_run(store)
    match status:
        case RunStatus.PENDING:
            await store.pause(FIRST, NOW)
            await store.resume(FIRST, NOW)
        case RunStatus.SLEEPING:
            await write(store, move(Action.PARK, keep=True))
        case RunStatus.PAUSED:
            await store.pause(FIRST, NOW)
        case RunStatus.COMPLETED:
            await write(store, move(Action.COMPLETE))
        case RunStatus.FAILED:
            await write(store, move(Action.FAIL))
        case RunStatus.CANCELED:
            await store.cancel(FIRST, NOW)
        case RunStatus.RUNNING:
            pass
    assert (await store.get(FIRST)).status is status


async def everything(store: Store, run_id: str = FIRST) -> tuple[Run, Any, Any, Any]:
    """All that can be seen of a run without claiming it."""
    standing = {worker: dict(await store.standing(worker, NOW)).get(run_id) for worker in (ALICE, BOB)}
    return await store.get(run_id), await store.steps(run_id), await store.logs(run_id), standing
