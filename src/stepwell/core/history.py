"""Decides what is delivered to a run's body next, and when its code no longer fits what is recorded.

Pure: knows nothing of databases, loops or time. A run is a function of its recorded outcomes, by these rules:

1. Whatever enters the body from outside is an *outcome*: a step's result or final failure, a timer that fired. It gets the run's
   next number when it arrives (`admit`), and is written before the body sees it. Nothing else is needed to replay: no row for a
   timer that was set, a step that was started, a task, a cancellation.
2. Outcomes are delivered in the order of their numbers, one at a time, each when the body is quiescent (it has nothing left to do).
   Recorded and live ones wait in the same gate. Numbers may have gaps (a write that was lost); none is used twice.
3. What the body asks for (`meet`) is named by its branch. While the gate holds a durable outcome, nothing asked for is started.
4. The body asked for an outcome before it was recorded, in a state that only smaller numbers led to. So when a recorded outcome's
   turn has come, its key has been asked for, or the code has changed. The same goes for attempts when the gate is first empty.
5. An outcome whose requester is gone (canceled by the body) is passed over; that it had been asked for is what counts.
6. What a step writes in a transaction of its own is written apart from all other outcomes, so it may be durable before smaller numbers
   are, and after greater ones. Its number is taken first (`reserve`), and holds up all greater ones until it is known whether it was
   written (`recorded`) or not (`free`). A crash in between loses nothing: nobody has seen what comes after it.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from operator import attrgetter
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from stepwell.core.naming import BODY
from stepwell.core.records import Kind, Outcome, Tried

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Request(Protocol):
    """What a body waits for."""

    @property
    def kind(self) -> Kind: ...  # noqa: D102  # of the outcome that it takes

    def deliver(self, outcome: Outcome) -> None:
        """Hand the outcome to the body."""


class Withdrawn:
    """Stands for a request that the body has canceled: an outcome recorded or on its way is passed over at its turn."""

    __slots__ = ("kind",)

    def __init__(self, kind: Kind) -> None:
        self.kind = kind

    def deliver(self, outcome: Outcome) -> None:
        """Nobody waits for it any more."""


_SEQ: Final = attrgetter("seq")
_TRIED: Final = (Kind.FUNCTION, Kind.CHILD)  # what has attempts
_WITHDRAWN: Final = {kind: Withdrawn(kind) for kind in Kind}
_UNTRIED: Final = Tried(0, 0, 0.0)
_NUMBERED: Final = (Kind.SIGNAL, Kind.CHILD)  # their marks are numbers of signals


class Diverged(Exception):  # not an error of the library's users: the engine makes a NonDeterminism of it
    """The code asks for other things than what is recorded. Nothing has been run again."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.what)
        self.finding = finding


class Finding(NamedTuple):
    """What does not fit: the material of an explanation."""

    what: str
    """One sentence."""
    key: str
    """The recorded step that the code does not account for."""
    before: tuple[str, ...]
    """The outcomes delivered last, oldest first."""
    after: tuple[str, ...]
    """The recorded ones that would have come next."""
    asked_instead: tuple[str, ...]
    """What the code asks for that is not recorded."""
    python: int | None
    """The interpreter that recorded it, where known: 311."""


