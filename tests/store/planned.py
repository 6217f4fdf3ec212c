"""Databases on which plans are looked at, and the plans that a worker's connection keeps for its prepared statements."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, LiteralString, Self

import psycopg
from psycopg import sql
from pydantic_core import to_json

from stepwell.core.status import Action, RunStatus
from stepwell.store.postgres.connection import PLANS, Session, compiled, connection_parameters
from stepwell.store.statements import DEFAULT_NAMESPACE, read_statements
from tests.store.making import NOW, run_id

Connection = psycopg.Connection[tuple[Any, ...]]

STATEMENTS: Final = {
    **read_statements("stepwell.store.postgres", DEFAULT_NAMESPACE, "schema"),
    **read_statements("stepwell.store.postgres", DEFAULT_NAMESPACE, "schema", file="hot.sql"),
}

WORKERS: Final = 500
"""Who owns the runs that are running: a hundred each, if there are a million."""

LANES: Final = 4
SCHEDULES: Final = 10_000


def worker_name(number: int) -> str:
    """Of one of `WORKERS`."""
    return f"worker{number:03}"


# -- rows


_RUNS: Final[LiteralString] = """
    INSERT INTO stepwell.runs (id, status, lane, workflow, version, queue, priority, head, due, worker, claim, deadline_at, created_at,
        available_at, finished_at, key, tags, parent_id, awaited_as, schedule, scheduled_at, preview)
    SELECT '01890000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'), status, 1 + n % 4, 'pay' || n % 4, 'v1', 'default', n % 3 * 5,
        CASE WHEN n % 16 < 12 THEN 0 ELSE 1 END, CASE WHEN status = 'sleeping' THEN %(now)s + n END,
        CASE WHEN status = 'running' THEN 'worker' || lpad((n / 2000)::text, 3, '0') END, CASE WHEN status = 'running' THEN 1 ELSE 0 END,
        CASE WHEN n % 50 = 0 THEN %(now)s + n END, %(now)s + n, %(now)s + n,
        CASE WHEN status IN ('completed', 'failed') THEN %(now)s + n END, CASE WHEN n % 20 = 0 THEN 'key' || n END,
        CASE WHEN n % 10 = 0 THEN '["t' || n / 10 % 100 || '"]' END,
        CASE WHEN n % 50 = 7 THEN '01890000-0000-7000-8000-' || lpad(to_hex(n - 1), 12, '0') END,
        CASE WHEN n % 50 = 7 THEN 'step' END, CASE WHEN n % 2 = 1 THEN 's' || n % 10000 END,
        CASE WHEN n % 2 = 1 THEN %(now)s + n END, 'null'
    FROM (
        SELECT n, CASE
            WHEN n % 20 < 10 THEN 'pending'
            WHEN n % 20 < 15 THEN 'completed'
            WHEN n % 20 < 18 THEN 'sleeping'
            WHEN n % 20 < 19 THEN 'running'
            ELSE 'failed'
        END AS status
        FROM generate_series(1, %(count)s) n
    ) numbers
""".replace(" % ", " %% ")
"""Half of them are ready, in four lanes with three priorities; the others have ended, sleep, or run. Half were started by schedules."""

_SCHEDULES: Final[LiteralString] = """
    INSERT INTO stepwell.schedules (workflow, name, release, digest, expression, timezone, overlap, catch_up, input, version, declared,
        next_at, last_run, changed)
    SELECT 'pay' || n % 4, 's' || n, 1, 'one', '0 * * * *', 'UTC', 'allow', 'latest', 'null', '', true, %(now)s + n,
        '01890000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'), n
    FROM generate_series(1, %(count)s) n
    ON CONFLICT DO NOTHING
""".replace(" % ", " %% ")

_SLOTS: Final[LiteralString] = """
    INSERT INTO stepwell.slots (workflow, name, slot, until, count, outcome, run, at)
    SELECT 'pay' || n % 4, 's' || n % 10000, %(now)s + n, %(now)s + n, 1, 'started', '01890000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'),
        %(now)s + n
    FROM generate_series(1, %(count)s) n
