"""Pages lead to themselves with what the address says, and a deed for all that match reaches those that were shown, and no others."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

from stepwell import Step, workflow
from tests.engine.harness import scenario
from tests.web.seeing import app_in, links_of, seen


@workflow(name="report")
async def report(step: Step) -> None:
    """The one without a version."""


@workflow(name="report", version="v2")
async def newer_report(step: Step) -> None:
    """Another one of the same name."""


def _address(html: str, pattern: str) -> str:
    (address,) = set(re.findall(pattern, html))
    return unescape(address)


@scenario
async def test_what_is_done_to_all_runs_without_a_version_leaves_those_with_one_alone(tmp_path: Path) -> None:
    async with app_in(tmp_path, report, newer_report) as app, seen(app) as client:
        plain, versioned = await app.start(report), await app.start(newer_report)

        page = await client.get("/tasks", params={"workflow": "report", "unversioned": "yes"})
        listed = page.text.partition('id="rows"')[2]
        assert plain.run_id in listed
        assert versioned.run_id not in listed
        question = await client.get(_address(page.text, r'href="([^"]*/tasks/matching[^"]*)"'))
        assert "Cancel 1 run<" in question.text
        await client.post(_address(question.text, r'action="([^"]*/tasks[?][^"]*)"'), data={"action": "cancel", "scope": "matching"})

        assert (await plain.get()).status == "canceled"
        assert (await versioned.get()).status == "pending"


@scenario
async def test_the_banner_about_runs_without_a_version_leads_to_them_and_no_others(tmp_path: Path) -> None:
    async with app_in(tmp_path, report) as app:
        plain = await app.start(report)
    async with app_in(tmp_path, newer_report) as app, app.worker(), seen(app) as client:
        versioned = await app.start(newer_report)

        banner = await client.get("/workflows/report")
        (link,) = (link for link in links_of(banner) if "unversioned" in link)
        page = await client.get(link)

    listed = page.text.partition('id="rows"')[2]
    assert plain.run_id in listed
    assert versioned.run_id not in listed


@scenario
async def test_what_an_address_says_several_times_stays_so_in_its_links(tmp_path: Path) -> None:
    async with app_in(tmp_path, report) as app, seen(app) as client:
        run = await app.start(report)
        page = await client.get(f"/runs/{run.run_id}?open=a_*&open=b_*")

    assert f'href="/runs/{run.run_id}?open=a_%2A&amp;open=b_%2A&amp;tab=logs#tab"' in page.text
