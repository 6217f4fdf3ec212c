"""Charts: what is drawn of what has ended, and the same figures as JSON."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell import workflow
from stepwell.core.records import Ends, Waits, instant
from stepwell.errors import TooSlow
from stepwell.testing import TestApp
from stepwell.web.columns import columns, round_above, share, spread
from stepwell.web.figures import DAY, SPANS, Figures, Span, span_of
from tests.engine.harness import scenario
from tests.web.seeing import Counting, app_in, links_of, seen, send_mail, text_of, with_runs

counts = st.integers(0, 10**9)
some_ends = st.lists(st.builds(Ends, at=st.just(instant(0)), completed=counts, failed=counts, canceled=counts), max_size=100)


@given(some_ends, st.integers(1, 2_000), st.integers(1, 400), st.booleans())
def test_all_that_is_there_is_drawn_and_nothing_outside_the_frame(ends: list[Ends], width: int, height: int, rounded: bool) -> None:
    drawn = columns(ends, width, height, rounded=rounded)

    assert len(drawn.bars) == sum(count > 0 for each in ends for count in (each.completed, each.failed, each.canceled))
    assert all(bar.y >= 0 and bar.height >= 0 and bar.y + bar.height <= height + 0.02 for bar in drawn.bars)
    assert drawn.total == sum(each.completed + each.failed + each.canceled for each in ends)


@given(st.integers(0, 10**12))
def test_a_frame_is_at_most_two_and_a_half_times_as_high_as_what_is_in_it(count: int) -> None:
    top = round_above(count)

    assert max(count, 1) <= top <= max(2.5 * count, 1)


@pytest.mark.parametrize(("part", "whole", "long"), [(3, 8, 30.0), (0, 8, 0.0), (9, 8, 80.0), (1, 0, 0.0)])
def test_a_share_is_never_longer_than_all_of_it(part: int, whole: int, long: float) -> None:
    assert share(part, whole, 80) == long


@pytest.mark.parametrize("span", SPANS)
def test_intervals_begin_at_whole_ones_and_the_last_is_under_way(span: Span) -> None:
    now = instant(1_800_000_123.5)

    since, until = span.bounds(now)

    assert since.timestamp() % span.width.total_seconds() == 0
    assert now < until <= now + span.width
    assert until - since == span.width * span.intervals
    assert span_of(span.name) is span


def test_a_time_that_there_is_not_is_a_day() -> None:
    assert span_of("7 weeks") is DAY
    assert span_of(None) is DAY


@scenario
async def test_figures_are_asked_for_every_fifteen_seconds_at_most() -> None:
    app = TestApp(send_mail, self_moving=False)
    async with app:
        counting = Counting(app.store)
        app.store = counting
        figures, now = Figures(app), instant(1_800_000_000)
        for seconds in (0, 5, 14.9):
            await figures.ends(DAY, now + timedelta(seconds=seconds))
        assert counting.asked["ends"] == 1
        await figures.ends(DAY, now + timedelta(seconds=15))
        await figures.ends(DAY, now + timedelta(seconds=15), "send_mail")
        assert counting.asked["ends"] == 3


class Slow(Counting):
    """A store for which everything is too much."""

    def __getattr__(self, verb: str) -> Any:
        if verb not in ("ends", "ends_by_workflow", "waits", "speeds", "backlog", "live_versions"):
            return super().__getattr__(verb)
        self.asked[verb] += 1
        return self._refuse

    async def _refuse(self, *_: object) -> None:
        raise TooSlow("narrow the time")


@pytest.mark.parametrize("path", ["/charts", "/tasks", "/workflows", "/workflows/send_mail", "/workers", "/system"])
@scenario
async def test_a_page_without_the_figures_that_would_take_too_long_says_so(path: str) -> None:
    app = TestApp(send_mail, self_moving=False)
    async with app:
        app.store = Slow(app.store)
        async with seen(app) as client:
            assert "too" in text_of(await client.get(path))
            assert (await client.get("/charts.json")).json()["times"] is None
            assert (await client.get("/charts.json?of=waits")).json()["times"] is None


@scenario
async def test_the_chart_says_in_words_and_in_a_table_what_it_shows(tmp_path: Path) -> None:
    async with with_runs(tmp_path) as app, seen(app) as client:
        answer = await client.get("/charts?range=1h")
        text = text_of(answer)
        of_none = text_of(await client.get("/charts?range=1h&workflow=none"))

    assert "completed 3" in text
    assert "failed 1" in text
    assert '<rect class="failed"' in answer.text
    assert "ready 2" in text
    assert "No run of none has ended in this time." in of_none
    assert "No run of none that was created in this time has begun, or waits." in of_none


@scenario
async def test_the_same_figures_are_there_as_json(tmp_path: Path) -> None:
    async with with_runs(tmp_path) as app, seen(app) as client:
        said = (await client.get("/charts.json?range=1h&workflow=send_mail")).json()

    assert (sum(said["completed"]), sum(said["failed"]), sum(said["canceled"])) == (2, 1, 0)
    assert said["times"] == [said["times"][0] + 60 * place for place in range(60)]


@workflow
async def quick() -> None: ...


@scenario
async def test_how_long_runs_waited_is_said_in_words_in_a_table_and_as_json() -> None:
    app = TestApp(quick, self_moving=False)
    async with app, seen(app) as client:
        await app.execute(quick)
        await app.start("nobody_has_it", None)
        await app.advance("10m")
        await app.start("nobody_has_it", None)
        await app.advance("3m")
        answer = await client.get("/charts?range=1h")
        said = (await client.get("/charts.json?range=1h&of=waits")).json()
        of_mail = (await client.get("/charts.json?range=1h&of=waits&workflow=quick")).json()

    text = text_of(answer)
    assert "lately half of them at most 3 m , almost all at most 3 m longest 13 m , of those created" in text
    assert '<rect class="most"' in answer.text
    assert '<rect class="half"' in answer.text
    assert [(runs, half, most) for runs, half, most in zip(said["runs"], said["half"], said["most"], strict=True) if runs] == [
        (2, 0.0, 780.0),
        (1, 180.0, 180.0),
    ]
    assert said["half"].count(None) == 58
    assert sum(of_mail["runs"]) == 1


@scenario
async def test_each_row_of_a_table_leads_to_the_runs_that_were_created_in_that_time(tmp_path: Path) -> None:
    async with with_runs(tmp_path) as app, seen(app) as client:
        answer = await client.get("/charts?range=1h&workflow=send_mail")
        rows = {link for link in links_of(answer) if "from=" in link}
        found = [await client.get(link) for link in rows]

    assert all("workflow=send_mail" in link for link in rows)
    assert sum(text.count("data-row") for text in (each.text.partition("data-list")[2] for each in found)) >= 4


waited = st.lists(st.builds(lambda low, more: (low, low + more), st.integers(0, 10**7), st.integers(0, 10**7)), max_size=50)


@given(waited, st.integers(1, 2_000), st.integers(1, 400))
def test_times_are_drawn_below_a_round_one(found: list[tuple[int, int]], width: int, height: int) -> None:
    waits = [Waits(at=instant(0), runs=1, p50=timedelta(seconds=low), p95=timedelta(seconds=high)) for low, high in found]
    waits.append(Waits(at=instant(0), runs=0, p50=None, p95=None))

    drawn = spread(waits, width, height)

    assert drawn.top >= max((high for _, high in found), default=0)
    assert len(drawn.bars) == 2 * len(found)
    assert all(bar.height >= 1 and bar.y + bar.height <= max(height, 1) + 0.02 and bar.y > -0.02 for bar in drawn.bars)


@scenario
async def test_the_json_is_for_those_who_have_signed_in(tmp_path: Path) -> None:
    app = app_in(tmp_path)
    async with app, seen(app, token=None) as client:
        assert (await client.get("/charts.json")).status_code == 401


@pytest.mark.parametrize("path", ["/charts", "/charts.json"])
@scenario
async def test_a_name_that_no_workflow_can_have_is_refused(path: str, tmp_path: Path) -> None:
    app = app_in(tmp_path)
    async with app, seen(app) as client:
        assert (await client.get(path, params={"workflow": "\0"})).status_code == 400


@scenario
async def test_the_page_of_tasks_sums_up_the_last_day(tmp_path: Path) -> None:
    async with with_runs(tmp_path) as app, seen(app) as client:
        assert "last 24 h: 3 ok, 1 failed" in text_of(await client.get("/tasks")).replace(" :", ":")