class History:
    """The outcomes of one run, recorded and live, and what its body has asked for so far."""

    __slots__ = (
        "_apart",
        "_gate",
        "_marks",
        "_recent",
        "_requests",
        "_reserved",
        "_tried",
        "changed_arguments",
        "delivered",
        "durable",
        "last_at",
        "last_seq",
        "replaying",
    )

    def __init__(self, outcomes: Iterable[Outcome], tried: Mapping[str, Tried], started_at: float, at_least: int = 0) -> None:
        self._gate: deque[Outcome] = deque(sorted(outcomes, key=_SEQ))
        self._requests: dict[str, Request | None] = {}  # all keys ever asked for; None once delivered
        self._tried = tried
        self._marks = Marks(self._gate) if self._gate else None
        self._recent: tuple[Outcome | None, Outcome | None] = (None, None)  # the last of the recorded ones, for explanations
        self.changed_arguments: list[str] = []
        """Recorded steps that are now called with other arguments, since somebody last looked."""
        self.delivered = 0
        """The number of the last outcome that was delivered."""
        self.last_seq = max(self._gate[-1].seq if self._gate else 0, at_least)
        self.durable = self.last_seq
        """Outcomes up to this number are written; whoever writes them answers in their order."""
        self.last_at = self._gate[-1].at if self._gate else started_at
        self._apart: tuple[int, ...] = ()  # numbers of outcomes that are written, whatever `durable` says
        self._reserved: tuple[int, ...] = ()  # in order; whether they are written is not known
        self.replaying = True
        """Until all that is recorded has been delivered. Also for a run that has no history, so there is one way only."""

    @property
    def waiting(self) -> bool:
        """Whether there is an outcome that was not delivered yet, recorded or on its way to the database."""
        return bool(self._gate)

    # -- what the body asks for

    def meet(self, key: str, request: Request, mark: int = 0) -> None:
        """The body asks for `key`. `mark` is a hash of the arguments, 0 where there are none.

        Arguments that differ from the recorded ones are an edit that need not be judged (a corrected text). But when what was recorded
        for one step is now given to another of the same name, the steps have changed places and results would go to the wrong ones.
        """
        self._requests[key] = request
        marks = self._marks
        if mark and marks is not None and marks.recorded.get(key) != mark:
            marks.differs(key, mark, self)

    def has(self, key: str) -> bool:
        """Whether an outcome of this key waits for its turn."""
        return any(outcome.key == key for outcome in self._gate)

    @property
    def writing(self) -> bool:
        """Whether there is an outcome on its way to the database."""
        return bool(self._reserved) or any(outcome.seq > self.durable and outcome.seq not in self._apart for outcome in self._gate)

    def withdraw(self, key: str) -> None:
        """The body has canceled what it asked for."""
        request = self._requests[key]
        if request is not None:
            self._requests[key] = _WITHDRAWN[request.kind]

    def awaits(self, key: str, request: Request) -> bool:
        """Whether this request still waits: it was neither delivered nor canceled."""
        return self._requests[key] is request

    def request(self, key: str) -> Request | None:
        """Who has asked for `key` and waits for it still."""
        request = self._requests.get(key)
        return None if isinstance(request, Withdrawn) else request

    def tried(self, key: str) -> Tried:
        """What is known of earlier attempts of this step."""
        return self._tried.get(key, _UNTRIED)

    # -- what comes in

    def admit(
        self,
        run: str,
        claim: int,
        key: str,
        asked: int,
        kind: Kind,
        ok: bool,
        value: str | None,
        now: float,
        mark: int,
        attempt: int,
        started_at: float,
        python: int,
        child: str | None = None,
    ) -> Outcome:
        """Something came to pass: give it its place in the order of the run. It is to be written, then marked durable."""
        self.last_seq = seq = self.last_seq + 1
        if now > self.last_at:
            self.last_at = now
        else:
            now = self.last_at
        # As Outcome(...) does it, at half the price: there is one a step.
        outcome = tuple.__new__(Outcome, (run, claim, key, seq, asked, kind, ok, value, now, mark, attempt, started_at, python, child))
        self._gate.append(outcome)
        return outcome

    def retract(self, seq: int) -> None:
        """The outcome of this number was not written and will not be. Its number stays unused."""
        self._gate = deque(outcome for outcome in self._gate if outcome.seq != seq)

    def reserve(self, now: float) -> tuple[int, float]:
        """The next number, and its time, for an outcome that is written apart: `recorded` or `free` has to follow."""
        self.last_seq = seq = self.last_seq + 1
        self.last_at = max(self.last_at, now)
        self._reserved = (*self._reserved, seq)
        return seq, self.last_at

    def recorded(self, outcome: Outcome) -> None:
        """The outcome of a reserved number is written. It takes its place in the order of the run."""
        self.free(outcome.seq)
        self._apart = (*self._apart, outcome.seq)
        insort(self._gate, outcome, key=_SEQ)

    def free(self, seq: int) -> None:
        """Nothing is written under this reserved number, and nothing will be: it stays unused."""
        self._reserved = tuple(each for each in self._reserved if each != seq)

    # -- what goes out

    def next(self) -> tuple[Request, Outcome] | None:
        """What to deliver now that the body is quiescent; None when there is nothing, or it is not durable yet.

        Raises:
            Diverged: the code has not asked for what is recorded.
        """
        marks = self._marks
        if marks is not None and marks.moved is not None:
            raise Diverged(self._moved(*marks.moved))
        gate = self._gate
        if not gate:
            return None
        outcome = gate[0]
        if outcome.seq > self.durable and outcome.seq not in self._apart:
            return None
        if self._reserved and self._reserved[0] < outcome.seq:
            return None
        key = outcome.key
        request = self._requests.get(key)
        if request is None or request.kind != outcome.kind:
            raise Diverged(self._unasked(outcome, request))
        gate.popleft()
        self._requests[key] = None
        self.delivered = outcome.seq
        if self._apart:
            self._apart = tuple(seq for seq in self._apart if seq > outcome.seq)
        if self.replaying:
            self._recent = (self._recent[1], outcome)
        return request, outcome

    def caught_up(self) -> None:
        """Everything recorded has been delivered and the body is quiescent: what else is known must have been asked for.

        Raises:
            Diverged: a step was tried that the code no longer asks for.
        """
        requests = self._requests
        for key, tried in self._tried.items():
            if not tried.evidence or key == BODY:
                continue
            request = requests.get(key)
            if key not in requests:
                raise Diverged(self._finding(f"step {key!r} was tried {_times(tried.attempts)}, and the code does not ask for it", key))
            if request is not None and request.kind not in _TRIED:
                what = f"step {key!r} was tried {_times(tried.attempts)}, and the code asks for a {request.kind.word} of that name"
                raise Diverged(self._finding(what, key))

    def ended(self) -> None:
        """The body has returned. Outcomes may be left that it asked for and did not await, but none that it never asked for.

        Raises:
            Diverged: the code ended before it had asked for all that is recorded.
        """
        marks = self._marks
        if marks is not None and marks.moved is not None:
            raise Diverged(self._moved(*marks.moved))
        for outcome in self._gate:
            if outcome.seq > self.durable:
                break
            request = self._requests.get(outcome.key)
            if outcome.key not in self._requests:
                what = f"{_named(outcome)} is recorded, and the code returns without asking for it"
                raise Diverged(self._finding(what, outcome.key, outcome))
            if request is not None and request.kind != outcome.kind:
                raise Diverged(self._unasked(outcome, request))
        if self.replaying:
            self.caught_up()

    def live(self) -> None:
        """Replay is over: what is asked for from now on has no recorded outcome."""
        self.replaying = False
        if self._marks is None or not self._marks.suspicious:
            self._marks, self._recent = None, (None, None)

    def dispose(self) -> None:
        """Let go of all requests."""
        self._requests.clear()

    # -- what to say of a divergence

    def _unasked(self, outcome: Outcome, request: Request | None) -> Finding:
        if request is not None:
            what = f"{_named(outcome)} is recorded, and the code asks for a {request.kind.word} of that name"
        elif outcome.key in self._requests:
            what = f"{_named(outcome)} is recorded a second time"
        else:
            what = f"{_named(outcome)} is recorded, and the code does not ask for it"
        return self._finding(what, outcome.key, outcome)

    def _moved(self, key: str, home: str) -> Finding:
        what = f"step {key!r} and step {home!r} have changed places: what was recorded for the one is now asked for by the other"
        return self._finding(what, key)

    def _finding(self, what: str, key: str, outcome: Outcome | None = None) -> Finding:
        recorded = {each.key for each in self._gate}
        upcoming = [each for each in self._gate if (outcome is None or each.seq > outcome.seq) and each.seq <= self.durable]
        return Finding(
            what=what,
            key=key,
            before=tuple(_named(each) for each in self._recent if each is not None),
            after=tuple(_named(each) for each in upcoming[:2]),
            asked_instead=tuple(
                f"{request.kind.word} {each!r}"
                for each, request in self._requests.items()
                if request is not None and not isinstance(request, Withdrawn) and each not in recorded
            )[:5],
            python=outcome.python if outcome else None,
        )


