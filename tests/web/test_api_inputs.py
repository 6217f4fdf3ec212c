"""Inputs that are more than JSON: read as the workflow's types have them, whoever starts the run."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from stepwell import Retry, Step, workflow
from stepwell.web.api.inputs import items, member
from tests.engine.harness import scenario
from tests.web.apis import problem
from tests.web.guests import client_of
from tests.web.seeing import app_in


class Parcel(BaseModel):
    model_config = ConfigDict(strict=True, ser_json_bytes="base64", val_json_bytes="base64")

    label: bytes = b""
    weight: Decimal = Decimal(1)
    sent: date | None = None
    tags: set[str] = set()
    size: int | tuple[int, int] = 1
    to: str = Field(default="ada", alias="recipient")


@workflow(name="send", retry=Retry.never())
async def send(input: Parcel, step: Step) -> str:
    return await step.run("told", lambda: f"{input.label!r} {input.weight} {input.sent} {sorted(input.tags)} {input.to}")


GIVEN = '{"label": "aGk_", "weight": "1.10000000000000000000000000001", "sent": "2026-01-31", "tags": ["b", "a"], "recipient": "bob"}'
"""Bytes are base64, and what JSON has no form of its own for are texts and lists."""

TOLD = "b'hi?' 1.10000000000000000000000000001 2026-01-31 ['a', 'b'] bob"


def body(text: str) -> dict[str, Any]:
    return {"content": text.encode(), "headers": {"content-type": "application/json"}}


@scenario
async def test_a_start_reads_its_input_as_the_workflow_has_it(tmp_path: Path) -> None:
    async with app_in(tmp_path, send) as app, client_of(app) as client:
        one = (await client.post("/api/runs", **body(f'{{"workflow": "send", "input": {GIVEN}}}'))).json()
        many = (await client.post("/api/runs/start_many", **body(f'{{"inputs": [{GIVEN} , {GIVEN}], "workflow": "send"}}'))).json()
        await app.worker().run_until_idle()
        forked = (await client.post(f"/api/runs/{one['id']}/fork", **body(f'{{"from_step": "told", "input": {GIVEN}}}'))).json()
        await app.worker().run_until_idle()
        outputs = [(await app.runs.get(run_id)).output for run_id in (one["id"], *many["run_ids"], forked["id"])]

    assert outputs == [TOLD] * 4


@scenario
async def test_what_was_given_once_can_be_given_again_as_it_is_shown(tmp_path: Path) -> None:
    async with app_in(tmp_path, send) as app, client_of(app) as client:
        first = (await client.post("/api/runs", **body(f'{{"workflow": "send", "input": {GIVEN}}}'))).json()
        again = (await client.post("/api/runs", json={"workflow": "send", "input": first["input"]})).json()

    for run in (first, again):
        run["input"]["tags"].sort()  # those of a set have no order
    assert again["input"] == first["input"]


@scenario
async def test_the_mark_of_a_hidden_value_is_not_taken_for_the_value(tmp_path: Path) -> None:
    async with app_in(tmp_path, send) as app, client_of(app) as client:
        first = await client.post("/api/runs", json={"workflow": "elsewhere", "input": {"users": [{"password": "hunter2"}], "to": "•••"}})
        shown = first.json()
        again = await client.post("/api/runs", json={"workflow": "elsewhere", "input": shown["input"]})
        many = await client.post("/api/runs/start_many", json={"workflow": "elsewhere", "inputs": [{}, shown["input"]]})
        forked = await client.post(f"/api/runs/{shown['id']}/fork", json={"from_step": "told", "input": shown["input"]})

    assert first.status_code == 201
    assert [problem(answer, 422)["errors"][0]["pointer"] for answer in (again, many, forked)] == [
        "#/input/users/0/password", "#/inputs/1/users/0/password", "#/input/users/0/password",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ('{"weight": [], "sent": "soon"}', ["#/input/weight", "#/input/sent"]),
        ('{"size": "large"}', ["#/input/size", "#/input/size"]),
        ('{"size": [1, "x"]}', ["#/input/size", "#/input/size/1"]),
        ('{"recipient": 1}', ["#/input/recipient"]),
        ('{"label": "no base64!"}', ["#/input/label"]),
        ("[]", ["#/input"]),
        ("null", ["#/input"]),
    ],
)
@scenario
async def test_an_error_names_the_place_in_what_was_sent(text: str, places: list[str], tmp_path: Path) -> None:
    async with app_in(tmp_path, send) as app, client_of(app) as client:
        answer = await client.post("/api/runs", **body(f'{{"workflow": "send", "input": {text}}}'))
        many = await client.post("/api/runs/start_many", **body(f'{{"workflow": "send", "inputs": [{{}}, {text}]}}'))

    assert [error["pointer"] for error in problem(answer, 422)["errors"]] == places
    assert [error["pointer"] for error in problem(many, 422)["errors"]] == [place.replace("input", "inputs/1") for place in places]


@pytest.mark.parametrize(
    "text", ["NaN", "[Infinity]", "-1e999", "9" * 5_000, '"' + "\\ud800" + '"', "[" * 199 + "]" * 199, "[" * 5_000 + "]" * 5_000]
)
@pytest.mark.parametrize("name", ["send", "nobody_has_it"])
@scenario
async def test_an_input_that_is_odd_is_refused_or_kept_and_breaks_nothing(name: str, text: str, tmp_path: Path) -> None:
    async with app_in(tmp_path, send) as app, client_of(app) as client:
        answers = [
            await client.post("/api/runs", **body(f'{{"workflow": "{name}", "input": {text}}}')),
            await client.post("/api/runs/start_many", **body(f'{{"workflow": "{name}", "inputs": [{text}]}}')),
        ]

    assert {answer.status_code for answer in answers} <= {201, 400, 422}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), JSON), st.sampled_from([None, 1, "\t"]), st.booleans())
def test_the_text_of_each_member_is_found(value: dict[str, Any], indent: Any, ascii_only: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)

    assert {name: json.loads(member(text, name) or "") for name in value} == value
    assert member(text, "a name that is not there") is None


@given(st.lists(JSON), st.sampled_from([None, 1]))
def test_the_text_of_each_item_is_found(value: list[Any], indent: Any) -> None:
    assert [json.loads(text) for text in items(json.dumps(value, indent=indent))] == value


def test_of_two_members_of_one_name_the_last_counts_as_it_does_for_the_whole() -> None:
    assert member('{"input": 1, "input" :2 }', "input") == "2"
