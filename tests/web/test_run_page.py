"""The page of one run: its facts, the panel of a step, its lines, its history, and values of any size."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from httpx import AsyncClient, Response

from stepwell import Handle, Logger, Retry, RunFailed, Step, workflow
from stepwell.testing import TestApp
from stepwell.web.values import MOST
from tests.engine.harness import scenario
from tests.web.seeing import ADMIN, EVIL, VIEWER, Counting, app_in, seen, text_of

BIG: Final = 9_007_199_254_740_993


def order() -> dict[str, Any]:
    return {"order_id": BIG, "card": {"token": "4111"}}


def declined() -> None:
    raise ValueError(f"card declined {EVIL}")


@workflow(retry=Retry(max_attempts=3, initial_interval="1s", jitter=0))
async def process_payment(input: dict[str, Any], step: Step, logger: Logger) -> None:
    logger.info("begin", user=input["user_id"])
    await step.run("create_order", order)
    logger.warning("charging", secret="hunter2")
    await step.run("charge_card", declined)


@workflow
async def heavy(input: str, step: Step) -> Any:
    await step.run("text", "x".__mul__, 1_000_000)
    await step.run("keys", _keys)
    await step.run("deep", _deep)
    return input


def _keys() -> dict[str, int]:
    return {f"key_{number}": number for number in range(100_000)}


def _deep() -> list[Any]:
    value: list[Any] = []
    for _ in range(150):
        value = [value]
    return value


@workflow
async def talkative(step: Step, logger: Logger, input: int) -> None:
    for number in range(input):
        (logger.info, logger.warning)[number % 2](f"line {number}.")
    await step.run("says", str)


@workflow
async def asleep(step: Step) -> None:
    await step.sleep("rest", "365 days")


WORKFLOWS: Final = (process_payment, heavy, talkative, asleep)


@asynccontextmanager
async def looked_at(*, self_moving: bool = True, token: str = ADMIN) -> AsyncIterator[tuple[TestApp, AsyncClient]]:
    async with TestApp(*WORKFLOWS, self_moving=self_moving) as app, seen(app, token=token) as client:
        yield app, client


async def failed_payment(app: TestApp, **options: Any) -> Handle[Any]:
    handle = await app.start(process_payment, {"user_id": 8}, **options)
    with pytest.raises(RunFailed):
        await handle.result()
    return handle


def panel(answer: Response) -> str:
    """The step's part of the page."""
    return answer.text.partition('id="step-panel"')[2].partition("</section>")[0]


# -- the head


@scenario
async def test_a_run_says_how_its_time_was_spent_who_executed_it_and_where_it_failed() -> None:
    async with looked_at() as (app, client):
        run = await failed_payment(app, key="order-8")
        answer = await client.get(f"/runs/{run.run_id}")
        worker = (await run.get()).claimed_by

    text = text_of(answer)
    assert re.search(r"took 3\.0 s \(.*wait 3\.0 s", text)
    assert f"last worker {worker}" in text
    assert "key order-8" in text
    assert "Failed try 3/3" in text
    assert "retry 3 tries" in text
    assert re.search(r"step charge_card at web/test_run_page\.py:\d+ in declined", text)
    assert EVIL not in answer.text


@scenario
async def test_frames_of_libraries_are_folded_under_an_error() -> None:
    async with looked_at() as (app, client):
        run = await failed_payment(app)
        answer = await client.get(f"/runs/{run.run_id}")

    assert re.search(r"Traceback \(\d+ frames? of libraries folded\)", text_of(answer))


# -- a step


@scenario
async def test_a_step_is_shown_with_numbers_as_they_are_and_without_what_is_hidden() -> None:
    async with looked_at() as (app, client):
        run = await failed_payment(app)
        shown = panel(await client.get(f"/runs/{run.run_id}?step=create_order"))
        file = await client.get(f"/runs/{run.run_id}.json?step=create_order&attempt=1")

    assert str(BIG) in shown
    assert "4111" not in shown
    assert file.json() == {"order_id": BIG, "card": {"token": "•••"}}
    assert file.headers["content-disposition"] == f'attachment; filename="{run.run_id}-step.json"'


@scenario
async def test_attempts_steps_and_failures_lead_to_each_other() -> None:
    async with looked_at() as (app, client):
        run = await failed_payment(app)
        last = (await client.get(f"/runs/{run.run_id}?step=charge_card")).text
        first = (await client.get(f"/runs/{run.run_id}?step=charge_card&attempt=1")).text
        above = (await client.get(f"/runs/{run.run_id}?step=create_order")).text
        whole = (await client.get(f"/runs/{run.run_id}")).text

    assert keys_of(last) >= {"ArrowLeft": "attempt=2", "ArrowUp": "step=create_order"}.items()
    assert "ArrowRight" not in dict(keys_of(last))
    assert keys_of(first) >= {"ArrowRight": "attempt=2"}.items()
    assert "ArrowLeft" not in dict(keys_of(first))
    assert keys_of(above) >= {"ArrowDown": "step=charge_card", "n": "step=charge_card"}.items()
    assert keys_of(whole) >= {"n": "step=charge_card"}.items()
    assert "attempt 3 of 3" in re.sub(r"<[^>]*>", "", last)


