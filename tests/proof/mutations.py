"""Rules of the engine, switched off one at a time: the proof must notice each.

A mutation is a change of the text of one function, made in memory. Where the text that it changes is not there any more, it says so:
then the rule has moved, and the mutation must move with it. `python -m tests.proof.mutations` prints what catches each, and how soon.
"""

from __future__ import annotations

import argparse
import asyncio
import inspect
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from stepwell.core import history, taking_back
from stepwell.core.history import History, Marks
from stepwell.engine.asking import Asking
from stepwell.engine.attempts import StepRunner
from stepwell.engine.committer import Committer
from stepwell.engine.due import DueTimes
from stepwell.engine.effects import Effect, Effects
from stepwell.engine.execution import Execution
from stepwell.engine.logger import _Logbook
from stepwell.engine.mailbox import Mailbox
from stepwell.engine.runloop import RunLoop
from stepwell.engine.tasks import BranchTask, NumberedFuture
from stepwell.store.memory import claiming, mailing, writing
from tests.proof import checks
from tests.proof.lives import Wrong
from tests.proof.programs import Node


@dataclass(frozen=True, slots=True)
class Change:
    """Text of one function, and what stands there instead."""

    owner: Any
    function: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Mutation:
    """A rule that is switched off."""

    rule: str
    changes: tuple[Change, ...]
    caught_by: Callable[[], object]
    """Raises `Wrong` when the rule is missing, and nothing when it is there."""
    until: tuple[int, int] | None = None
    """The first version of CPython in which there is nothing to switch off."""

    @contextmanager
    def made(self) -> Iterator[None]:
        """Without the rule."""
        before = [(change.owner, change.function, inspect.getattr_static(change.owner, change.function)) for change in self.changes]
        try:
            for change in self.changes:
                _make(change)
            yield
        finally:
            for owner, name, function in reversed(before):
                setattr(owner, name, function)


def _make(change: Change) -> None:
    function: Any = inspect.getattr_static(change.owner, change.function)
    plain = inspect.unwrap(getattr(function, "__func__", function))
    source: str = getattr(plain, "mutated_source", None) or textwrap.dedent(inspect.getsource(plain))
    if change.old not in source:
        raise LookupError(f"{plain.__qualname__} has no {change.old!r} any more: the mutation must follow the rule to where it is now")
    mutated = source.replace(change.old, change.new, 1)
    scope: dict[str, Any] = {}
    exec(
        compile("from __future__ import annotations\n" + mutated, f"<{plain.__qualname__} without a rule>", "exec"),
        plain.__globals__,
        scope,
    )
    new = scope[plain.__name__]
    getattr(new, "__func__", new).mutated_source = mutated
    setattr(change.owner, change.function, new)


def _rule(rule: str, owner: Any, function: str, *texts: str, caught_by: Callable[[], object] = checks.lives) -> Mutation:
    """`texts`: old, new, old, new."""
    changes = tuple(Change(owner, function, old, new) for old, new in zip(texts[::2], texts[1::2], strict=True))
    return Mutation(rule, changes, caught_by)


_RACES = (
    Node("sleep", (), {"seconds": 0.3}),
    *[Node("race", ((checks.signal("a"),), (checks.signal("b"),)), {"offsets": (0, 1), "cancel": True}) for _ in range(3)],
    checks.signal("a"),
    checks.signal("b"),
)
_CHILDREN = (checks.child("a", 1), checks.child("b", 2), checks.child("c", 3))

