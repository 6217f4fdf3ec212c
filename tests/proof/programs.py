"""Random workflow programs: made as trees, rendered as Python, so that one that fails can be read, shrunk and kept.

Every program carries one number, `x`, from step to step: what a step is called with depends on what came before it, also on who won a
race. `note` writes down what the body sees, and when.
"""

from __future__ import annotations

import random
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

SHORT = (0.005, 0.01, 0.02, 0.03)
"""Seconds that timers of programs take: close to what steps take, so that either may be first."""


@dataclass(frozen=True, slots=True)
class Node:
    """A statement. `blocks` are the statements in it, one list a branch."""

    kind: str
    blocks: tuple[tuple[Node, ...], ...] = ()
    options: dict[str, object] = field(default_factory=dict)

    def __getitem__(self, option: str) -> object:
        return self.options[option]


@dataclass(frozen=True, slots=True)
class Program:
    """A workflow body."""

    body: tuple[Node, ...]
    is_async: bool = True

    @property
    def source(self) -> str:
        return render(self)

    def __str__(self) -> str:
        return self.source


# -- making them


def generate(seed: int, *, mail: bool = False, books: bool = False) -> Program:
    """The program of this seed. `mail`: one that waits for signals and children, too. `books`: one with transactions."""
    chance = random.Random(f"program {seed}{' with mail' if mail else ''}{' with books' if books else ''}")
    is_async = chance.random() < 0.85
    maker = _Maker(chance, is_async, (_MAIL if mail else {}) | (_BOOKS if books else {}))
    return Program(maker.block(chance.randint(2, 4), 0), is_async)


_SEQUENTIAL = {
    "step": 10, "failing": 3, "flaky": 2.5, "sleep": 2, "nap": 2, "map": 1.5, "value": 1, "loop": 1, "finally": 1, "raise": 0.3,
    "context": 0.5, "continue": 0.15,
}  # fmt: skip
_CONCURRENT = {
    "gather": 4, "group": 3, "race": 3, "as_completed": 2.5, "timeout": 4, "wait_for": 3, "shield": 1, "queue": 1, "wait_all": 1,
    "gathers": 1, "spawn": 1, "semaphore": 1, "generator": 1, "event": 0.7, "callback": 0.5, "task": 0.7, "canceled": 1.2,
    "wait_timed": 1.2, "wait_for_gather": 1, "wait_for_map": 0.7,
    "condition": 0.5, "barrier": 0.5, "later": 1, "swallow": 0.7, "breathe": 0.4,
}  # fmt: skip

_MAIL = {"signal": 9, "child": 6, "begin": 1}
_BOOKS = {"book": 10, "risk": 6}

SIDE_BY_SIDE = {
    "gather": 3, "group": 3, "race": 3, "as_completed": 3, "wait_all": 3, "gathers": 4, "semaphore": 3,
    "wait_timed": 3, "wait_for_gather": 3, "barrier": 3,
}  # fmt: skip
"""Statements with branches, and how many at most."""

_AROUND_ONE = frozenset({
    "timeout", "wait_for", "shield", "loop", "finally", "spawn", "event", "generator", "callback", "task", "canceled", "later", "swallow",
})  # fmt: skip
_TIMED = frozenset({"sleep", "nap", "timeout", "wait_for", "shield", "wait_timed", "wait_for_gather", "wait_for_map", "later", "canceled"})
_DEEPEST = 4
_MOST = 16  # statements; then only the branches that were begun are filled, with steps


