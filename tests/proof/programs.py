"""Random workflow programs: made as trees, rendered as Python, so that one that fails can be read, shrunk and kept.

Every program carries one number, `x`, from step to step: what a step is called with depends on what came before it, also on who won a
race. `note` writes down what the body sees, and when.
"""

from __future__ import annotations

import random
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

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


def generate(seed: int) -> Program:
    """The program of this seed."""
    chance = random.Random(f"program {seed}")
    is_async = chance.random() < 0.85
    maker = _Maker(chance, is_async)
    return Program(maker.block(chance.randint(2, 4), 0), is_async)


_SEQUENTIAL = {"step": 10, "failing": 3, "flaky": 2, "sleep": 2, "nap": 2, "map": 1, "value": 1, "loop": 1, "finally": 1, "raise": 0.3}
_CONCURRENT = {
    "gather": 4, "group": 3, "race": 3, "as_completed": 2, "timeout": 3, "wait_for": 3, "shield": 1, "queue": 1, "wait_all": 1,
    "gathers": 1, "spawn": 1, "semaphore": 1, "generator": 1, "event": 0.7, "callback": 0.5,
}  # fmt: skip


class _Maker:
    def __init__(self, chance: random.Random, is_async: bool) -> None:
        self.chance = chance
        self.kinds = _SEQUENTIAL | (_CONCURRENT if is_async else {})

    def block(self, length: int, depth: int) -> tuple[Node, ...]:
        return tuple(self.node(depth) for _ in range(length))

    def node(self, depth: int) -> Node:
        chance = self.chance
        kinds = self.kinds if depth < 2 else _SEQUENTIAL
        kind = chance.choices(list(kinds), list(kinds.values()))[0]
        if depth >= 3:
            kind = "step"
        branches = {"gather": 3, "group": 3, "race": 3, "as_completed": 3, "wait_all": 3, "gathers": 4, "semaphore": 3, "callback": 1}
        if kind in branches:
            count = chance.randint(2, branches[kind]) if branches[kind] > 1 else 1
        else:
            count = 1 if kind in ("timeout", "wait_for", "shield", "loop", "finally", "spawn", "event", "generator") else 0
        blocks = tuple(self.block(chance.choice((1, 1, 2)), depth + 1) for _ in range(count))
        return Node(kind, blocks, self.options(kind))

    def options(self, kind: str) -> dict[str, object]:
        chance = self.chance
        options: dict[str, object] = {"name": chance.choice("abc"), "add": chance.randint(0, 9)}
        if kind in ("sleep", "nap", "timeout", "wait_for", "shield"):
            options["seconds"] = chance.choice(SHORT) if chance.random() < 0.9 else 7200.0
        if kind == "step":
            options["function"] = chance.choice(("work", "work", "work", "near", "plain"))
        if kind == "loop":
            options["times"] = chance.randint(2, 3)
        if kind == "map":
            options["items"], options["concurrency"] = chance.randint(1, 4), chance.choice((None, 1, 2))
        if kind in ("group", "gather"):
            options["failing"] = chance.random() < 0.4
        if kind == "race":
            options["cancel"] = chance.random() < 0.6
        if kind == "finally":
            options["step"] = chance.random() < 0.5
        if kind == "value":
            options["of"] = chance.choice(("random", "uuid", "now"))
        return options


# -- writing them down


def render(program: Program) -> str:
    """The program as Python."""
    writer = _Writer(program.is_async)
    lines = writer.lines(program.body)
    head = "async def body(step, x):" if program.is_async else "def body(step, x):"
    return "\n".join([head, *("    " + line for line in [*lines, "return x"])]) + "\n"