class Marks:
    """Finds same-named steps that have changed places, by what they are called with: the keys alone cannot tell.

    A swap is seen when the second of the two steps is asked for. Where the first was the last one recorded, that is after the replay;
    so marks that were seen to differ are kept in mind until the run leaves memory.
    """

    __slots__ = ("_asked", "_edited", "_home", "moved", "recorded")

    def __init__(self, outcomes: Iterable[Outcome]) -> None:
        self.recorded = {outcome.key: outcome.mark for outcome in outcomes if outcome.mark and outcome.kind not in _NUMBERED}
        self._home: dict[int, str] | None = None  # mark → where it is recorded; made when the first difference is seen
        self._asked: dict[int, str] = {}  # by keys that are not recorded
        self._edited: dict[int, str] = {}  # recorded mark → its key, which is now called with something else
        self.moved: tuple[str, str] | None = None

    @property
    def suspicious(self) -> bool:
        """Whether a recorded step was called with other arguments."""
        return bool(self._edited)

    def differs(self, key: str, mark: int, history: History) -> None:
        """A step is asked for with other arguments than are recorded for its key, or it is not recorded."""
        recorded = self.recorded.get(key)
        if recorded is None:
            home = self._edited.get(mark)
            self._asked[mark] = key
        else:
            if self._home is None:
                self._home = {mark: key for key, mark in self.recorded.items()}
            home = self._home.get(mark) or self._asked.get(recorded)
            self._edited[recorded] = key
            history.changed_arguments.append(key)
        if home is not None and self.moved is None:
            self.moved = (key, home)


def taken_back(outcomes: Iterable[Outcome], keys: Iterable[str]) -> tuple[list[Outcome], int]:
    """What stays of a history when the outcomes of these keys are taken back (retry of a failed run, fork), and the first number taken.

    All goes that the body asked for in the knowledge of one of them; the rest stays, also what came later. So what stays is again a
    history that the code can have led to. Attempts stay likewise, when `asked` is below the number returned and their key is not taken.
    """
    outcomes = list(outcomes)
    keys = set(keys)
    first = min((outcome.seq for outcome in outcomes if outcome.key in keys), default=None)
    if first is None:
        return outcomes, max((outcome.seq for outcome in outcomes), default=0) + 1
    return [outcome for outcome in outcomes if outcome.key not in keys and outcome.asked < first], first


def _named(outcome: Outcome) -> str:
    return f"{Kind(outcome.kind).word} {outcome.key!r}"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