""".replace(" % ", " %% ")

_ROWS: Final[Mapping[str, LiteralString]] = {
    "inputs": "SELECT id, 'null' FROM stepwell.runs ORDER BY id",
    "outcomes": """
        SELECT id, 'charge', 1, 0, 0, true, '1', created_at, 0, 1, created_at, 311, NULL
        FROM (SELECT id, created_at FROM stepwell.runs ORDER BY id LIMIT 100000) few
    """,
    "attempts": """
        SELECT id, 'ship', 1, 2, false, NULL, created_at, created_at, NULL, false
        FROM (SELECT id, created_at FROM stepwell.runs ORDER BY id LIMIT 20000) few
    """,
    "started": "SELECT id, 'ship', 1, 1, created_at FROM (SELECT id, created_at FROM stepwell.runs ORDER BY id LIMIT 20000) few",
    "signals": "SELECT id, 1, 'one', 'go', 'null', created_at FROM (SELECT id, created_at FROM stepwell.runs ORDER BY id LIMIT 20000) few",
    "logs": """
        SELECT id, 1, '', 1, 1, created_at, 'info', 'here', '{}', NULL
        FROM (SELECT id, created_at FROM stepwell.runs ORDER BY id LIMIT 20000) few
    """,
    "tags": "SELECT tags::jsonb ->> 0, id FROM stepwell.runs WHERE tags IS NOT NULL",
}


def fill(connection: Connection, count: int) -> None:
    """Many runs with what belongs to them. Nobody analyzes them who is not told to."""
    for (table,) in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'stepwell'").fetchall():
        connection.execute(sql.SQL("ALTER TABLE stepwell.{} SET (autovacuum_enabled = off)").format(sql.Identifier(table)))
    connection.execute(_RUNS, {"now": NOW, "count": count})
    add_schedules(connection, SCHEDULES)
    connection.execute(_SLOTS, {"now": NOW, "count": count})
    for table, rows in _ROWS.items():
        connection.execute(sql.SQL("INSERT INTO stepwell.{} ").format(sql.Identifier(table)) + sql.SQL(rows))
    connection.execute(
        "INSERT INTO stepwell.events (run, subject, at, action)"
        " SELECT id, id, created_at, 'pause' FROM stepwell.runs ORDER BY id LIMIT 20000"
    )
    connection.execute(
        "INSERT INTO stepwell.notices (worker, run) SELECT worker, id FROM stepwell.runs WHERE worker IS NOT NULL ORDER BY id LIMIT 2000"
    )


def add_schedules(connection: Connection, count: int) -> None:
    """Those that are there already stay."""
    connection.execute(_SCHEDULES, {"now": NOW, "count": count})


def add_workers(connection: Connection) -> None:
    """Register them all, and make the lanes."""
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO stepwell.workers (id, name, host, pid, concurrency, lease, serves, started_at, beat_at)"
            " VALUES (%s, 'w', 'here', 7, 10, 30, '[]', 0, 0)",
            [(worker_name(number),) for number in range(WORKERS)],
        )
        cursor.executemany(
            "INSERT INTO stepwell.lanes (queue, workflow, version) VALUES ('default', %s, 'v1')",
            [(f"pay{number}",) for number in range(LANES)],
        )


# -- what statements are given

_FEW: Final = [run_id(18 + 20 * place) for place in range(5)]
"""Runs of the first worker."""

_SCHEDULED: Final = (1, 6, 2_503, 5_004, 9_999)
"""Numbers of schedules."""

_KEYS: Final = [[f"pay{number % 4}", f"s{number}"] for number in _SCHEDULED]
_COMPLETED: Final = {str(status): str(RunStatus.COMPLETED) for status in RunStatus if not status.ended}
_SOME: Final[Mapping[str, Any]] = {
    "run": _FEW[0],
    "worker": worker_name(0),
    "now": NOW + 1_000,
    "runs": _FEW,
    "limit": 50,
    "head": 0,
    "priority": 0,
    "below": None,
    "marks": {"1": [0, run_id(500)]},
    "lanes": [1, 2, 3, 4],
    "known": 4,
    "workflow": "pay0",
    "version": "v1",
    "queue": "default",
    "key": "charge",
    "step": None,
    "keys": ["charge"],
    "body": "",
    "failed": [],
    "first": 2,
    "subject": "s",
    "at": NOW,
    "action": "pause",
    "actor": None,
    "source": _FEW[1],
    "parent": _FEW[0],
    "input": "null",
    "preview": "null",
    "number": 9,
    "numbers": [9],
    "name": "go",
    "payload": "null",
    "id": "nine",
    "due": True,
    "claim": 1,
    "seen": 1,
    "beat": 0,
    "running": 1,
    "parked": 1,
    "rows": 1_001,
    "characters": 1 << 22,
    "started_at": NOW,
    "notices": [[worker_name(0), run] for run in _FEW],
    "tags": [["t1", run] for run in _FEW],
    "inputs": [[run_id(1 << 40), "null"]],
    "outcomes": [[run, 1, "ship", 2, 2, 0, True, "1", NOW, 0, 1, NOW, 311, None] for run in _FEW],
    "attempts": [[run, 1, "ship", 2, 2, False, None, NOW, NOW, None] for run in _FEW],
    "started": [[run, 1, "ship", 2, NOW] for run in _FEW],
    "logs": [[run, 1, 1, "", 2, NOW, "info", "here", "{}", None] for run in _FEW],
    "progress": [[run, 1, 1.0, 2.0, None] for run in _FEW],
    "moves": [[run, "completed", False, None, "1", None, None, NOW, None, False, False] for run in _FEW],
    "pins": [[run, 1, "v2", None] for run in _FEW],
    "declares": '{"pay0":"one"}',
    "workflows": ["none"],
    "schedules": [["pay9", "s1", 1, "one", "0 * * * *", "UTC", "allow", "latest", None, "null", "", True, NOW, None, 10_000]],
    "firings": [[*_KEYS[place], "one", NOW + number, None, NOW + number + 9, None, NOW, "x"] for place, number in enumerate(_SCHEDULED)],
    "slots": [[*key, NOW, NOW, 1, "started", None, "x", None] for key in _KEYS],
    "before": 900_000,
    "keep": 90,
    "digest": "one",
    "next_at": NOW + 9,
    "changed": 10_000,
    "deed": 9_990,
}

_OWN: Final[Mapping[str, Mapping[str, Any]]] = {
    "cursors": {"keys": _KEYS},
    "lock_cursors": {"keys": _KEYS},
    "forget_slots": {"keys": _KEYS[:2]},
    "fail_inputs": {"runs": [[run, "{}"] for run in _FEW]},
    "made": {"workflow": "pay1", "name": "s1", "first": NOW, "last": NOW + 1e7},
    "slots": {"workflow": "pay1", "name": "s1"},
    "pause_schedule": {"workflow": "pay1", "name": "s1"},
    "triggered": {"workflow": "pay1", "name": "s1"},
    "resume_schedule": {"workflow": "pay1", "name": "s1", "seen": NOW + 1},
    "prospect": {"marks": [{"1": [0, run_id(500)]}, {}, {}]},
    "ready": {"lanes": [[lane, run_id(500) if lane == 1 else ""] for lane in (1, 2, 3, 4)]},
    "awaited": {"run": run_id(6)},
    "by_key": {"keys": [["pay0", "key20"]]},
    "enqueue": {
        "runs": [[run_id(1 << 40), 1, "pay0", "v1", "default", 0, None, None, None, NOW, NOW, None, None, None, None, None, "null", None]]
    },
    "take_back": {"runs": [[run, "pending", 1, 1, None, None, None] for run in _FEW]},
    "expire": {"runs": [[run, "{}"] for run in _FEW]},
    "news": {"runs": [[run, 0] for run in _FEW]},
    "outcomes": {"after": 0},
    "logs": {"after": 0, "step": None, "levels": ["warning", "error"]},
    "last_logs": {"after": 0, "step": None, "levels": ["warning", "error"]},
    "enqueue_events": {"events": [[run, NOW, "ada"] for run in _FEW]},
    "commit": {
        "runs": [[run, 1] for run in _FEW],
        "ends": _FEW,
        "recorded": _FEW,
        "moves": [[run, 1, str(Action.COMPLETE), None, False, "1", None, None, None, _COMPLETED] for run in _FEW],
    },
}


def given(name: str, wanted: Iterable[str], **changed: Any) -> dict[str, Any]:
    """Parameters of a statement: a batch of a few runs, one run, one worker; and what is changed of them."""
    own = {**_OWN.get(name, {}), **changed}
    values = {parameter: own[parameter] if parameter in own else _SOME[parameter] for parameter in wanted}
    return {parameter: to_json(value).decode() if isinstance(value, (list, dict)) else value for parameter, value in values.items()}


# -- plans


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One of a plan."""

    kind: str
    table: str | None
    index: str | None
    order: tuple[str, ...]
    read: int
    """Rows, and those that a filter has dropped, in all loops: known if it was executed."""
    pages: int