class _Writer:
    def __init__(self, is_async: bool) -> None:
        self.is_async = is_async
        self.wait = "await " if is_async else ""
        self.count = 0

    def fresh(self, prefix: str) -> str:
        self.count += 1
        return f"{prefix}{self.count}"

    def lines(self, block: tuple[Node, ...]) -> list[str]:
        return [line for node in block for line in getattr(self, "_" + node.kind)(node)] or ["pass"]

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

    def _step(self, node: Node) -> list[str]:
        call = f'{self.wait}step.run("{node["name"]}", {node["function"]}, x + {node["add"]})'
        if node.options.get("wrapped"):
            call = f'await asyncio.ensure_future(step.run("{node["name"]}", {node["function"]}, x + {node["add"]}))'
        return [f"x = {call}", f'note("{node["name"]}", x)']

    def _failing(self, node: Node) -> list[str]:
        return [
            "try:",
            f'    {self.wait}step.define("{node["name"]}", fails, retry=Retry.never()).run(x + {node["add"]})',
            "except StepFailed as failed:",
            '    note("failed", failed.key, failed.error.message)',
            "    x = (x + 11) % 997",
        ]

    def _flaky(self, node: Node) -> list[str]:
        return [
            "try:",
            f'    x = {self.wait}step.define("{node["name"]}", flaky, retry=TWICE).run(x + {node["add"]})',
            "except StepFailed as failed:",
            '    note("gave up", failed.key, failed.error.message)',
            "    x = (x + 13) % 997",
            'note("flaky", x)',
        ]

    def _sleep(self, node: Node) -> list[str]:
        return [f"await asyncio.sleep({node['seconds']})", 'note("slept")'] if self.is_async else self._nap(node)

    def _nap(self, node: Node) -> list[str]:
        return [f'{self.wait}step.sleep("nap", "{round(float(str(node["seconds"])) * 1000)}ms")', 'note("napped")']

    def _map(self, node: Node) -> list[str]:
        items = f"[x + place for place in range({node['items']})]"
        return [
            f'x = sum({self.wait}step.map("{node["name"]}", work, {items}, concurrency={node["concurrency"]})) % 997',
            'note("mapped", x)',
        ]

    def _value(self, node: Node) -> list[str]:
        value = f"{self.wait}step.{node['of']}()"
        return [f"x = (x + number_of({value})) % 997", 'note("value", x)']

    def _loop(self, node: Node) -> list[str]:
        return [f"for turn in range({node['times']}):", '    note("turn", turn)', *self.inner(node.blocks[0])]

    def _finally(self, node: Node) -> list[str]:
        lines = ["try:", *self.inner(node.blocks[0]), "finally:", '    note("finally")']
        return [*lines, f'    x = {self.wait}step.run("undo", work, x)'] if node["step"] else lines

    def _raise(self, node: Node) -> list[str]:
        return ["if x % 3 == 0:", '    note("raises")', '    raise ValueError("by the program")']

    def _gather(self, node: Node) -> list[str]:
        lines, names = self.branches(node)
        calls = ", ".join(f"{name}(x + {place})" for place, name in enumerate(names))
        if node["failing"]:
            calls += ", breaks(step, x), return_exceptions=True"
        return [*lines, f"x = sum(map(number_of, await asyncio.gather({calls}))) % 997", 'note("gathered", x)']

    def _group(self, node: Node) -> list[str]:
        lines, names = self.branches(node)
        group = self.fresh("group")
        tasks = [f"    {group}_tasks = ["]
        tasks += [f"        {group}.create_task({name}(x + {place}))," for place, name in enumerate(names)]
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

    def _race(self, node: Node) -> list[str]:
        lines, names = self.branches(node)
        race = self.fresh("race")
        calls = ", ".join(f"asyncio.ensure_future({name}(x + {place}))" for place, name in enumerate(names))
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

    def _wait_all(self, node: Node) -> list[str]:
        lines, names = self.branches(node)
        calls = ", ".join(f"asyncio.ensure_future({name}(x))" for name in names)
        return [
            *lines,
            f"for task in (await asyncio.wait([{calls}]))[0]:",
            "    x = (x * 3 + outcome_of(task)) % 997",
            '    note("one of all", x)',
        ]

    def _gathers(self, node: Node) -> list[str]:
        """Futures of gather in a set, which asyncio does not make through the loop."""
        lines, names = self.branches(node)
        half = len(names) // 2
        first = ", ".join(f"{name}(x)" for name in names[:half])
        second = ", ".join(f"{name}(x + 1)" for name in names[half:])
        return [
            *lines,
            f"for future in (await asyncio.wait([asyncio.gather({first}), asyncio.gather({second}), asyncio.gather(step.run('g', work, x))]))[0]:",
            "    if future.exception() is None:",
            "        x = (x * 3 + sum(future.result())) % 997",
            '        x = await step.run("of gather", work, x)',
            '    note("one of gathers", x)',
        ]

    def _as_completed(self, node: Node) -> list[str]:
        lines, names = self.branches(node)
        calls = ", ".join(f"{name}(x + {place})" for place, name in enumerate(names))
        return [
            *lines,
            f"for soonest in asyncio.as_completed([{calls}]):",
            "    try:",
            "        x = (x * 3 + await soonest) % 997",
            "    except (StepFailed, ValueError):",
            "        x = (x + 19) % 997",
            '    x = await step.run("next", work, x)',
            '    note("next", x)',
        ]

    def _timeout(self, node: Node) -> list[str]:
        return [
            "try:",
            f"    async with asyncio.timeout({node['seconds']}):",
            *("    " + line for line in self.inner(node.blocks[0])),
            "except TimeoutError:",
            '    note("late")',
            "    x = (x + 23) % 997",
        ]

    def _wait_for(self, node: Node) -> list[str]:
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

    def _shield(self, node: Node) -> list[str]:
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

    def _spawn(self, node: Node) -> list[str]:
        lines, names = self.branches(node)
        task = self.fresh("task")
        return [*lines, f"{task} = asyncio.create_task({names[0]}(x + 1))", f'{task}.add_done_callback(lambda task: note("spawned", outcome_of(task)))']

    def _semaphore(self, node: Node) -> list[str]:
        lines, names = self.branches(node)
        gate = self.fresh("gate")
        lines += [f"{gate} = asyncio.Semaphore(1)", f"async def in_turn_{gate}(branch, x):", f"    async with {gate}:", "        return await branch(x)"]
        calls = ", ".join(f"in_turn_{gate}({name}, x + {place})" for place, name in enumerate(names))
        return [*lines, f"x = sum(await asyncio.gather({calls})) % 997", 'note("in turn", x)']

    def _generator(self, node: Node) -> list[str]:
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
            f"async with contextlib.aclosing({pages}(x)) as stream:",
            "    async for page in stream:",
            "        x = (x + page) % 997",
            '        note("page", x)',
            "        if x % 2:",
            "            break",
        ]

    def _queue(self, node: Node) -> list[str]:
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

    def _event(self, node: Node) -> list[str]:
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

    def _callback(self, node: Node) -> list[str]:
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


def compiled(program: Program, namespace: dict[str, object]) -> Callable[..., object]:
    """The body as a function, over these globals."""
    scope = dict(namespace)
    exec(compile(program.source, "<program>", "exec"), scope)  # noqa: S102  # it was made here
    return scope["body"]  # type: ignore[return-value]


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
                blocks = node.blocks[:which] + (less,) + node.blocks[which + 1 :]
                yield block[:place] + (replace(node, blocks=blocks),) + block[place + 1 :]


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