class _Maker:
    def __init__(self, chance: random.Random, is_async: bool, more: dict[str, int]) -> None:
        self.chance = chance
        self.is_async = is_async
        self.left = _MOST
        self.sequential = _SEQUENTIAL | more
        self.kinds = self.sequential | (_CONCURRENT if is_async else {})

    def block(self, length: int, depth: int) -> tuple[Node, ...]:
        return tuple(self.node(depth) for _ in range(length))

    def node(self, depth: int) -> Node:
        chance = self.chance
        kinds = self.kinds if depth < 2 or chance.random() < 0.25 else self.sequential
        self.left -= 1
        kind = chance.choices(list(kinds), list(kinds.values()))[0] if depth < _DEEPEST and self.left > 0 else "step"
        count = 1 if kind in _AROUND_ONE else 0
        if kind in SIDE_BY_SIDE:
            count = chance.randint(2, SIDE_BY_SIDE[kind] if depth < 2 else 2)
        blocks = tuple(self.block(chance.choice((1, 1, 2)), depth + 1) for _ in range(count))
        return Node(kind, blocks, self.options(kind, count))

    def options(self, kind: str, branches: int) -> dict[str, object]:
        chance = self.chance
        options: dict[str, object] = {"name": chance.choice("abc"), "add": chance.randint(0, 9)}
        if kind in SIDE_BY_SIDE:
            options["offsets"] = tuple(range(branches))
        if kind in _TIMED or (kind == "as_completed" and chance.random() < 0.4):
            options["seconds"] = chance.choice(SHORT) if chance.random() < 0.9 else 7200.0
        if kind in ("map", "wait_for_map"):
            options["items"], options["concurrency"] = tuple(range(chance.randint(1, 4))), chance.choice((None, 1, 2))
            options["function"] = chance.choice(("work", "work", "picky"))
        if kind in _CHOICES:
            option, values = _CHOICES[kind]
            options[option] = chance.choice(values)
        if kind == "step" and not self.is_async and chance.random() < 0.2:
            options["function"] = "blocking"
        if kind in _CHANCES:
            option, likelihood = _CHANCES[kind]
            options[option] = chance.random() < likelihood
        return options


_CHOICES: dict[str, tuple[str, tuple[object, ...]]] = {
    "step": ("function", ("work", "work", "work", "near", "plain", "stubborn")),
    "flaky": ("with", ("flaky, retry=TWICE", "flaky, retry=TWICE", "flaky, retry=RARELY", 'slow, retry=TWICE, timeout="20ms"')),
    "loop": ("times", (2, 3)),
    "value": ("of", ("random", "uuid", "now")),
    "semaphore": ("of", ("Semaphore(1)", "Lock()", "BoundedSemaphore(2)")),
    "raise": ("what", ('ValueError("by the program")', 'ExceptionGroup("by the program", [ValueError("one"), KeyError("two")])')),
    "finally": ("undo", ("", "work", "flaky")),
    "canceled": ("after", ("sleep", "step", "nothing")),
    "signal": ("timeout", (None, None, *SHORT, 7200.0)),
    "child": ("timeout", (None, None, *SHORT, 7200.0)),
}
_CHANCES: dict[str, tuple[str, float]] = {
    "group": ("failing", 0.4),
    "gather": ("failing", 0.4),
    "race": ("cancel", 0.6),
    "wait_timed": ("cancel", 0.6),
    "generator": ("closed", 0.6),
    "later": ("in_task", 0.4),
}


def kinds_in(program: Program) -> set[str]:
    """The kinds of its statements."""
    found, waiting = set(), list(program.body)
    while waiting:
        node = waiting.pop()
        found.add(node.kind)
        waiting += [inner for block in node.blocks for inner in block]
    return found


def with_switch(program: Program, seed: int) -> Program:
    """The program with one or two steps more, somewhere, that fail until a switch is turned."""
    chance = random.Random(f"switch {seed}")
    body = program.body
    for _ in range(chance.randint(1, 2)):
        switch = Node("switch", (), {"name": chance.choice("abc"), "add": chance.randint(0, 9)})
        if chance.random() < 0.4:  # what is asked for in the knowledge of the failure
            switch = Node("finally", ((switch,),), {"undo": chance.choice(("work", "flaky"))})
        body = _with_one_more(body, switch, chance)
    return replace(program, body=body)