def keys_of(page: str) -> set[tuple[str, str]]:
    """Where keys lead: the key, and what of its address it is about."""
    found = set()
    for tag in re.findall(r"<a [^>]*>", page):
        for key in re.findall(r'data-key="([^"]+)"', tag):
            found |= {(key, part) for to in re.findall(r'href="([^"]+)"', tag) for part in re.split(r"[?&;#]|amp;", to) if part}
    return found


@pytest.mark.parametrize("part", ["output", "input", "error", "logs", "meta"])
@scenario
async def test_each_part_of_a_step_has_an_address(part: str) -> None:
    async with looked_at() as (app, client):
        run = await failed_payment(app)
        answer = await client.get(f"/runs/{run.run_id}?step=charge_card&tab={part}&show=history")

    assert re.search(rf'aria-current="true"[^>]*>{part.capitalize()}', panel(answer))
    assert 'id="tab" aria-label="history"' in answer.text


@scenario
async def test_the_part_of_the_run_that_is_looked_at_stays_when_a_step_is_chosen_and_left() -> None:
    async with looked_at() as (app, client):
        run = await failed_payment(app)
        page = (await client.get(f"/runs/{run.run_id}?tab=history")).text
        beside = (await client.get(f"/runs/{run.run_id}?show=history&step=create_order&tab=meta")).text

    assert "?show=history&amp;step=create_order" in page
    assert f'href="/runs/{run.run_id}?tab=history" aria-label="Close the step"' in beside


@scenario
async def test_a_step_that_there_is_not_is_passed_over() -> None:
    async with looked_at() as (app, client):
        run = await failed_payment(app)
        answer = await client.get(f"/runs/{run.run_id}?step=none&attempt=7")
        other = await client.get(f"/runs/{run.run_id}.json?step=none")
        part = await client.get(f"/runs/{run.run_id}.json?part=none")

    assert answer.status_code == 200
    assert panel(answer) == ""
    assert (other.status_code, part.status_code) == (404, 404)


@scenario
async def test_a_viewer_is_offered_nothing_to_do_with_a_step() -> None:
    async with looked_at(token=VIEWER) as (app, client):
        run = await failed_payment(app)
        shown = panel(await client.get(f"/runs/{run.run_id}?step=charge_card"))

    assert "Rerun" not in shown
    assert "<form" not in shown


# -- values


@pytest.mark.parametrize("step", ["text", "keys", "deep"])
@scenario
async def test_of_a_value_that_is_too_large_for_a_page_the_beginning_is_shown_and_the_file_has_all(step: str) -> None:
    async with looked_at() as (app, client):
        run = await app.start(heavy, "x")
        await run.result()
        answer = await client.get(f"/runs/{run.run_id}?step={step}")
        (whole,) = [each.output for each in await run.steps() if each.key == step]
        file = await client.get(f"/runs/{run.run_id}.json?step={step}")

    assert len(answer.text) < 3 * MOST
    assert ("This is the beginning of it." in panel(answer)) is (step != "deep")
    assert file.json() == whole


@scenario
async def test_markup_in_an_input_is_text_on_each_part_of_the_page_and_a_file_of_its_own() -> None:
    async with looked_at() as (app, client):
        run = await app.start(heavy, EVIL)
        await run.result()
        pages = [await client.get(f"/runs/{run.run_id}?tab={tab}") for tab in ("input", "output", "json")]
        file = await client.get(f"/runs/{run.run_id}.json?part=input")

    assert all(EVIL not in page.text for page in pages)
    assert all(EVIL in text_of(page) for page in pages[:2])
    assert file.json() == EVIL
    assert file.headers["content-type"] == "application/json"


# -- lines


@scenario
async def test_lines_are_shown_from_a_level_on_from_either_end_and_in_parts() -> None:
    async with looked_at() as (app, client):
        run = await app.start(talkative, 1_100)
        await run.result()
        first = text_of(await client.get(f"/runs/{run.run_id}?tab=logs"))
        further = text_of(await client.get(f"/runs/{run.run_id}?tab=logs&line=500"))
        last = text_of(await client.get(f"/runs/{run.run_id}?tab=logs&follow=1"))
        warnings = text_of(await client.get(f"/runs/{run.run_id}?tab=logs&follow=1&level=warning"))
        none = text_of(await client.get(f"/runs/{run.run_id}?tab=logs&said_by=says"))

    assert ("line 0." in first, "line 499." in first, "line 500." in first, "Further lines" in first) == (True, True, False, True)
    assert ("line 499." in further, "line 500." in further) == (False, True)
    assert ("line 599." in last, "line 600." in last, "line 1099." in last, "Earlier lines" in last) == (False, True, True, True)
    assert ("line 1099." in warnings, "line 1098." in warnings) == (True, False)
    assert "It has said nothing of that level, or in that step." in none