class Planned:
    """A connection as workers have it, on which statements are prepared once: their plans are made then, and kept."""

    def __init__(self, url: str) -> None:
        self._connection: Connection = psycopg.connect(**connection_parameters(url, PLANS), autocommit=True, prepare_threshold=None)

    def prepare(self, names: Iterable[str]) -> None:
        """Plan each for what the tables hold now, with parameters of those types that psycopg says."""
        for name in names:
            text, wanted = compiled(STATEMENTS[name])
            values = given(name, wanted)
            types = ", ".join(_TYPES[type(values[each])] for each in wanted)
            self._connection.execute(f"PREPARE of_{name}{f' ({types})' if types else ''} AS {text}".encode())
            self.plan(name)

    def plan(self, name: str, *, analyzed: bool = False, **parameters: Any) -> list[Node]:
        """The plan that is kept; with `analyzed`, as it is executed with these parameters, and rolled back."""
        _, wanted = compiled(STATEMENTS[name])
        values = given(name, wanted, **parameters)
        execute = sql.SQL("EXPLAIN ({}) EXECUTE {}").format(_HOW[analyzed], sql.Identifier(f"of_{name}"))
        if wanted:
            execute += sql.SQL("({})").format(sql.SQL(", ").join(sql.Literal(values[each]) for each in wanted))
        with self._connection.transaction(force_rollback=True):
            return _nodes_of(self._connection.execute(execute))

    def executed(self, names: Iterable[str]) -> dict[str, list[Node]]:
        """What each did, by its name."""
        return {name: self.plan(name, analyzed=True) for name in names}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()


