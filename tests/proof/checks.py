"""Checks of single rules, and of the proof at small: each raises `Wrong` where the engine does not do what it must."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import count, islice

from stepwell import RunStatus
from stepwell.core import history
from stepwell.core.records import Outcome
from stepwell.core.status import Action
from stepwell.errors import ErrorInfo
from tests.proof.edits import try_edits
from tests.proof.lives import Case, Lives, Universe, Wrong, cases, in_order
from tests.proof.programs import Node, Program, generate, kinds_in, with_switch

SEEDS = 60
"""Programs that a check tries before it is content."""


def lives(seeds: Iterable[int] = range(SEEDS), most: int = 12, *, mail: bool = False, books: bool = False, **also: object) -> None:
    """Random programs, crashed at every commit."""
    with Universe() as universe:
        for seed in seeds:
            program = generate(seed, mail=mail, books=books)
            undisturbed = universe.run(program, Case(seed, mail=mail))
            for case in cases(seed, undisturbed.commits, most, mail=mail):
                universe.run(program, replace(case, **also))  # type: ignore[arg-type]


def zombies() -> None:
    """The same, of processes that only stood still, and go on beside the one that has taken their run."""
    lives(zombies=1.0)


def mail() -> None:
    """The same, of programs that wait for signals and children."""
    lives(mail=True)


def books() -> None:
    """The same, of programs with transactions."""
    lives(books=True)


def mail_of(*nodes: Node, silent: bool = False) -> Callable[[], None]:
    """The same, of one program. `silent`: nobody sends signals, so nothing else wakes the run."""

    def check() -> None:
        with Universe() as universe:
            for seed in range(20):
                undisturbed = universe.run(fixed(*nodes), Case(seed, mail=True, silent=silent))
                for case in cases(seed, undisturbed.commits, 24, mail=True):
                    universe.run(fixed(*nodes), replace(case, silent=silent))

    return check


def signal(name: str, timeout: float | None = None) -> Node:
    return Node("signal", (), {"name": name, "timeout": timeout})


def child(name: str, add: int = 0, timeout: float | None = None) -> Node:
    return Node("child", (), {"name": name, "add": add, "timeout": timeout})


def logs() -> None:
    """The same, of bodies that log."""
    lives(logs=True)


def of_kind(kind: str) -> Callable[[], None]:
    """The same, of programs with this kind of statement in them."""

    def check() -> None:
        seeds = (seed for seed in count() if kind in kinds_in(generate(seed)))
        lives(islice(seeds, SEEDS))

    return check


def logs_of_def_bodies() -> None:
    """A `def` body that logs: its lines are committed one by one, and the process may be lost between two of one place."""
    program = Program((step("a"), Node("ponder"), step("b"), Node("ponder"), step("c")), is_async=False)
    with Universe() as universe:
        for seed in range(10):
            for case in cases(seed, 12):
                universe.run(program, replace(case, logs=True, zombies=0.0))


def due() -> None:
    """A step that failed is not tried again before it is due, whatever happens to its worker."""
    program = fixed(Node("flaky", (), {"name": "a", "add": 0, "with": "flaky, retry=RARELY"}))
    with Universe() as universe:
        for seed in range(10):
            for case in cases(seed, 4):
                universe.run(program, replace(case, cold=1e9, operator=False, zombies=0.0))


def edits(*kinds: str) -> Callable[[], None]:
    """Random programs, edited in these ways between two lives."""

    def check() -> None:
        for seed in range(SEEDS):
            failures = try_edits([seed], kinds, 8).failures
            if failures:
                raise Wrong(failures[0])

    return check


def fixed(*nodes: Node) -> Program:
    return Program(nodes)


def step(name: str, function: str = "work", add: int = 0) -> Node:
    return Node("step", (), {"name": name, "function": function, "add": add})


def keys() -> None:
    """Keys do not depend on how an interpreter makes `wait_for`."""
    program = fixed(
        Node(
            "wait_for",
            ((step("a"), Node("gather", ((step("b"),), (step("c"),)), {"offsets": (0, 1), "failing": False})),),
            {"seconds": 9.0},
        )
    )
    with Universe() as universe:
        outcomes = universe.run(program, Case(0)).outcomes
    found = {outcome.key for outcome in outcomes}
    if found != {"a", "@0/b", "@1/c"}:
        raise Wrong(f"the keys are {found}")


def overdue() -> None:
    """A step whose timeout passed while no worker was there is not begun again."""
    program = fixed(Node("timeout", ((step("a"), step("b"), step("c")),), {"seconds": 0.02}), step("d"))
    with Universe() as universe:
        for seed in range(20):
            found = Lives(universe.loop, program, Case(seed, 1, after=True, again=0.0, cold=1e9))

            async def lived(run: Lives = found) -> None:
                await run.begin()
                if await run.live(1, after=True):
                    return
                await asyncio.sleep(500.0)
                before = len(run.world.effects)
                await run.live()
                again = [effect.key for effect in run.world.effects[before:] if effect.key != "d"]
                if again:
                    raise Wrong(f"{again[0]} was begun after its timeout had passed")
                run.leave()

            universe.complete(lived())


def paused() -> None:
    """After a pause, what is executing ends, and nothing more is begun until the run is resumed."""
    program = fixed(*(step(name) for name in "abcdefgh"))
    with Universe() as universe:
        for seed in range(10):
            universe.complete(_paused(Lives(universe.loop, program, Case(seed))))


async def _paused(run: Lives) -> None:
    await run.begin()
    living = run.loop.create_task(run.live())
    await asyncio.sleep(0.02)
    if run.row.status is not RunStatus.RUNNING:
        living.cancel()
        return
    await run.store.act(run.run_id, Action.PAUSE, run.clock.now())
    before = len(run.world.effects)
    await asyncio.sleep(60.0)
    if len(run.world.effects) > before + 1:  # one may begin before its worker is told
        raise Wrong(f"a paused run began {len(run.world.effects) - before} steps")
    await run.resume()
    await living
    run.leave()
    run.check()


# -- outcomes that are taken back


def retries(seeds: Iterable[int] = range(SEEDS), most: int = 6) -> int:
    """Programs that fail, are crashed on the way, and retried until they end well; how many retries there were."""
    tried = 0
    with Universe() as universe:
        for seed in seeds:
            program = with_switch(generate(seed), seed)
            first = _Retried(universe.loop, program, Case(seed, again=0.0))
            universe.complete(first.live_on())
            tried += first.taken_back
            for case in cases(seed, first.store.commits, most):
                run = _Retried(universe.loop, program, replace(case, zombies=0.0))
                universe.complete(run.live_on())
                tried += run.taken_back
    return tried


class _Retried(Lives):
    """A run whose steps depend on a switch, and whose operator retries it, at last with the switch turned."""

    async def live_on(self) -> None:
        chance, world = self.chance, self.world
        world.switched_on = False
        await self.begin()
        crash_at, after = self.case.crash_at, self.case.after
        for attempt in range(3):
            await self.go_on(crash_at, after)
            self.leave()
            self.check()
            if self.row.status is not RunStatus.FAILED or attempt == 2:
                return
            await asyncio.sleep(chance.choice((0.0, 10.0)))
            world.switched_on = attempt == 1 or chance.random() < 0.5
            await self.retry()
            crash_at = self.store.commits + chance.randint(1, 6) if chance.random() < 0.6 else None
            after = chance.random() < 0.5

    async def retry(self) -> None:
        before = in_order(self.row.outcomes)
        failed: ErrorInfo | None = (await self.store.get(self.run_id)).error
        await self.store.act(self.run_id, Action.RETRY, self.clock.now())
        self.taken_back += 1
        self.world.chapters[-1].begin_again(self.row.outcomes)
        self.check_kept(before, set(failed.steps if failed else ()))

    def check_kept(self, before: tuple[Outcome, ...], keys: set[str]) -> None:
        """As much stays as a body can have led to without these, and no more."""
        taken = [outcome for outcome in before if outcome.key in keys]
        first = min((outcome.seq for outcome in taken), default=None)
        stays = {outcome.key for outcome in before if first is None or (outcome.key not in keys and outcome.asked < first)}
        if set(self.row.outcomes) != stays:
            raise Wrong(f"{set(self.row.outcomes)} were kept, and should have been {stays}")
        self.check_prefix()


def forks(seeds: Iterable[int] = range(SEEDS), most: int = 6) -> int:
    """Each recorded outcome of a program that has ended is taken back, and a new run goes on with what stays; how many there were."""
    tried = 0
    with Universe() as universe:
        for seed in seeds:
            program = generate(seed)
            done = universe.lived(program, Case(seed))
            chapter, outcomes = done.world.chapters[-1], done.history()
            apart = max(1, len(outcomes) // most)
            for outcome in outcomes[seed % apart :: apart]:
                tried += 1
                fork = _Forked(universe.loop, program, Case(seed, again=0.3))
                universe.complete(fork.live_on_from(outcomes, outcome, chapter.argument, chapter.begun_at))
                fork.check()
    return tried


class _Forked(Lives):
    """A run that begins with a part of another's history."""

    async def live_on_from(self, outcomes: tuple[Outcome, ...], outcome: Outcome, argument: int, begun_at: float) -> None:
        kept, _ = history.taken_back(outcomes, [outcome.key])
        stays = {each.key for each in outcomes if each.key != outcome.key and each.asked < outcome.seq}
        if {each.key for each in kept} != stays:
            raise Wrong(f"{[each.key for each in kept]} are kept, and should be {stays}")
        await asyncio.sleep(100.0)
        await self.begin(argument)
        row = self.row
        row.begun_at = begun_at
        row.outcomes = {each.key: each._replace(run=self.run_id) for each in kept}
        row.numbers = {each.seq for each in kept}
        self.world.begin_with(argument, row)
        self.check_prefix()
        await self.go_on(self.store.commits + self.chance.randint(1, 6), self.chance.random() < 0.5)
        self.leave()