@pytest.mark.parametrize("query", ["level=none", "line=x", "line=-1", "follow=2", "said_by=%00", "tab=none&show=none"])
@scenario
async def test_an_address_that_asks_for_nonsense_shows_the_page(query: str) -> None:
    async with looked_at() as (app, client):
        run = await failed_payment(app)
        assert (await client.get(f"/runs/{run.run_id}?tab=logs&{query}")).status_code == 200


# -- history


@scenario
async def test_the_history_of_a_run_begins_with_who_started_it() -> None:
    async with looked_at() as (app, client):
        run = await failed_payment(app, actor="ada")
        await run.retry(actor="bob")
        with pytest.raises(RunFailed):
            await run.result()
        shown = text_of(await client.get(f"/runs/{run.run_id}?tab=history"))

    told = shown[shown.index("Time What Who") :]
    assert re.search(r"started ada .* begun by a worker \S .* retried bob .* failed \S", told)


@scenario
async def test_the_history_of_a_run_says_who_has_sent_it_which_signal() -> None:
    async with looked_at() as (app, client):
        run = await app.start(asleep)
        await client.post(f"/runs/{run.run_id}/signal", data={"name": "approved"})
        shown = text_of(await client.get(f"/runs/{run.run_id}?tab=history"))

    assert "sent signal approved web" in shown


@scenario
async def test_who_starts_a_run_again_on_a_page_is_kept_with_the_new_run() -> None:
    async with looked_at() as (app, client):
        run = await failed_payment(app)
        answer = await client.post(f"/runs/{run.run_id}/rerun?as=json", data={"json": '{"user_id": 9}'})
        new = answer.headers["location"].rpartition("/")[2]
        (event, *_) = await app.runs.events(new)

    assert (event.action, event.actor) == ("start", "web")


# -- odd runs


@scenario
async def test_a_run_that_was_deleted_while_it_was_looked_at_is_a_page_that_says_so() -> None:
    async with looked_at() as (app, client):
        run = await failed_payment(app)
        await app.runs.delete(run.run_id)
        answer = await client.get(f"/runs/{run.run_id}?step=charge_card")

    assert answer.status_code == 404
    assert "No such run" in answer.text


@scenario
async def test_a_run_that_sleeps_for_a_year_says_until_when() -> None:
    async with looked_at(self_moving=False) as (app, client):
        run = await app.start(asleep)
        await app.advance("100 days")
        text = text_of(await client.get(f"/runs/{run.run_id}"))

    assert "wakes in 265 d" in text
    assert "waiting now" in text


@scenario
async def test_a_run_that_nobody_executes_says_why_and_since_when() -> None:
    async with looked_at(self_moving=False) as (app, client):
        run = await app.start("nobody_has_it")
        await app.advance("3 days")
        text = text_of(await client.get(f"/runs/{run.run_id}"))

    assert "It waits: no worker has nobody_has_it" in text
    assert "It has not begun yet." in text
    assert "for 3 d" in text


@scenario
async def test_the_page_of_a_step_with_its_lines_and_those_of_the_run_asks_for_few_things() -> None:
    async with looked_at() as (app, client):
        run = await failed_payment(app)
        app.store = counting = Counting(app.store)
        await client.get(f"/runs/{run.run_id}?step=charge_card&show=logs")
        asked = +counting.asked

    assert asked.total() <= 6, asked


@scenario
async def test_what_a_worker_does_not_execute_again_after_another_has_left_is_marked(tmp_path: Path) -> None:
    begun, gate = asyncio.Event(), asyncio.Event()

    async def waits() -> None:
        begun.set()
        await gate.wait()

    @workflow
    async def handed_on(step: Step) -> None:
        await step.run("one", str)
        await step.run("two", waits)

    async with app_in(tmp_path, handed_on) as app, seen(app) as client:
        async with app.worker(grace="0s"):
            run = await app.start(handed_on)
            await begun.wait()
            first = await client.get(f"/runs/{run.run_id}")
        gate.set()
        async with app.worker():
            await run.result()
        page = await client.get(f"/runs/{run.run_id}?step=one&tab=meta")

    assert "↺ cached" not in first.text
    assert re.findall(r'data-step="(\w+)".*?</li>', page.text, re.DOTALL) == ["one", "two"]
    marked = [row.partition('"')[0] for row in page.text.split('data-step="')[1:] if "↺ cached" in row.partition("</li>")[0]]
    assert marked == ["one"]
    assert "cached recorded before a worker took the run up again, and not executed again" in text_of(page)