def _with_one_more(block: tuple[Node, ...], more: Node, chance: random.Random) -> tuple[Node, ...]:
    inner = [place for place, node in enumerate(block) if node.blocks]
    if inner and chance.random() < 0.5:
        place = chance.choice(inner)
        blocks = list(block[place].blocks)
        which = chance.randrange(len(blocks))
        blocks[which] = _with_one_more(blocks[which], more, chance)
        return (*block[:place], replace(block[place], blocks=tuple(blocks)), *block[place + 1 :])
    place = chance.randint(0, len(block))
    return (*block[:place], more, *block[place:])


# -- writing them down


def _timeout(node: Node) -> str:
    return "" if node["timeout"] is None else f', timeout="{round(float(str(node["timeout"])) * 1000)}ms"'


def render(program: Program) -> str:
    """The program as Python."""
    writer = _Writer(program.is_async)
    lines = writer.lines(program.body)
    head = "async def body(step, x):" if program.is_async else "def body(step, x):"
    return "\n".join([head, *("    " + line for line in ["begun_with = x", *lines, "return x"])]) + "\n"


class _Writer:
    def __init__(self, is_async: bool) -> None:
        self.is_async = is_async
        self.wait = "await " if is_async else ""
        self.count = 0

    def fresh(self, prefix: str) -> str:
        self.count += 1
        return f"{prefix}{self.count}"

    def lines(self, block: tuple[Node, ...]) -> list[str]:
        return [line for node in block for line in _STATEMENTS[node.kind](self, node)] or ["pass"]

    def inner(self, block: tuple[Node, ...]) -> list[str]:
        return ["    " + line for line in self.lines(block)]

    def branches(self, node: Node) -> tuple[list[str], list[str]]:
        """A function for each branch, and their names."""
        lines, names = [], []
        for block in node.blocks:
            name = self.fresh("branch")
            names.append(name)
            lines += [f"async def {name}(x):", *self.inner(block), "    return x"]
        return lines, names

    @staticmethod
    def calls(node: Node, names: list[str]) -> list[str]:
        """A call of each branch, by the offsets of the node: with the same ones in another order, branches have changed places."""
        offsets = [*node["offsets"], *range(90, 90 + len(names))]  # type: ignore[misc]  # a tuple
        return [f"{name}(x + {offset})" for name, offset in zip(names, offsets, strict=False)]

    def step_(self, node: Node) -> list[str]:
        return [f'x = {self.wait}step.run("{node["name"]}", {node["function"]}, x + {node["add"]})', f'note("{node["name"]}", x)']

    def signal_(self, node: Node) -> list[str]:
        return [
            "try:",
            f'    x = (x * 3 + {self.wait}step.wait_for_signal("{node["name"]}", type=int{_timeout(node)})) % 997',
            "except TimeoutError:",
            '    note("no signal")',
            "    x = (x + 41) % 997",
            'note("signal", x)',
        ]

    def child_(self, node: Node) -> list[str]:
        """Some children fail."""
        return [
            "try:",
            f'    x = {self.wait}step.execute("c", x + {node["add"]}, name="{node["name"]}"{_timeout(node)})',
            "except (ChildFailed, TimeoutError) as failed:",
            '    note("no child", type(failed).__name__)',
            "    x = (x + number_of(failed)) % 997",
            'note("child", x)',
        ]

    def begin_(self, node: Node) -> list[str]:
        return [f'note("begins", len(({self.wait}step.start("c", x, name="{node["name"]}")).run_id))']

    def book_(self, node: Node) -> list[str]:
        return [f'x = {self.wait}step.transaction("{node["name"]}", booked, x + {node["add"]})', 'note("booked", x)']

    def risk_(self, node: Node) -> list[str]:
        return [
            "try:",
            f'    x = {self.wait}step.transaction("{node["name"]}", risky, x + {node["add"]})',
            "except StepFailed as failed:",
            '    note("not booked", failed.key, failed.error.message)',
            "    x = (x + 43) % 997",
            'note("risked", x)',
        ]

    def switch_(self, node: Node) -> list[str]:
        """Fails for good until somebody outside turns the switch."""
        return [
            f'x = {self.wait}step.define("{node["name"]}", switched, retry=Retry.never()).run(x + {node["add"]})',
            'note("switched", x)',
        ]

    def return_(self, node: Node) -> list[str]:
        return ["return x"]

    def ponder_(self, node: Node) -> list[str]:
        """The thread of a `def` body takes its time between two lines of log."""
        return ['note("ponders")', "time.sleep(0.001)", 'note("has pondered")']

    def breathe_(self, node: Node) -> list[str]:
        return ["await asyncio.sleep(0)"]

    def context_(self, node: Node) -> list[str]:
        """A step sees the context variables of its caller."""
        return ["PLACE.set(x)", f"x = {self.wait}step.run('placed', placed, x)", 'note("placed", x, PLACE.get())']

    def continue_(self, node: Node) -> list[str]:
        return ["if begun_with < 1000 and x % 3:", '    note("goes on as new")', "    raise ContinueAsNew(1000 + x % 500)"]

    def failing_(self, node: Node) -> list[str]:
        return [
            "try:",
            f'    {self.wait}step.define("{node["name"]}", fails, retry=Retry.never()).run(x + {node["add"]})',
            "except StepFailed as failed:",
            '    note("failed", failed.key, failed.error.message)',
            "    x = (x + 11) % 997",
        ]

    def flaky_(self, node: Node) -> list[str]:
        return [
            "try:",
            f'    x = {self.wait}step.define("{node["name"]}", {node["with"]}).run(x + {node["add"]})',
            "except StepFailed as failed:",
            '    note("gave up", failed.key, failed.error.message)',
            "    x = (x + 13) % 997",
            'note("flaky", x)',
        ]

    def sleep_(self, node: Node) -> list[str]:
        return [f"await asyncio.sleep({node['seconds']})", 'note("slept")'] if self.is_async else self.nap_(node)

    def nap_(self, node: Node) -> list[str]:
        name = node.options.get("called", "nap")
        return [f'{self.wait}step.sleep("{name}", "{round(float(str(node["seconds"])) * 1000)}ms")', 'note("napped")']

    @staticmethod
    def mapping(node: Node) -> str:
        items = ", ".join(f"x + {offset}" for offset in node["items"])  # type: ignore[attr-defined]  # a tuple
        return f'step.map("{node["name"]}", {node["function"]}, [{items}], concurrency={node["concurrency"]})'

    def map_(self, node: Node) -> list[str]:
        mapping = f"x = sum({self.wait}{self.mapping(node)}) % 997"
        if node["function"] != "picky":
            return [mapping, 'note("mapped", x)']
        return [
            "try:",
            "    " + mapping,
            "except StepFailed as failed:",
            '    note("no map", failed.key)',
            "    x = (x + 31) % 997",
            'note("mapped", x)',
        ]

    def wait_for_map_(self, node: Node) -> list[str]:
        return [
            "try:",
            f"    x = sum(await asyncio.wait_for({self.mapping(node)}, {node['seconds']})) % 997",
            "except (StepFailed, TimeoutError) as error:",
            "    x = (x + number_of(error)) % 997",
            'note("map in time", x)',
        ]

    def value_(self, node: Node) -> list[str]:
        value = f"{self.wait}step.{node['of']}()"
        return [f"x = (x + number_of({value})) % 997", 'note("value", x)']

    def loop_(self, node: Node) -> list[str]:
        return [f"for turn in range({node['times']}):", '    note("turn", turn)', *self.inner(node.blocks[0])]

    def finally_(self, node: Node) -> list[str]:
        lines = ["try:", *self.inner(node.blocks[0]), "finally:", '    note("finally")']
        if node["undo"]:
            lines += [
                "    try:",
                f'        x = {self.wait}step.run("undo", {node["undo"]}, x)',
                "    except StepFailed:",
                '        note("not undone")',
            ]
        return lines

    def raise_(self, node: Node) -> list[str]:
        return ["if x % 3 == 0:", '    note("raises")', f"    raise {node['what']}"]

    def gather_(self, node: Node) -> list[str]:
        lines, names = self.branches(node)
        calls = ", ".join(self.calls(node, names))
        if node["failing"]:
            calls += ", breaks(step, x), return_exceptions=True"
        return [*lines, f"x = sum(map(number_of, await asyncio.gather({calls}))) % 997", 'note("gathered", x)']

    def group_(self, node: Node) -> list[str]:
        lines, names = self.branches(node)
        group = self.fresh("group")
        tasks = [f"    {group}_tasks = ["]
        tasks += [f"        {group}.create_task({call})," for call in self.calls(node, names)]
        if node["failing"]:
            tasks.append(f"        {group}.create_task(breaks(step, x)),")
        tasks.append("    ]")
        return [
            *lines,
            "try:",
            f"    async with asyncio.TaskGroup() as {group}:",
            *("    " + line for line in tasks),
            f"    x = sum(task.result() for task in {group}_tasks) % 997",
            "except* (StepFailed, ValueError) as failed:",
            '    note("group failed", len(failed.exceptions))',
            "    x = (x + 17) % 997",
            'note("grouped", x)',
        ]

    def race_(self, node: Node) -> list[str]:
        lines, names = self.branches(node)
        race = self.fresh("race")
        calls = ", ".join(f"asyncio.ensure_future({call})" for call in self.calls(node, names))
        lines += [
            f"{race}_done, {race} = await asyncio.wait({{{calls}}}, return_when=asyncio.FIRST_COMPLETED)",
            f"for task in {race}_done:",
            "    x = (x * 3 + outcome_of(task)) % 997",
            '    note("won", x)',
        ]
        if node["cancel"]:
            lines += [f"for task in {race}:", "    task.cancel()"]
        return [
            *lines,
            f"if {race}:",
            f"    for task in (await asyncio.wait({race}))[0]:",
            "        x = (x * 3 + outcome_of(task)) % 997",
            '        note("lost", x)',
        ]

    def wait_all_(self, node: Node) -> list[str]:
        lines, names = self.branches(node)
        calls = ", ".join(f"asyncio.ensure_future({call})" for call in self.calls(node, names))
        return [
            *lines,
            f"for task in (await asyncio.wait([{calls}]))[0]:",
            "    x = (x * 3 + outcome_of(task)) % 997",
            '    note("one of all", x)',
        ]

    def gathers_(self, node: Node) -> list[str]:
        """Futures in a set: those of gather, which asyncio does not make through the loop, and those of shield."""
        lines, names = self.branches(node)
        half = len(names) // 2
        calls = self.calls(node, names)
        first, second = ", ".join(calls[:half]), ", ".join(calls[half:])
        return [
            *lines,
            f"all_of_them = [asyncio.gather({first}), asyncio.gather({second})]",
            "all_of_them += [asyncio.shield(step.run('shielded', work, x + place)) for place in range(2)]",
            "for future in (await asyncio.wait(all_of_them))[0]:",
            "    if future.exception() is None:",
            "        x = (x * 3 + sum_of(future.result())) % 997",
            '        x = await step.run("of gather", work, x)',
            '    note("one of gathers", x)',
        ]

    def as_completed_(self, node: Node) -> list[str]:
        lines, names = self.branches(node)
        calls = ", ".join(self.calls(node, names))
        return [
            *lines,
            f"for soonest in asyncio.as_completed([{calls}], timeout={node.options.get('seconds')}):",
            "    try:",
            "        x = (x * 3 + await soonest) % 997",
            "    except Exception as error:",
            "        x = (x + number_of(error)) % 997",
            '    x = await step.run("next", work, x)',
            '    note("next", x)',
        ]

    def timeout_(self, node: Node) -> list[str]:
        return [
            "try:",
            f"    async with asyncio.timeout({node['seconds']}):",
            *("    " + line for line in self.inner(node.blocks[0])),
            "except TimeoutError:",
            '    note("late")',
            "    x = (x + 23) % 997",
        ]

    def wait_for_(self, node: Node) -> list[str]:
        lines, names = self.branches(node)
        return [
            *lines,
            "try:",
            f"    x = await asyncio.wait_for({names[0]}(x), {node['seconds']})",
            "except TimeoutError:",
            '    note("too late")',
            '    x = await step.run("instead", work, x)',
            'note("waited for", x)',
        ]

    def shield_(self, node: Node) -> list[str]:
        lines, names = self.branches(node)
        inner = self.fresh("inner")
        return [
            *lines,
            f"{inner} = asyncio.ensure_future({names[0]}(x))",
            "try:",
            f"    x = await asyncio.wait_for(asyncio.shield({inner}), {node['seconds']})",
            "except TimeoutError:",
            '    x = await step.run("meanwhile", work, x)',
            '    note("meanwhile", x)',
            f"    x = (x + await {inner}) % 997",
            'note("shielded", x)',
        ]

    def spawn_(self, node: Node) -> list[str]:
        lines, names = self.branches(node)
        task = self.fresh("task")
        return [
            *lines,
            f"{task} = asyncio.create_task({names[0]}(x + 1))",
            f'{task}.add_done_callback(lambda task: note("spawned", outcome_of(task)))',
        ]

    def semaphore_(self, node: Node) -> list[str]:
        lines, names = self.branches(node)
        gate = self.fresh("gate")
        lines += [
            f"{gate} = asyncio.{node['of']}",
            f"async def in_turn_{gate}(branch):",
            f"    async with {gate}:",
            "        return await branch()",
        ]
        calls = ", ".join(f"in_turn_{gate}(lambda: {call})" for call in self.calls(node, names))
        return [*lines, f"x = sum(await asyncio.gather({calls})) % 997", 'note("in turn", x)']

    def generator_(self, node: Node) -> list[str]:
        pages = self.fresh("pages")
        return [
            f"async def {pages}(x):",
            "    try:",
            *("    " + line for line in self.inner(node.blocks[0])),
            "        yield x",
            '        yield await step.run("page", work, x)',
            '        yield await step.run("page", work, x)',
            "    finally:",
            '        note("pages closed")',
            f"async with {'contextlib.aclosing' if node['closed'] else 'contextlib.nullcontext'}({pages}(x)) as stream:",
            "    async for page in stream:",
            "        x = (x + page) % 997",
            '        note("page", x)',
            "        if x % 2:",
            "            break",
        ]

    def queue_(self, node: Node) -> list[str]:
        queue = self.fresh("queue")
        return [
            f"{queue} = asyncio.Queue(maxsize=1)",
            f"async def produce_{queue}(x):",
            "    for place in range(3):",
            f'        await {queue}.put(await step.run("make", work, x + place))',
            "    for _ in range(2):",
            f"        await {queue}.put(None)",
            "    return x",
            f"async def consume_{queue}(total):",
            f"    while (item := await {queue}.get()) is not None:",
            '        total = (total + await step.run("use", work, item)) % 997',
            '        note("used", total)',
            "    return total",
            f"x = sum(await asyncio.gather(produce_{queue}(x), consume_{queue}(1), consume_{queue}(2))) % 997",
            'note("consumed", x)',
        ]

    def event_(self, node: Node) -> list[str]:
        event = self.fresh("event")
        return [
            f"{event} = asyncio.Event()",
            f"async def waits_{event}(x):",
            f"    await {event}.wait()",
            '    return await step.run("after event", work, x)',
            f"{event}_task = asyncio.create_task(waits_{event}(x))",
            *self.lines(node.blocks[0]),
            f"{event}.set()",
            f"x = (x + await {event}_task) % 997",
            'note("event", x)',
        ]

    def task_(self, node: Node) -> list[str]:
        lines, names = self.branches(node)
        return [*lines, f"x = await asyncio.create_task({names[0]}(x))"]

    def canceled_(self, node: Node) -> list[str]:
        lines, names = self.branches(node)
        task = self.fresh("canceled")
        before = {
            "sleep": [f"await asyncio.sleep({node['seconds']})"],
            "step": ['x = await step.run("before", near, x)'],
            "nothing": [],
        }[str(node["after"])]
        return [
            *lines,
            f"{task} = asyncio.create_task({names[0]}(x + 2))",
            *before,
            f'note("cancels", {task}.cancel())',
            "try:",
            f"    x = (x + await {task}) % 997",
            "except asyncio.CancelledError:",
            "    x = (x + 37) % 997",
            "except Exception as error:",
            "    x = (x + number_of(error)) % 997",
            'note("canceled", x)',
        ]

    def wait_timed_(self, node: Node) -> list[str]:
        lines, names = self.branches(node)
        late = self.fresh("late")
        calls = ", ".join(f"asyncio.ensure_future({call})" for call in self.calls(node, names))
        lines += [
            f"{late}_done, {late} = await asyncio.wait([{calls}], timeout={node['seconds']})",
            f"for task in {late}_done:",
            "    x = (x * 3 + outcome_of(task)) % 997",
            '    note("in time", x)',
        ]
        if node["cancel"]:
            lines += [f"for task in {late}:", "    task.cancel()"]
        return [
            *lines,
            f"if {late}:",
            f"    for task in (await asyncio.wait({late}))[0]:",
            "        x = (x * 3 + outcome_of(task)) % 997",
            '        note("late", x)',
        ]

    def wait_for_gather_(self, node: Node) -> list[str]:
        lines, names = self.branches(node)
        return [
            *lines,
            "try:",
            f"    x = sum(await asyncio.wait_for(asyncio.gather({', '.join(self.calls(node, names))}), {node['seconds']})) % 997",
            "except TimeoutError:",
            '    x = await step.run("too late", work, x)',
            'note("gathered in time", x)',
        ]

    def condition_(self, node: Node) -> list[str]:
        condition = self.fresh("condition")
        return [
            f"{condition} = asyncio.Condition()",
            f"{condition}_box = []",
            f"async def take_{condition}(x):",
            f"    async with {condition}:",
            f"        await {condition}.wait_for(lambda: {condition}_box)",
            f"        x = (x + {condition}_box.pop()) % 997",
            '    note("taken", x)',
            '    return await step.run("taken", work, x)',
            f"async def give_{condition}(x):",
            "    for place in range(2):",
            '        made = await step.run("give", work, x + place)',
            f"        async with {condition}:",
            f"            {condition}_box.append(made)",
            f"            {condition}.notify()",
            "    return x",
            f"x = sum(await asyncio.gather(take_{condition}(x), take_{condition}(x + 1), give_{condition}(x))) % 997",
            'note("given", x)',
        ]

    def barrier_(self, node: Node) -> list[str]:
        lines, names = self.branches(node)
        barrier = self.fresh("barrier")
        calls = ", ".join(f"until_{barrier}(lambda: {call})" for call in self.calls(node, names))
        return [
            *lines,
            f"{barrier} = asyncio.Barrier({len(names)})",
            f"async def until_{barrier}(branch):",
            "    x = await branch()",
            f"    place = await {barrier}.wait()",
            '    note("together", place)',
            '    return await step.run("together", work, x + place)',
            f"x = sum(await asyncio.gather({calls})) % 997",
            'note("all together", x)',
        ]

    def later_(self, node: Node) -> list[str]:
        later = self.fresh("later")
        rings = f"{later}.done() or {later}.set_result(3)"
        if node["in_task"]:
            rings = f"asyncio.ensure_future(step.run('rings', work, {node['add']})).add_done_callback(lambda task: {rings})"
        return [
            f"{later} = asyncio.get_running_loop().create_future()",
            f"{later}_handle = asyncio.get_running_loop().call_later({node['seconds']}, lambda: {rings})",
            *self.lines(node.blocks[0]),
            "if x % 2:",
            f"    {later}_handle.cancel()",
            f"    {later}.done() or {later}.set_result(4)",
            f"x = (x + await {later}) % 997",
            'note("later", x)',
        ]

    def swallow_(self, node: Node) -> list[str]:
        return [
            "try:",
            *self.inner(node.blocks[0]),
            "except asyncio.CancelledError:",
            '    note("swallowed")',
            '    x = await step.run("after all", work, x)',
        ]

    def callback_(self, node: Node) -> list[str]:
        lines, names = self.branches(node)
        made = self.fresh("made")
        return [
            *lines,
            f"{made} = []",
            f"first_{made} = asyncio.create_task(step.run('first', work, x))",
            f"first_{made}.add_done_callback(lambda task: {made}.append(asyncio.ensure_future({names[0]}(x))))",
            f"x = (x + await first_{made}) % 997",
            "await asyncio.sleep(0)",
            f"x = (x + sum(map(number_of, await asyncio.gather(*{made}, return_exceptions=True)))) % 997",
            'note("from callback", x)',
        ]


