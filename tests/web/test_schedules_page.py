"""The pages of schedules: when they come, what became of their slots, and what people do about it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from urllib.parse import quote
from zoneinfo import ZoneInfo

import pytest

from stepwell.core.cron import Cron
from stepwell.core.records import instant
from stepwell.testing import TestApp
from stepwell.web.schedules import clock_changes
from tests.engine.harness import scenario
from tests.web.seeing import ODD, OPERATOR, app_in, odd, seen, send_mail, text_of, with_runs

MORNING = "/schedules/send_mail/every_morning"


@scenario
async def test_the_list_shows_each_with_words_zone_and_when_it_comes_next(tmp_path: Path) -> None:
    async with with_runs(tmp_path) as app, seen(app) as client:
        text = text_of(await client.get("/schedules"))

    assert "every_morning send_mail At 09:00, every day 0 9 * * * Asia/Seoul" in text
    assert "✓ Completed" in text
    assert "Every 5 minutes */5 * * * * UTC" in text
    assert f"{ODD} {ODD} At 00:00, on day 1 of the month" in text
    assert "declares" not in text


@scenario
async def test_what_no_worker_declares_stands_by_itself(tmp_path: Path) -> None:
    app = app_in(tmp_path, send_mail)
    async with app, seen(app) as client:
        text = text_of(await client.get("/schedules"))
        one = text_of(await client.get(MORNING))

    assert "No worker declares these" in text
    assert "not while nobody declares it" in text
    assert "Trigger now" not in text
    assert "No worker declares it, so it does not fire." in one


@scenario
async def test_a_schedule_shows_its_next_fires_in_both_zones_and_its_slots(tmp_path: Path) -> None:
    async with with_runs(tmp_path) as app, seen(app) as client:
        text = text_of(await client.get(MORNING))

    assert "At 09:00, every day 0 9 * * * , in Asia/Seoul" in text
    assert text.count("00:00:00 ") >= 5
    assert text.count("09:00:00 KST") == 5
    assert "triggered by ada" in text
    assert "Completed" in text


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("expression", "now", "said"),
    [
        ("30 2 * * *", "2027-03-26T12:00", ["", "right after clocks go forward by 1 h", "", ""]),
        ("0 9 * * *", "2027-03-26T12:00", ["", "clocks go forward by 1 h before it", "", ""]),
        ("30 2 * * *", "2026-10-23T12:00", ["", "twice: the first time", "clocks go back by 1 h before it", ""]),
        ("30 * * * *", "2026-10-24T23:45", ["twice: the first time", "twice: the second time", "", ""]),
        ("0 9 * * *", "2026-06-01T12:00", ["", "", "", ""]),
    ],
)  # fmt: skip
def test_slots_at_which_clocks_are_changed_are_marked(expression: str, now: str, said: list[str]) -> None:
    zone = "Europe/Paris"
    slots = [instant(slot) for slot in islice(Cron(expression, zone).between(utc(now).timestamp(), float("inf")), 4)]

    assert [change.replace("clocks show this time ", "") for change in clock_changes(slots, ZoneInfo(zone), utc(now))] == said


@scenario
async def test_slots_that_had_no_run_can_be_made_up_for_where_they_stand() -> None:
    app = TestApp(send_mail, self_moving=False)
    async with app, seen(app, token=OPERATOR) as client:
        await app.schedules.pause("send_mail", "every_morning")
        await app.advance("3d")
        await app.schedules.resume("send_mail", "every_morning")
        page = await client.get(MORNING)
        fields = dict(re.findall(r'name="(action|start|end)" value="([^"]*)"', page.text.partition("What has become")[2]))
        answer = await client.post(MORNING, data=fields)
        again = await client.post(MORNING, data=fields)

    assert "3 slots skipped" in text_of(page)
    assert "3%20runs%20were%20started" in answer.headers["set-cookie"]
    assert "every%20slot" in again.headers["set-cookie"]


@scenario
async def test_what_is_hidden_in_inputs_is_hidden_here_too(tmp_path: Path) -> None:
    async with with_runs(tmp_path) as app, seen(app) as client:
        assert "hunter2" not in (await client.get(MORNING)).text


@scenario
async def test_an_operator_pauses_and_resumes_it(tmp_path: Path) -> None:
    async with with_runs(tmp_path) as app, seen(app, token=OPERATOR) as client:
        await client.post(MORNING, data={"action": "pause"})
        state = await app.schedules.get("send_mail", "every_morning")
        text = text_of(await client.get(MORNING))
        await client.post(MORNING, data={"action": "resume"})
        after = await app.schedules.get("send_mail", "every_morning")

    assert (state.paused, state.paused_by) == (True, "web")
    assert "by web. Slots that come meanwhile are skipped." in text
    assert not after.paused


@scenario
async def test_triggering_leads_to_the_run(tmp_path: Path) -> None:
    async with with_runs(tmp_path) as app, seen(app, token=OPERATOR) as client:
        answer = await client.post(MORNING, data={"action": "trigger"})
        newest = (await app.schedules.slots("send_mail", "every_morning"))[0]

    assert answer.status_code == 303
    assert answer.headers["location"] == f"/runs/{newest.run_id}"
    assert newest.actor == "web"


@scenario
async def test_a_backfill_runs_each_past_slot_once_on_the_clocks_of_the_schedule(tmp_path: Path) -> None:
    async with with_runs(tmp_path) as app, seen(app, token=OPERATOR) as client:
        last = instant(app.now()).astimezone(ZoneInfo("Asia/Seoul")).date()
        fields = {"action": "backfill", "start": f"{last - timedelta(days=4)}T09:00", "end": f"{last - timedelta(days=1)}T09:00"}
        first = await client.post(MORNING, data=fields)
        again = await client.post(MORNING, data=fields)
        filled = [slot for slot in await app.schedules.slots("send_mail", "every_morning") if slot.outcome == "backfilled"]

    assert "3%20runs%20were%20started" in first.headers["set-cookie"]
    assert "every%20slot%20of%20that%20time" in again.headers["set-cookie"]
    assert [slot.at.hour for slot in filled] == [0, 0, 0]  # nine o'clock in Seoul
    assert {slot.actor for slot in filled} == {"web"}


@pytest.mark.parametrize(
    "fields",
    [
        {"start": "", "end": ""},
        {"start": "yesterday", "end": "2026-01-01T00:00"},
        {"start": "2026-01-02T00:00", "end": "2026-01-01T00:00"},
        {"start": "0001-01-01T00:00", "end": "2026-01-01T00:00"},
    ],
)
@scenario
async def test_a_backfill_of_no_time_is_refused(fields: dict[str, str], tmp_path: Path) -> None:
    async with with_runs(tmp_path) as app, seen(app) as client:
        answer = await client.post(MORNING, data={"action": "backfill", **fields})

    assert answer.status_code == 400
    assert "backfill" in answer.text


@scenario
async def test_the_history_of_slots_goes_on_page_by_page() -> None:
    segment, rest = ODD.replace("%", "%25").replace("/", "%2F"), ODD.replace("%", "%25")
    app = TestApp(odd, self_moving=False)
    async with app, seen(app) as client:
        for _ in range(51):
            await app.schedules.trigger(odd.name, ODD)
        first = await client.get(f"/schedules/{quote(segment)}/{quote(rest)}")
        older = first.text.partition('rel="next" href="')[2].partition('"')[0]
        second = text_of(await client.get(older))

    assert first.text.count(">triggered<") == 50
    assert second.count("triggered") == 1
    assert "Newer" in second
