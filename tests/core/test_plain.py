"""Records as JSON, and the schemas of that."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from typing import Any

import pytest

from stepwell import ErrorInfo, RunStatus, WorkerState
from stepwell.core.plain import plain, schema_of
from stepwell.core.records import LogLine

NOON = datetime(2026, 1, 2, 12, 0, 0, 500, tzinfo=timezone(timedelta(hours=2)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A record. It is for tests.

    More of that.
    """

    at: datetime
    lease: timedelta
    statuses: tuple[RunStatus, ...]
    error: ErrorInfo | None
    data: dict[str, object]
    steps: list[int]


RECORD = Record(
    at=NOON,
    lease=timedelta(seconds=30, milliseconds=500),
    statuses=(RunStatus.PAUSED,),
    error=ErrorInfo("ValueError", "no", "trace", ("a",), ("b",)),
    data={"steps": [1], "kinds": {"x": None}},
    steps=[1],
)


def test_records_go_by_their_fields_with_datetimes_in_utc_and_durations_in_seconds() -> None:
    assert plain(RECORD) == {
        "at": "2026-01-02T10:00:00.000500Z",
        "lease": 30.5,
        "statuses": ["paused"],
        "error": {"type": "ValueError", "message": "no", "traceback": "trace"},
        "data": {"steps": [1], "kinds": {"x": None}},
        "steps": [1],
    }
    assert plain(datetime(2026, 1, 2, tzinfo=UTC)) == "2026-01-02T00:00:00Z"


def test_what_is_no_part_of_the_contract_is_left_out() -> None:
    worker = WorkerState(
        id="w", name="w", host="h", pid=1, queues=None, concurrency=1, running=0, parked=0, definitions=("pay",),
        lease=timedelta(seconds=30), draining=False, started_at=NOON, beat_at=NOON, serves=frozenset({("pay", None)}),
    )  # fmt: skip

    assert "serves" not in plain(worker)
    assert plain(worker)["definitions"] == ["pay"]


def test_data_of_users_can_be_hidden_and_nothing_else_is() -> None:
    line = LogLine(at=NOON, level="INFO", message="token", fields={"token": "s"}, step="token")

    assert plain([line], lambda name, value: f"{name} of {len(value)}") == [
        {"at": "2026-01-02T10:00:00.000500Z", "level": "INFO", "message": "message of 5", "fields": "fields of 1", "step": "token"}
    ]


def test_a_schema_says_what_becomes_of_each_kind_of_field() -> None:
    known: dict[str, Any] = {}

    assert schema_of(Record, known) == {"$ref": "#/components/schemas/Record"}
    assert known["Record"] == {
        "type": "object",
        "description": "A record. It is for tests.",
        "properties": {
            "at": {"type": "string", "format": "date-time"},
            "lease": {"type": "number", "description": "Seconds."},
            "statuses": {"type": "array", "items": {"$ref": "#/components/schemas/RunStatus"}},
            "error": {"anyOf": [{"$ref": "#/components/schemas/ErrorInfo"}, {"type": "null"}]},
            "data": {"type": "object", "additionalProperties": {}},
            "steps": {"type": "array", "items": {"type": "integer"}},
        },
        "required": ["at", "lease", "statuses", "error", "data", "steps"],
    }
    assert known["RunStatus"]["enum"] == [status.value for status in RunStatus]
    assert list(known["ErrorInfo"]["properties"]) == ["type", "message", "traceback"]


class Colour(StrEnum):
    RED = "red"


@pytest.mark.parametrize(
    ("annotation", "schema"),
    [
        (Any, {}),
        (str | None, {"type": ["string", "null"]}),
        (datetime | None, {"type": ["string", "null"], "format": "date-time"}),
        (str | int, {"anyOf": [{"type": "string"}, {"type": "integer"}]}),
        (Any | None, {}),
        (list[Colour], {"type": "array", "items": {"$ref": "#/components/schemas/Colour"}}),
        (tuple[str | None, ...], {"type": "array", "items": {"type": ["string", "null"]}}),
    ],
)
def test_an_annotation_has_a_schema(annotation: Any, schema: dict[str, Any]) -> None:
    assert schema_of(annotation, {}) == schema


@pytest.mark.parametrize("annotation", [tuple[str, int], set[str], bytes, dict[int, str]])
def test_an_annotation_without_a_form_in_json_has_none(annotation: Any) -> None:
    with pytest.raises(TypeError, match="has no JSON schema"):
        schema_of(annotation, {})