_STATEMENTS: dict[str, Callable[[_Writer, Node], list[str]]] = {
    "step": _Writer.step_,
    "signal": _Writer.signal_,
    "child": _Writer.child_,
    "begin": _Writer.begin_,
    "book": _Writer.book_,
    "risk": _Writer.risk_,
    "switch": _Writer.switch_,
    "return": _Writer.return_,
    "ponder": _Writer.ponder_,
    "breathe": _Writer.breathe_,
    "context": _Writer.context_,
    "continue": _Writer.continue_,
    "failing": _Writer.failing_,
    "flaky": _Writer.flaky_,
    "sleep": _Writer.sleep_,
    "nap": _Writer.nap_,
    "map": _Writer.map_,
    "wait_for_map": _Writer.wait_for_map_,
    "value": _Writer.value_,
    "loop": _Writer.loop_,
    "finally": _Writer.finally_,
    "raise": _Writer.raise_,
    "gather": _Writer.gather_,
    "group": _Writer.group_,
    "race": _Writer.race_,
    "wait_all": _Writer.wait_all_,
    "gathers": _Writer.gathers_,
    "as_completed": _Writer.as_completed_,
    "timeout": _Writer.timeout_,
    "wait_for": _Writer.wait_for_,
    "shield": _Writer.shield_,
    "spawn": _Writer.spawn_,
    "semaphore": _Writer.semaphore_,
    "generator": _Writer.generator_,
    "queue": _Writer.queue_,
    "event": _Writer.event_,
    "task": _Writer.task_,
    "canceled": _Writer.canceled_,
    "wait_timed": _Writer.wait_timed_,
    "wait_for_gather": _Writer.wait_for_gather_,
    "condition": _Writer.condition_,
    "barrier": _Writer.barrier_,
    "later": _Writer.later_,
    "swallow": _Writer.swallow_,
    "callback": _Writer.callback_,
}


