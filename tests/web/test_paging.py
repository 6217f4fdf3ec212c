"""Pages of lists by name: each row is on one page, and one can search."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepwell import Schedule, Step, workflow
from stepwell.core.records import Page
from stepwell.web.paging import SIZE, Part, asked, part_of
from tests.engine.harness import scenario
from tests.web.seeing import app_in, seen, text_of


def test_a_page_says_what_was_searched_and_where_the_next_one_begins() -> None:
    part = part_of(Page(items=("pay", "repay"), next_cursor="repay"), asked({"find": " PAY "}))

    assert part == Part(items=("pay", "repay"), searched="PAY", first=True, after="repay", is_long=True)


def test_a_short_list_has_no_search() -> None:
    assert not part_of(Page(items=("a", "b")), asked({})).is_long
    assert not part_of(Page(items=("a", "b")), asked({"after": "a"})).first


@pytest.mark.parametrize("path", ["/workflows", "/schedules"])
@scenario
async def test_a_long_list_has_pages_and_a_search(path: str, tmp_path: Path) -> None:
    async def body(step: Step) -> None:
        return None

    flows = [workflow(name=f"flow_{number:03}", schedules=[Schedule("daily", "@daily")])(body) for number in range(SIZE + 1)]
    app = app_in(tmp_path, *flows)
    async with app, seen(app) as client:
        first = await client.get(path)
        following = first.text.partition('rel="next" href="')[2].partition('"')[0].replace("&amp;", "&")
        second = text_of(await client.get(following))
        found = text_of(await client.get(path, params={"find": "LOW_007"}))
        none = text_of(await client.get(path, params={"find": "nothing"}))

    assert "flow_100" not in first.text
    assert "flow_100" in second
    assert "flow_099" not in second
    assert "flow_007" in found
    assert "flow_008" not in found
    assert "fits" in none