_TYPES: Final = {int: "bigint", float: "float8", bool: "bool", str: "unknown", type(None): "unknown"}
_HOW: Final = {False: sql.SQL("FORMAT JSON"), True: sql.SQL("ANALYZE, BUFFERS, FORMAT JSON")}


def _nodes_of(cursor: psycopg.Cursor[tuple[Any, ...]]) -> list[Node]:
    row = cursor.fetchone()
    assert row is not None
    return list(nodes(row[0][0]["Plan"]))


def nodes(plan: Mapping[str, Any]) -> Iterator[Node]:
    """Of a plan as EXPLAIN writes it in JSON."""
    rows = sum(plan.get(key, 0) for key in ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck"))
    yield Node(
        kind=plan["Node Type"],
        table=plan.get("Relation Name"),
        index=plan.get("Index Name"),
        order=tuple(plan.get("Sort Key", ())),
        read=round(rows * plan.get("Actual Loops", 0)),
        pages=plan.get("Shared Hit Blocks", 0) + plan.get("Shared Read Blocks", 0),
    )
    for part in plan.get("Plans", ()):
        yield from nodes(part)


class Watched(Session):
    """A session that asks for the plan of what it executes, too."""

    def __init__(self, connection: psycopg.AsyncConnection[tuple[Any, ...]], statements: Mapping[str, str]) -> None:
        super().__init__(connection, statements, prepare=False)
        self.plans: list[list[Node]] = []

    async def query(self, statement: str, parameters: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        """See `Transaction.query`."""
        ((plan,),) = await super().query(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters)
        self.plans.append(list(nodes(plan[0]["Plan"])))
        return await super().query(statement, parameters)

    async def many(self, name: str, /, **parameters: Any) -> Sequence[Sequence[Any]]:
        """See `Transaction.many`."""
        return await self.query(self.part(name), parameters)

    async def one(self, name: str, /, **parameters: Any) -> tuple[Any, ...] | None:
        """See `Transaction.one`."""
        rows = await self.query(self.part(name), parameters)
        return tuple(rows[0]) if rows else None

    async def records(self, name: str, /, **parameters: Any) -> list[dict[str, Any]]:
        """See `Transaction.records`."""
        await self.query(self.part(name), parameters)
        return await super().records(name, **parameters)
