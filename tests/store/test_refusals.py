"""Texts that databases cannot keep: the batch is refused as a whole, whatever field they are in."""

from typing import Any

import pytest

from stepwell.core.status import Action
from stepwell.store.port import Store, WriteRefused
from tests.store.making import (
    FIRST,
    NOW,
    Write,
    attempt,
    claim_one,
    claimed_run,
    claims,
    everything,
    line,
    move,
    new_run,
    outcome,
    progress,
    run_id,
    started,
    write,
)

UNSTORABLE = {"NUL": "a\0b", "lone surrogate": "a\ud800b"}

FIELDS: list[tuple[Write, str]] = [
    (outcome("charge", 1), "key"),
    (outcome("charge", 1), "value"),
    (attempt("charge"), "key"),
    (attempt("charge"), "error"),
    (started("charge"), "key"),
    (line("hello"), "message"),
    (line("hello"), "fields"),
    (line("hello"), "scope"),
    (line("hello"), "level"),
    (line("hello"), "step"),
    (progress(), "message"),
    (move(Action.COMPLETE), "output"),
    (move(Action.FAIL), "error"),
    (move(Action.CONTINUE_AS_NEW), "input"),
]


def named(value: object) -> str:
    return type(value).__name__ if isinstance(value, tuple) else str(value)


@pytest.mark.parametrize("sign", UNSTORABLE.values(), ids=UNSTORABLE.keys())
@pytest.mark.parametrize(("written", "name"), FIELDS, ids=named)
async def test_a_text_that_no_database_keeps_is_refused_with_its_batch(store: Store, written: Any, name: str, sign: str) -> None:
    await store.enqueue([new_run(1), new_run(2)])
    await claims(store)
    before = [await everything(store, run_id(number)) for number in (1, 2)]

    with pytest.raises(WriteRefused):
        await write(store, outcome("pack", 7), line("fine", 8), outcome("pack", 7, run=run_id(2)), written._replace(**{name: sign}))

    assert [await everything(store, run_id(number)) for number in (1, 2)] == before


async def test_after_a_refusal_the_rest_can_be_written(store: Store) -> None:
    await claimed_run(store)
    with pytest.raises(WriteRefused):
        await write(store, outcome("charge", 1), line("a\0b"))

    assert await write(store, outcome("charge", 1)) == {}

    assert [step.key for step in await store.steps(FIRST)] == ["charge"]


async def test_a_writer_that_does_not_find_fault_with_signs_of_all_the_world(store: Store) -> None:
    text = "Grüße ✓ \U0001f600 \x01\x7f\u2028\ufffe e\u0301"
    await claimed_run(store)

    await write(store, outcome("charge", 1, value='"' + text.replace("\x01", "") + '"'), line(text), move(Action.RELEASE))

    assert (await store.logs(FIRST))[0].message == text
    assert (await claim_one(store, now=NOW)).outcomes[0].value == '"' + text.replace("\x01", "") + '"'
