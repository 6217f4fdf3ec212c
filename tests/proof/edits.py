"""Programs that are edited between a crash and the replay: what no longer fits is found before any effect is repeated.

`python -m tests.proof.edits --seeds 200` tries them at length and prints what became of each kind.

Whether an edit must be found is not asked of the engine: the edited body is run by the oracle over what was recorded when the crash
came. If it asks for all of that in order, it must be let through; if not, the run must be paused, with nothing run at all, and go on
to the right end once the edit is undone. Arguments that merely differ are let through; a rule of its own tells them from steps that
have changed places.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from multiprocessing import get_context

from stepwell import ContinueAsNew, RunStatus
from stepwell.core.failure import error_from
from stepwell.core.naming import BODY, name_of
from stepwell.core.records import Kind, Outcome
from tests.proof.lives import Case, Lives, Universe, Wrong, in_order
from tests.proof.oracle import Asked, Impossible, Quiescent, Story, Telling, tell
from tests.proof.programs import SIDE_BY_SIDE, Node, Program, generate, indented

# -- edits of programs

Path = tuple[tuple[int, int], ...]
"""A block in a program: which statement, which of its blocks, and so on down."""

Block = tuple[Node, ...]
Edit = Callable[[Program, random.Random], Program | None]
"""The program changed somewhere; None where there is nothing to change."""

_NAMED = frozenset({"step", "failing", "flaky", "map", "wait_for_map"})
_MAPPING = frozenset({"map", "wait_for_map"})


def _blocks(block: Block, path: Path = ()) -> Iterable[tuple[Path, Block]]:
    yield path, block
    for place, node in enumerate(block):
        for which, inner in enumerate(node.blocks):
            yield from _blocks(inner, (*path, (place, which)))


def _with_block(block: Block, path: Path, new: Block) -> Block:
    if not path:
        return new
    (place, which), *rest = path
    node = block[place]
    inner = _with_block(node.blocks[which], tuple(rest), new)
    blocks = (*node.blocks[:which], inner, *node.blocks[which + 1 :])
    return (*block[:place], replace(node, blocks=blocks), *block[place + 1 :])


def _anywhere(program: Program, chance: random.Random, change: Callable[[Block, int], Block | None], *, more: int = 0) -> Program | None:
    """Change a random block at a random place; `more` places after the last statement count too."""
    places = [(path, block, place) for path, block in _blocks(program.body) for place in range(len(block) + more)]
    chance.shuffle(places)
    for path, block, place in places:
        new = change(block, place)
        if new is not None:
            return replace(program, body=_with_block(program.body, path, new))
    return None


def _one(program: Program, chance: random.Random, change: Callable[[Node], Node | None]) -> Program | None:
    """Change a random statement that can be changed so."""

    def changed(block: Block, place: int) -> Block | None:
        new = change(block[place])
        return None if new is None else (*block[:place], new, *block[place + 1 :])

    return _anywhere(program, chance, changed)


def _with(node: Node, **options: object) -> Node:
    return replace(node, options=node.options | options)


def _step(chance: random.Random) -> Node:
    return Node("step", (), {"name": chance.choice("abcz"), "function": "work", "add": chance.randint(0, 9)})


def _insert(program: Program, chance: random.Random) -> Program | None:
    return _anywhere(program, chance, lambda block, place: (*block[:place], _step(chance), *block[place:]), more=1)


def _first(make: Callable[[random.Random], Node], *, only_async: bool = False) -> Edit:
    def edit(program: Program, chance: random.Random) -> Program | None:
        if only_async and not program.is_async:
            return None
        return replace(program, body=(make(chance), *program.body))

    return edit


def _append(program: Program, chance: random.Random) -> Program:
    return replace(program, body=(*program.body, _step(chance)))


def _remove(program: Program, chance: random.Random) -> Program | None:
    return _anywhere(program, chance, lambda block, place: (*block[:place], *block[place + 1 :]))


def _remove_last(program: Program, chance: random.Random) -> Program:
    return replace(program, body=program.body[:-1])


def _return_early(program: Program, chance: random.Random) -> Program:
    place = chance.randrange(len(program.body))
    return replace(program, body=(*program.body[:place], Node("return"), *program.body[place:]))


def _rename(program: Program, chance: random.Random) -> Program | None:
    def rename(node: Node) -> Node | None:
        return _with(node, name=chance.choice([name for name in "abcz" if name != node["name"]])) if node.kind in _NAMED else None

    return _one(program, chance, rename)


def _move(program: Program, chance: random.Random) -> Program | None:
    def swap(block: Block, place: int) -> Block | None:
        if place + 1 == len(block):
            return None
        return (*block[:place], block[place + 1], block[place], *block[place + 2 :])

    return _anywhere(program, chance, swap)


def _swap_arguments(program: Program, chance: random.Random) -> Program | None:
    """Two calls of one name: each is now made with what the other was made with."""

    def swap(block: Block, place: int) -> Block | None:
        node = block[place]
        if node.kind != "step":
            return None
        for other in range(place + 1, len(block)):
            twin = block[other]
            if twin.kind == "step" and twin["name"] == node["name"] and twin["add"] != node["add"]:
                new = list(block)
                new[place], new[other] = _with(node, add=twin["add"]), _with(twin, add=node["add"])
                return tuple(new)
        return None

    return _anywhere(program, chance, swap)


def _in_order(change: Callable[[list[int], random.Random], list[int | None]]) -> Edit:
    """Change the order or number of branches or items. `None` in the order stands for a new one."""

    def edit(program: Program, chance: random.Random) -> Program | None:
        def reorder(node: Node) -> Node | None:
            if node.kind in _MAPPING:
                items: tuple[int, ...] = node["items"]  # type: ignore[assignment]
                order = change(list(range(len(items))), chance)
                return _with(node, items=tuple(50 if each is None else items[each] for each in order)) if order else None
            if node.kind not in SIDE_BY_SIDE:
                return None
            offsets: tuple[int, ...] = (*node["offsets"], *range(90, 99))  # type: ignore[misc]
            order = change(list(range(len(node.blocks))), chance)
            if not order:
                return None
            blocks = tuple((_step(chance),) if each is None else node.blocks[each] for each in order)
            return replace(_with(node, offsets=tuple(77 if each is None else offsets[each] for each in order)), blocks=blocks)

        return _one(program, chance, reorder)

    return edit


def _swapped(order: list[int], chance: random.Random) -> list[int | None]:
    if len(order) < 2:
        return []
    one, other = chance.sample(order, 2)
    order[one], order[other] = order[other], order[one]
    return [*order]


def _other_kind(program: Program, chance: random.Random) -> Program | None:
    def change(node: Node) -> Node | None:
        if node.kind in ("step", "failing"):
            name, short = node["name"], {"seconds": 0.01, "called": node["name"]}
            items = {"items": (node["add"],), "concurrency": None, "function": "work"}
            return chance.choice([
                _with(Node("nap"), name=name, **short),
                Node("value", (), {"of": "uuid"}),
                Node("map", (), {"name": name} | items),
                Node("sleep", (), {"seconds": 0.01}),
            ])  # fmt: skip
        if node.kind in ("nap", "sleep", "value"):
            called = "nap" if node.kind == "nap" else str(node.options.get("of", "nap"))
            return _with(_step(chance), name=called)
        return None

    return _one(program, chance, change)


def _wrap(program: Program, chance: random.Random) -> Program | None:
    """In a task, or in a task in a task."""
    if not program.is_async:
        return None

    def wrap(node: Node) -> Node | None:
        if node.kind in ("return", "task"):
            return None
        wrapped = Node("task", ((node,),))
        return wrapped if chance.random() < 0.6 else Node("task", ((wrapped,),))

    return _one(program, chance, wrap)


def _option(kinds: frozenset[str], option: str, values: tuple[object, ...]) -> Edit:
    def edit(program: Program, chance: random.Random) -> Program | None:
        def change(node: Node) -> Node | None:
            if node.kind not in kinds or option not in node.options:
                return None
            return _with(node, **{option: chance.choice([value for value in values if value != node[option]])})

        return _one(program, chance, change)

    return edit


_BRANCHING = frozenset(SIDE_BY_SIDE)
_ONLY_STEPS = frozenset({"step"})

EDITS: dict[str, Edit] = {
    "a step inserted": _insert,
    "a step put first": _first(_step),
    "a sleep put first": _first(lambda chance: Node("sleep", (), {"seconds": 0.01})),
    "a parallel task put first": _first(lambda chance: Node("spawn", ((_step(chance),),)), only_async=True),
    "a step appended": _append,
    "a statement removed": _remove,
    "the last statement removed": _remove_last,
    "an early return": _return_early,
    "a step renamed": _rename,
    "neighbours swapped": _move,
    "arguments swapped": _swap_arguments,
    "branches swapped": _in_order(_swapped),
    "branches reversed": _in_order(lambda order, chance: [*reversed(order)] if len(order) > 1 else []),
    "a branch put first": _in_order(lambda order, chance: [None, *order]),
    "a branch put last": _in_order(lambda order, chance: [*order, None]),
    "the first branch removed": _in_order(lambda order, chance: [*order[1:]] if len(order) > 2 else []),
    "the last branch removed": _in_order(lambda order, chance: [*order[:-1]] if len(order) > 2 else []),
    "another kind": _other_kind,
    "wrapped in a task": _wrap,
    "another argument": _option(_ONLY_STEPS, "add", tuple(range(20, 30))),
    "another function": _option(_ONLY_STEPS, "function", ("work", "near", "plain")),
    "another duration": _option(_BRANCHING | {"sleep", "nap", "timeout", "wait_for", "shield", "later"}, "seconds", (0.001, 0.015, 5.0)),
    "another concurrency": _option(_MAPPING, "concurrency", (None, 1, 2)),
    "a failing branch more or less": _option(_BRANCHING, "failing", (True, False)),
}


# -- what must become of them


@dataclass(slots=True)
class Recorded:
    """What was in the database when the process was lost."""

    outcomes: tuple[Outcome, ...]
    tried: frozenset[str]
    """Steps with attempts and no outcome."""
    arguments: dict[str, tuple[str, int]]
    """With what function and argument each step was begun."""

    @staticmethod
    def of(lives: Lives) -> Recorded:
        row = lives.row
        tried = frozenset(key for key, _ in row.attempts if key != BODY and key not in row.outcomes)
        arguments = {effect.key: (effect.function, effect.argument) for effect in lives.world.chapters[-1].effects}
        return Recorded(in_order(row.outcomes), tried, arguments)


def have_moved(asked: dict[str, Asked], outcomes: Iterable[Outcome]) -> bool:
    """Whether the argument that is recorded for one step is asked for by another of its name, in place of the step's own.

    A step is edited when it is asked for with another argument than is recorded. That is a correction, unless its new argument is what
    another one has recorded, or its recorded argument is asked for at a key that has no record.
    """
    recorded = {outcome.key: outcome.mark for outcome in outcomes if outcome.mark}
    edited = [key for key, mark in recorded.items() if key in asked and asked[key].mark not in (0, mark)]
    new = {request.mark for key, request in asked.items() if key not in recorded}
    return any(asked[key].mark in recorded.values() or recorded[key] in new for key in edited)


def _unmoved(outcomes: Iterable[Outcome]) -> Quiescent:
    def quiescent(asked: dict[str, Asked]) -> None:
        if have_moved(asked, outcomes):
            raise Impossible("steps have changed places")

    return quiescent


class Edited:
    """One run whose code was edited after its first life."""

    def __init__(self, lives: Lives, edited: Program) -> None:
        self.lives = lives
        self.edited = edited

    async def live(self) -> str:
        """The first life, which is lost; the edited one; and what follows. What became of the edit."""
        lives, case = self.lives, self.lives.case
        original = lives.program
        await lives.begin()
        if await lives.live(case.crash_at, case.after) or lives.row.status.ended:
            return "ended before"
        recorded = Recorded.of(lives)
        if not (recorded.outcomes or recorded.tried):
            return "nothing recorded"
        lives.use(self.edited)
        chapter = lives.world.chapters[-1]
        starts, effects = len(chapter.traces), len(chapter.effects)
        why = self._refused(recorded)
        await lives.live()
        try:
            return await self._verdict(recorded, starts, effects, original, why)
        except Impossible as impossible:
            raise Wrong(f"not found: {impossible}; the run is {lives.row.status}") from None

    async def _verdict(self, recorded: Recorded, starts: int, effects: int, original: Program, why: str | None) -> str:
        lives = self.lives
        chapter = lives.world.chapters[-1]
        paused = lives.row.status is RunStatus.PAUSED
        begun = chapter.effects[effects:]
        for effect in begun:
            if effect.recorded:
                raise Wrong(f"{effect.key} was run again although its outcome was recorded")
        if why is None and not paused:
            self._check_end(recorded)
            self._check_nothing_repeated(recorded, effects)
            lives.leave()
            return "let through"
        if why is None:
            if not have_moved(self._story(tuple(lives.row.outcomes.values()), Telling(exact=False)).asked, lives.row.outcomes.values()):
                raise Wrong(f"false alarm: {error_from(lives.row.error).message}")
            self._check_nothing_repeated(recorded, effects)
            lives.leave()
            return "found later"
        if not paused:
            raise Wrong(f"not found: {why}; the run is {lives.row.status}")
        if begun:
            raise Wrong(f"found, after {begun[0].key} was begun: {why}")
        if in_order(lives.row.outcomes) != recorded.outcomes:
            raise Wrong(f"found, after something was recorded: {why}")
        del chapter.traces[starts:]
        lives.use(original)
        await lives.resume()
        await lives.go_on(None, False)
        lives.leave()
        lives.check()
        return "found"

    def _story(self, outcomes: Iterable[Outcome], telling: Telling) -> Story:
        """The edited body, undisturbed."""
        lives = self.lives
        chapter = lives.world.chapters[-1]
        lives.world.only_expected = True
        try:
            return tell(lives.definition.function, chapter.argument, chapter.begun_at, sorted(outcomes, key=lambda each: each.seq), telling)
        finally:
            lives.world.only_expected = False

    def _refused(self, recorded: Recorded) -> str | None:
        """Why the edited body cannot go on with what is recorded; None when it can."""
        try:
            story = self._story(recorded.outcomes, Telling(exact=False, quiescent=_unmoved(recorded.outcomes)))
        except Impossible as impossible:
            return str(impossible)
        if story.error is not None and not isinstance(story.error, ContinueAsNew):
            return None  # a body that raises has failed, whatever it left out
        unasked = [outcome.key for outcome in story.left if outcome.key not in story.asked]
        unasked += sorted(key for key in recorded.tried if key not in story.asked or story.asked[key].kind != Kind.FUNCTION)
        return f"{unasked} are not asked for" if unasked else None

    def _check_end(self, recorded: Recorded) -> None:
        """An edit that was let through ends as it does undisturbed, from the first chapter that it was in."""
        lives = self.lives
        row, chapters = lives.row, lives.world.chapters
        if row.generation > 0:
            return  # what it went on with as new is not compared
        story = self._story(row.outcomes.values(), Telling(exact=False, quiescent=_unmoved(recorded.outcomes)))
        if row.status is RunStatus.FAILED and error_from(row.error).type == "Stuck" and not story.ended:
            return
        if not story.ended:
            raise Wrong(f"the edited run is {row.status}, and its body would still wait")
        if (story.error is None) != (row.status is RunStatus.COMPLETED) or (story.error is None and row.output != str(story.result)):
            raise Wrong(f"the edited run is {row.status} with {row.output}, and should have ended with {story.result} or {story.error!r}")
        expected = lives.world.expected
        if chapters[-1].traces[-1] != expected:
            raise Wrong(f"the edited body saw {chapters[-1].traces[-1]}, and should have seen {expected}")

    def _check_nothing_repeated(self, recorded: Recorded, effects: int) -> None:
        """No step of the same name was begun with the function and argument of one that is recorded, in its place."""
        lives = self.lives
        if lives.row.generation > 0:
            return
        asked = self._story(lives.row.outcomes.values(), Telling(exact=False)).asked
        replaced = {
            (name_of(outcome.key), *recorded.arguments[outcome.key])
            for outcome in recorded.outcomes
            if outcome.kind == Kind.FUNCTION
            and outcome.key in recorded.arguments
            and (outcome.key not in asked or asked[outcome.key].mark != outcome.mark)
        }
        for effect in lives.world.chapters[-1].effects[effects:]:
            if (name_of(effect.key), effect.function, effect.argument) in replaced:
                raise Wrong(f"{effect.key} repeats what is recorded under another key: {effect.function}({effect.argument})")


# -- trying them


@dataclass
class Tally:
    """What became of the edits."""

    counts: dict[str, Counter[str]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        for kind, counts in other.counts.items():
            self.counts.setdefault(kind, Counter()).update(counts)
        self.failures += other.failures

    @property
    def total(self) -> Counter[str]:
        return sum(self.counts.values(), Counter())


def try_edits(seeds: Iterable[int], kinds: Iterable[str] | None = None, most: int | None = None) -> Tally:
    """Each of these programs, each kind of edit at a random place, a crash at every commit; `most`: of so many at random."""
    tally = Tally()
    universe = Universe()
    for seed in seeds:
        program = generate(seed)
        commits = universe.run(program, Case(seed)).commits
        for kind in kinds or EDITS:
            chance = random.Random(f"{kind} {seed}")
            edited = EDITS[kind](program, chance)
            if edited is None or edited.source == program.source:
                continue
            boundaries = [(at, after) for at in range(1, commits + 1) for after in (False, True)]
            if most is not None and len(boundaries) > most:
                boundaries = chance.sample(boundaries, most)
            counts = tally.counts.setdefault(kind, Counter())
            for at, after in boundaries:
                case = Case(seed, at, after, again=0.0)
                try:
                    counts[universe.complete(Edited(Lives(universe.loop, program, case), edited).live())] += 1
                except Wrong as wrong:
                    counts["WRONG"] += 1
                    tally.failures.append(f"{kind}, {case}: {wrong}\n\n{indented(program)}\nedited\n\n{indented(edited)}")
                    universe.close()
                    universe = Universe()
    universe.close()
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.proof.edits", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many programs")
    parser.add_argument("--start", type=int, default=0, help="the first seed")
    parser.add_argument("--kind", choices=EDITS, default=None, help="only this kind of edit")
    parser.add_argument("--most", type=int, default=None, help="crashes for each edit at most; all of them if left out")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    began = time.monotonic()
    seeds = [range(seed, seed + 1) for seed in range(options.start, options.start + options.seeds)]
    tally, kinds = Tally(), [options.kind] if options.kind else None
    with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool:
        for part in pool.map(try_edits, seeds, [kinds] * len(seeds), [options.most] * len(seeds), chunksize=4):
            tally.add(part)
    columns = ("found", "let through", "found later", "nothing recorded", "ended before", "WRONG")
    print(f"{'':32}" + "".join(f"{column:>18}" for column in columns))
    for kind, counts in [*tally.counts.items(), ("in all", tally.total)]:
        print(f"{kind:32}" + "".join(f"{counts[column]:>18,}" for column in columns))
    print(f"{time.monotonic() - began:.1f} s")
    for failure in tally.failures[:12]:
        print(failure.partition("\n")[0])
    for failure in tally.failures[:1]:
        print("\n" + failure)
    return 1 if tally.failures else 0


if __name__ == "__main__":
    sys.exit(main())