MUTATIONS = (
    # -- the gate
    _rule("an outcome is durable before it is delivered", History, "next", "if outcome.seq > self.durable and", "if False and"),
    _rule(
        "a timer is durable before it fires",
        History,
        "next",
        "if outcome.seq > self.durable and",
        "if outcome.seq > self.durable and outcome.kind != 3 and",
    ),
    _rule(
        "outcomes are delivered in the order of their numbers",
        History,
        "next",
        "outcome = gate[0]",
        "asked = [each for key in self._requests for each in gate if each.key == key and each.seq <= self.durable]\n    "
        "outcome = (asked or gate)[0]",
        "gate.popleft()",
        "gate.remove(outcome)",
    ),
    _rule(
        "one outcome is delivered at a time",
        Execution,
        "_step_body",
        "request.deliver(outcome)",
        "request.deliver(outcome)\n"
        "        while (met := history.next()) is not None:\n"
        "            loop.now = met[1].at; met[0].deliver(met[1])",
    ),
    _rule(
        "nothing is started while the gate holds an outcome",
        Execution,
        "_step_body",
        "met = history.next()",
        "self._start_held(); met = history.next()",
    ),
    _rule(
        "numbers go on after a claim",
        History,
        "__init__",
        "self.last_seq = max(self._gate[-1].seq if self._gate else 0, at_least)",
        "self.last_seq = 0",
        "self.durable = self.last_seq",
        "self.durable = self._gate[-1].seq if self._gate else 0",
    ),
    _rule("time does not go back", History, "admit", "now = self.last_at", "pass"),
    _rule(
        "an outcome whose request was canceled is passed over",
        History,
        "next",
        "if request is None or",
        "if request is None or isinstance(request, Withdrawn) or",
    ),
    _rule("a request that was canceled waits no longer", History, "withdraw", "if request is not None:", "if False:"),
    _rule("it is kept what a step was asked in the knowledge of", Asking, "step", "history.delivered, function", "0, function"),
    _rule(
        "it is kept what a timer was asked in the knowledge of", Asking, "timer", "timer.asked = run.history.delivered", "timer.asked = 0"
    ),
    # -- changed code
    _rule(
        "an outcome that is not asked for at its turn is changed code",
        History,
        "next",
        "raise Diverged(self._unasked(outcome, request))",
        "gate.popleft(); return self.next()",
        caught_by=checks.edits("a step put first", "a step renamed"),
    ),
    _rule(
        "an attempt that is not asked for is changed code",
        History,
        "caught_up",
        "not tried.evidence or",
        "True or",
        caught_by=checks.edits("a step put first", "a statement removed", "a step renamed"),
    ),
    _rule(
        "a body that returns has asked for all that is recorded",
        History,
        "ended",
        "for outcome in self._gate:",
        "for outcome in ():",
        caught_by=checks.edits("an early return"),
    ),
    _rule(
        "steps that changed places are changed code",
        History,
        "meet",
        "mark and ",
        "False and ",
        caught_by=checks.edits("branches reversed", "a branch put first"),
    ),
    _rule(
        "marks are remembered after the replay",
        History,
        "live",
        "not self._marks.suspicious",
        "True",
        caught_by=checks.edits("branches reversed"),
    ),
    _rule(
        "a corrected argument is let through",
        Marks,
        "differs",
        "home = self._home.get(mark) or self._asked.get(recorded)",
        "home = key",
        caught_by=checks.edits("another argument"),
    ),
    # -- the run's loop
    _rule("tasks are hashed by number", BranchTask, "__hash__", "-> int:", "-> int:\n    return id(self) * 2654435761 >> 16"),
    _rule(
        "futures are hashed by number",
        NumberedFuture,
        "__hash__",
        "-> int:",
        "-> int:\n    return id(self) * 2654435761 >> 16",
        caught_by=checks.of_kind("gathers"),
    ),
    _rule(
        "gatherings are hashed by number",
        vars(asyncio.tasks)["_GatheringFuture"],
        "__hash__",
        "-> int:",
        "-> int:\n    return id(future) * 2654435761 >> 16",
    ),
    _rule(
        "tasks of as_completed are numbered as they were given",
        RunLoop,
        "create_task",
        "if caller is not None and caller.f_code is _AS_COMPLETED:",
        "if caller is not None and caller.f_code is _AS_COMPLETED:\n        caller = None\n    if False:",
    ),
    _rule(
        "tasks of as_completed are stepped as they were given",
        RunLoop,
        "_create_in_as_completed",
        "self._ready.insert(len(self._ready) - 1 - after, self._ready.pop())",
        "pass",
        caught_by=checks.of_kind("as_completed"),
    ),
    Mutation(
        "what wait_for waits for is on the branch of its caller",
        (Change(RunLoop, "create_task", "branch = parent if caller is not None else parent.child()", "branch = parent.child()"),),
        checks.keys,
        until=(3, 12),
    ),
    _rule("the body's time is recorded", RunLoop, "time", "return self.now", "return __import__('time').time()"),
    _rule("what a body leaves is unwound", Execution, "_unwind", "self.loop.unwind()", "self.loop.closing = True"),
    # -- steps and timers
    _rule("a replayed timer does not fire again", DueTimes, "_is_awaited", "return self._history.awaits(what.key, what)", "return True"),
    _rule(
        "timers that are overdue come before steps that are held",
        Execution,
        "_is_caught_up",
        "if self._admit_due():",
        "if False:",
        caught_by=checks.overdue,
    ),
    _rule("a step that was canceled is not started", Execution, "_start_held", "if request.done():", "if False:"),
    _rule("a late result of a canceled step counts for nothing", StepRunner, "_attempt", "if run.over or request.done():", "if run.over:"),
    _rule("attempts are counted on", History, "tried", "_UNTRIED)", "_UNTRIED)._replace(attempts=0)"),
    _rule("failures are counted on", History, "tried", "_UNTRIED)", "_UNTRIED)._replace(failures=0)"),
    _rule("an attempt waits until it is due", History, "tried", "_UNTRIED)", "_UNTRIED)._replace(due=0.0)", caught_by=checks.due),
    _rule("a step sees its caller's context", Asking, "step", "copy_context() if", "__import__('contextvars').Context() if"),
    # -- the database
    _rule(
        "only the holder of the claim writes",
        writing,
        "_fenced",
        "if worker is None or row is None or ",
        "if row is None or False and ",
    ),
    _rule("a run that is another's is left", Execution, "stands", "self.drop()", "pass", caught_by=checks.zombies),
    _rule(
        "an answer comes after the commit",
        Committer,
        "put",
        "self._waiting.append((write, writer))",
        "self._waiting.append((write, writer))\n"
        "    if type(write) is Outcome:\n"
        "        self._loop.call_soon(writer.written, write, RunStatus.RUNNING)",
    ),
    _rule("a paused run stops", Execution, "stands", "self._stopping = True", "pass", caught_by=checks.paused),
    _rule(
        "lines of log are not lost",
        _Logbook,
        "write",
        "if (place, self._count) <= run.claimed.logged:",
        "if place <= run.claimed.logged[0]:",
        caught_by=checks.logs_of_def_bodies,
    ),
    Mutation(
        "lines of log are not repeated",
        (
            Change(_Logbook, "write", "if (place, self._count) <= run.claimed.logged:", "if False:"),
            Change(_Logbook, "write", 'LogEntry(run.id, claim, place, "",', 'LogEntry(run.id, claim, place, f"{claim}",'),
        ),
        checks.logs,
    ),
    # -- taken back
    _rule(
        "what was asked for in the knowledge of an outcome goes with it",
        history,
        "taken_back",
        "and outcome.asked < first",
        "",
        caught_by=checks.forks,
    ),
    _rule(
        "what was not asked for in the knowledge of an outcome stays",
        history,
        "taken_back",
        "outcome.asked < first",
        "outcome.seq < first",
        caught_by=checks.forks,
    ),
    _rule("a retry keeps no more than a fork", taking_back, "taken_back", "and outcome.asked < first", "", caught_by=checks.retries),
    _rule(
        "attempts that were taken back are no evidence",
        claiming,
        "_tried",
        "counts = place not in row.void",
        "counts = True",
        caught_by=checks.retries,
    ),
    _rule(
        "a signal that came to a wait which is over goes back",
        Mailbox,
        "delivered",
        "if was_awaited or outcome.kind == Kind.CHILD:",
        "if True:",
        caught_by=checks.mail_of(*_RACES),
    ),
    _rule(
        "a signal that goes back and is read by the next wait has been read",
        Mailbox,
        "delivered",
        "del signals[place]",
        "pass",
        caught_by=checks.mail_of(*_RACES),
    ),
    _rule(
        "a run that falls asleep with news unseen is awake",
        writing,
        "_move",
        "move.seen != row.news",
        "False",
        caught_by=checks.mail_of(*_CHILDREN, silent=True),
    ),
    _rule(
        "a run whose worker dies with news unread is due",
        mailing,
        "put",
        "row.due = now",
        "pass",
        caught_by=checks.mail_of(*_CHILDREN, silent=True),
    ),
    _rule(
        "a child that came too late is canceled",
        Execution,
        "_cancel_child",
        "if request.awaited:",
        "if False:",
        caught_by=checks.mail_of(checks.child("a", 2, 0.005), silent=True),
    ),
    # -- transactions
    _rule(
        "what comes after a transaction waits until it is known whether that was written",
        History,
        "next",
        "if self._reserved and self._reserved[0] < outcome.seq:",
        "if False:",
        caught_by=checks.books,
    ),
    _rule(
        "what a transaction has written waits for what comes before it",
        History,
        "next",
        "if outcome.seq > self.durable and outcome.seq not in self._apart:",
        "if outcome.seq > self.durable and not self._apart:",
        caught_by=checks.books,
    ),
    _rule(
        "a transaction takes its place by its number",
        History,
        "recorded",
        "insort(self._gate, outcome, key=_SEQ)",
        "self._gate.append(outcome)",
        caught_by=checks.books,
    ),
    _rule(
        "a transaction that failed holds up nothing",
        Effect,
        "void",
        "self._execution.history.free(self._number[0])",
        "pass",
        caught_by=checks.books,
    ),
    _rule(
        "a transaction has one number until its fate is known",
        Effect,
        "number",
        "if self._number is None:",
        "if True:",
        caught_by=checks.books,
    ),
    _rule("a transaction that nobody wants is not called", Effect, "call", "self._check_wanted()", "pass", caught_by=checks.books),
    _rule(
        "a transaction whose answer is lost is asked for again",
        Effects,
        "perform",
        "if effect.error is not None or effect.over:",
        "if True:",
        caught_by=checks.books,
    ),
    _rule("a wait is answered once", Mailbox, "take", "request.answered = True", "pass", caught_by=checks.mail),
)


def caught(mutation: Mutation) -> str | None:
    """What the proof says of the engine without this rule; None when it notices nothing."""
    with mutation.made():
        try:
            mutation.caught_by()
        except Wrong as wrong:
            return str(wrong)
    return None


def main(mutations: Iterable[Mutation] = MUTATIONS, prog: str = "python -m tests.proof.mutations", about: str | None = __doc__) -> int:
    """Print what comes of each of these."""
    parser = argparse.ArgumentParser(prog=prog, description=about)
    parser.add_argument("--rule", default="", help="only rules with this text in them")
    options = parser.parse_args()
    missed = 0
    for mutation in mutations:
        if options.rule not in mutation.rule or (mutation.until and sys.version_info >= mutation.until):
            continue
        began = time.monotonic()
        try:
            message = caught(mutation)
        except LookupError as moved:
            message = None
            print(moved)
        missed += message is None
        verdict = "NOT CAUGHT" if message is None else "caught"
        print(f"{verdict:12}{time.monotonic() - began:6.2f} s  {mutation.rule}: {(message or '')[:90]!r}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