def compiled(program: Program, namespace: dict[str, object]) -> Callable[..., object]:
    """The body as a function, over these globals."""
    scope = dict(namespace)
    exec(compile(program.source, "<program>", "exec"), scope)
    body: Any = scope["body"]
    return body  # type: ignore[no-any-return]


# -- making them smaller


def smaller(program: Program) -> Iterator[Program]:
    """Every program that is this one with one thing left out."""
    for body in _smaller_block(program.body):
        if body:
            yield replace(program, body=body)


def _smaller_block(block: tuple[Node, ...]) -> Iterator[tuple[Node, ...]]:
    for place, node in enumerate(block):
        yield block[:place] + block[place + 1 :]
        for inner in node.blocks:
            yield block[:place] + inner + block[place + 1 :]
        for which, inner in enumerate(node.blocks):
            for less in _smaller_block(inner):
                blocks = (*node.blocks[:which], less, *node.blocks[which + 1 :])
                yield (*block[:place], replace(node, blocks=blocks), *block[place + 1 :])


def shrunk(program: Program, fails: Callable[[Program], bool], attempts: int = 300) -> Program:
    """A smaller program that fails still."""
    for _ in range(attempts):
        for candidate in smaller(program):
            attempts -= 1
            if attempts <= 0:
                return program
            if fails(candidate):
                program = candidate
                break
        else:
            return program
    return program


def indented(program: Program) -> str:
    return textwrap.indent(program.source, "    ")
