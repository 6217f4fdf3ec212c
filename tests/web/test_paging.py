"""Pages of lists that are known as a whole: each row is on one page, and one can search."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell import Schedule, Step, workflow
from stepwell.web.paging import SIZE, part_of
from tests.engine.harness import scenario
from tests.web.seeing import app_in, seen, text_of

names = st.lists(st.text(st.characters(codec="utf-8"), max_size=3), max_size=3 * SIZE, unique=True)


@given(names)
def test_going_from_page_to_page_shows_every_row_once(rows: list[str]) -> None:
    shown: list[str] = []
    query: dict[str, str] = {}
    while True:
        part = part_of(rows, lambda row: (row,), query)
        shown += part.items
        assert len(part.items) <= SIZE
        if part.after is None:
            break
        query = {"after": part.after}

    assert shown == sorted(row for row in rows)


def test_a_search_finds_great_and_small_letters_alike() -> None:
    part = part_of(["Pay", "mail", "repay"], lambda row: (row,), {"find": " PAY "})

    assert part.items == ("Pay", "repay")
    assert part.searched == "PAY"
    assert part.is_long


@pytest.mark.parametrize("after", ["", "x", "{}", "[1]", "null", "[" * 100_000])
def test_a_place_that_nobody_has_made_here_is_the_beginning(after: str) -> None:
    part = part_of(["a", "b"], lambda row: (row,), {"after": after})

    assert part.items == ("a", "b")
    assert part.first


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
