"""The pipeline: what was collected is used again."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from examples import pipeline
from examples.pipeline import PAGES, Site, Source, main, word_counts
from stepwell import Stepwell
from tests.engine.harness import scenario


def stored_in(database: Path) -> dict[str, int]:
    with closing(sqlite3.connect(database)) as connection:
        return dict(connection.execute("SELECT word, count FROM words").fetchall())


@scenario
async def test_pages_are_collected_transformed_and_stored(url: str, tmp_path: Path) -> None:
    with Site() as site:
        async with Stepwell(url, workflows=[word_counts]) as app, app.worker():
            count = await app.execute(word_counts, Source(urls=site.urls, database=tmp_path / "words.db"))

    stored = stored_in(tmp_path / "words.db")
    assert len(stored) == count
    assert (stored["water"], stored["stepwell"]) == (3, 1)
    assert sorted(site.asked) == sorted(PAGES)


@scenario
async def test_a_changed_transform_goes_on_from_the_collected_pages(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Site() as site:
        source = Source(urls=site.urls, database=tmp_path / "words.db")
        async with Stepwell(url, workflows=[word_counts]) as app, app.worker():
            first = await app.start(word_counts, source)
            await first.result()

    monkeypatch.setattr(pipeline, "count_words", lambda pages: {"pages": len(pages)})
    async with Stepwell(url, workflows=[word_counts]) as app, app.worker():
        fork = await app.runs.fork(first.run_id, from_step="transform")  # the site is gone by now
        assert await fork.result() == 1

    assert stored_in(tmp_path / "words.db") == {"pages": 3}
    assert sorted(site.asked) == sorted(PAGES)


@scenario
async def test_storing_a_second_time_leaves_what_the_first_time_left(tmp_path: Path) -> None:
    for _ in range(2):
        pipeline.store(tmp_path / "words.db", {"well": 1, "steps": 3})

    assert stored_in(tmp_path / "words.db") == {"well": 1, "steps": 3}


@scenario
async def test_its_program_forks_from_version_1_to_version_2_and_asks_the_site_once(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await main(tmp_path / "words.db", url)

    first, second = capsys.readouterr().out.splitlines()
    assert (first.startswith("version 1: 20 words"), second.startswith("version 2: 14 words")) == (True, True)
    assert first.endswith("3 requests")
    assert second.endswith("3 requests")
