"""What the tests of stores write: runs, outcomes and moves, with everything filled in that a test does not care about."""

from collections.abc import Callable, Iterable
from typing import Any

from stepwell.core.failure import error_text
from stepwell.core.records import (
    Attempt,
    CancelChild,
    Claimed,
    Definition,
    Kind,
    LogEntry,
    Move,
    NewRun,
    NewWorker,
    Outcome,
    Progress,
    Run,
    RunFilter,
    StartChild,
    Started,
)
from stepwell.core.registry import Lane
from stepwell.core.status import Action, RunStatus
from stepwell.errors import ErrorInfo
from stepwell.store.port import Batch, Pin, Store

NOW = 1_800_000_000.0
LANE = Lane("default", "pay", None)
ALICE = "alice"
BOB = "bob"
CARD_DECLINED = error_text(ErrorInfo("CardDeclined", "no funds"))
STEP_FAILED = error_text(ErrorInfo("StepFailed", 'step "charge" failed', steps=("charge",)))

ALL = RunFilter()
OPERATORS = (Action.PAUSE, Action.RESUME, Action.CANCEL, Action.RETRY)

Write = Outcome | Attempt | Move | LogEntry | Progress | Started | StartChild | CancelChild


def run_id(number: int) -> str:
    """Ids grow with the number, as those of real runs do with time."""
    return f"01890000-0000-7000-8000-{number:012x}"


FIRST = run_id(1)


def new_run(number: int = 1, **changed: Any) -> NewRun:
    """Run number so-and-so, ready at once; each is a second younger than the one before."""
    created_at = changed.get("created_at", NOW + number - 10_000)
    known = {"id": run_id(number), "workflow": "pay", "version": None, "input": "null", "created_at": created_at}
    return NewRun(**{"available_at": created_at, **known, **changed})


def definition(name: str = "pay", version: str | None = None, **changed: Any) -> Definition:
    """A workflow as its worker publishes it."""
    known = {"queue": "default", "priority": 0, "timeout": None, "takes_version": False, "input_schema": "{}", "output_schema": "{}"}
    return Definition(**{"name": name, "version": version, **known, **changed})


def new_worker(worker: str = ALICE, *definitions: Definition, **changed: Any) -> NewWorker:
    """A worker of all queues."""
    known = {"name": worker, "host": "here", "pid": 7, "queues": None, "concurrency": 10, "lease": 30.0, "started_at": NOW}
    return NewWorker(**{"id": worker, "definitions": definitions, **known, **changed})


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


def started(key: str, number: int = 1, **changed: Any) -> Started:
    """An attempt that is under way."""
    return Started(**{"run": FIRST, "claim": 1, "key": key, "attempt": number, "started_at": NOW, **changed})


def start_child(number: int = 2, **changed: Any) -> StartChild:
    """Run 1 starts run 2, and awaits it."""
    child = new_run(number, **{"created_at": NOW, "parent_id": FIRST, "awaited_as": "ship", **changed.pop("new", {})})
    return StartChild(**{"run": FIRST, "claim": 1, "key": "ship", "new": child, **changed})


def cancel_child(number: int = 2, **changed: Any) -> CancelChild:
    """Run 1 does not await run 2 any more."""
    return CancelChild(**{"run": FIRST, "claim": 1, "child": run_id(number), **changed})


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
        [each for each in writes if isinstance(each, Started)],
        [each for each in writes if isinstance(each, StartChild)],
        [each for each in writes if isinstance(each, CancelChild)],
    )


def serves(*lanes: Lane) -> Callable[[Lane], Pin | None]:
    """Takes runs of these lanes, where they wait as just what they are."""
    return lambda lane: Pin(lane.version, None) if lane in lanes else None


async def claims(store: Store, worker: str = ALICE, limit: int = 10, now: float = NOW, *lanes: Lane) -> list[Claimed]:
    """What a worker claims, after all was made ready that is due."""
    await store.make_ready(now, 1_000)
    return await store.claim(worker, serves(*(lanes or (LANE,))), limit, now)


async def claim_one(store: Store, worker: str = ALICE, now: float = NOW) -> Claimed:
    """The only run that can be claimed."""
    (claimed,) = await claims(store, worker, now=now)
    return claimed


def numbers(claimed: list[Claimed]) -> list[int]:
    """Which runs these are."""
    return [int(each.id[-12:], 16) for each in claimed]


def remembered(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """What stores keep of outcomes, which is all but the claim under which they were written."""
    return [each._replace(claim=0) for each in outcomes]


async def leave(store: Store, worker: str = ALICE, now: float = NOW) -> int:
    """The worker hands its runs back, and begins anew under its old id; how many it had."""
    count = await store.hand_back(worker, now, 1_000)
    await store.register(new_worker(worker))
    return count


async def claimed_run(store: Store, **changed: Any) -> Claimed:
    """Run 1, which Alice executes."""
    await store.enqueue([new_run(**changed)])
    return await claim_one(store)


async def write(store: Store, *writes: Write, worker: str = ALICE, now: float = NOW) -> dict[tuple[str, int], RunStatus | None]:
    """One transaction."""
    return dict(await store.commit(worker, batch(*writes), now))


async def bring_to(store: Store, status: RunStatus, **changed: Any) -> None:
    """Run 1, claimed once by Alice, who keeps it for as long as the status allows."""
    await claimed_run(store, **changed)
    match status:
        case RunStatus.PENDING:
            await store.act(FIRST, Action.PAUSE, NOW)
            await store.act(FIRST, Action.RESUME, NOW)
        case RunStatus.SLEEPING:
            await write(store, move(Action.PARK, keep=True))
        case RunStatus.PAUSED:
            await store.act(FIRST, Action.PAUSE, NOW)
        case RunStatus.COMPLETED:
            await write(store, move(Action.COMPLETE))
        case RunStatus.FAILED:
            await write(store, move(Action.FAIL))
        case RunStatus.CANCELED:
            await store.act(FIRST, Action.CANCEL, NOW)
        case RunStatus.RUNNING:
            pass
    assert (await store.get(FIRST)).status is status


async def everything(store: Store, run_id: str = FIRST) -> tuple[Any, ...]:
    """All that can be seen of a run without claiming it."""
    standing = {worker: dict(await store.standing(worker, NOW)).get(run_id) for worker in (ALICE, BOB)}
    shown: Run = await store.get(run_id)
    return shown, await store.steps(run_id), await store.logs(run_id), await store.events(run_id), await store.history(run_id), standing
