"""The pages of workflows: what people learn from them, and pausing."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from stepwell import Step, workflow
from stepwell.core.records import UNRESOLVED, Definition, LiveVersion, WorkflowState
from stepwell.web.workflows import rows_of
from tests.engine.harness import scenario
from tests.web.seeing import ODD, app_in, odd, seen, send_mail, text_of, with_runs


@scenario
async def test_the_list_shows_versions_schedules_and_how_it_has_gone(tmp_path: Path) -> None:
    async with with_runs(tmp_path) as app, seen(app) as client:
        text = text_of(await client.get("/workflows"))

    assert "v2 v1: 1 run, nobody has it" in text
    assert "At 09:00, every day Asia/Seoul" in text
    assert "33 %" in text  # one of three has failed
    assert "nobody_has_it nobody has it" in text


@scenario
async def test_old_versions_that_still_have_runs_are_told(tmp_path: Path) -> None:
    async with with_runs(tmp_path) as app, seen(app) as client:
        text = text_of(await client.get("/workflows/send_mail"))

    assert "1 run is still on v1, and nobody has its code." in text
    assert "queue mail" in text
    assert "timeout 1 h" in text
    assert "last 24 h : 2 ok, 1 failed" in text.replace(":", " :").replace("  ", " ")


@scenario
async def test_code_of_an_old_version_that_is_needed_must_not_be_deleted(tmp_path: Path) -> None:
    @workflow(name="send_mail", version="v1", queue="mail")
    async def earlier(input: dict[str, str], step: Step) -> None:
        return None

    async with with_runs(tmp_path):
        app = app_in(tmp_path, send_mail, earlier)
        async with app, seen(app) as client:
            text = text_of(await client.get("/workflows/send_mail"))

    assert "1 run is still on v1: do not delete its code yet." in text


@scenario
async def test_the_schema_of_the_input_is_shown(tmp_path: Path) -> None:
    async with with_runs(tmp_path) as app, seen(app) as client:
        text = text_of(await client.get("/workflows/send_mail"))

    assert '"additionalProperties": { "type": "string" }' in text


@scenario
async def test_the_command_that_starts_it_has_an_input_where_it_takes_one(tmp_path: Path) -> None:
    @workflow
    async def clean_up(step: Step) -> None:
        return None

    app = app_in(tmp_path, send_mail, clean_up)
    async with app, seen(app) as client:
        with_input, without = [text_of(await client.get(f"/workflows/{name}")) for name in ("send_mail", "clean_up")]

    assert "stepwell start send_mail --input '…' starts it." in with_input
    assert "stepwell start clean_up starts it." in without


@scenario
async def test_a_workflow_that_only_has_runs_has_a_page(tmp_path: Path) -> None:
    async with with_runs(tmp_path) as app, seen(app) as client:
        text = text_of(await client.get("/workflows/nobody_has_it"))

    assert "No worker has published this workflow" in text
    assert "Pending" in text


@scenario
async def test_an_admin_pauses_a_workflow_and_lets_it_go_on(tmp_path: Path) -> None:
    async with with_runs(tmp_path) as app, seen(app) as client:
        paused = await client.post("/workflows/send_mail", data={"action": "pause"})
        assert [state.name for state in await app.workflows.list() if state.paused] == ["send_mail"]
        shown = (await client.get(paused.headers["location"])).text
        await client.post("/workflows/send_mail", data={"action": "resume"})
        assert not any(state.paused for state in await app.workflows.list())

    assert paused.status_code == 303
    assert "workflow send_mail is paused" in shown
    assert "Resume" in shown


@scenario
async def test_definitions_are_those_of_this_app_and_of_workers(tmp_path: Path) -> None:
    async with with_runs(tmp_path):
        stranger = app_in(tmp_path)
        async with stranger:
            (published,) = await stranger.workflows.definitions("send_mail")
            assert await stranger.workflows.definitions("none") == []

    fresh = app_in(tmp_path / "..", odd)
    async with fresh:
        (own,) = await fresh.workflows.definitions(odd.name)

    assert isinstance(published, Definition)
    assert (published.version, published.queue, published.timeout) == ("v2", "mail", 3600.0)
    assert own.input_schema == '{"type":"string"}'


def test_the_newest_version_is_the_one_that_a_start_by_name_gets() -> None:
    states = [
        WorkflowState(name="pay", versions=("v10", "v9"), paused=False),
        WorkflowState(name="mail", versions=("v1", None), paused=False),
    ]
    live = [
        LiveVersion(workflow="pay", version="v9", count=3),
        LiveVersion(workflow="pay", version=UNRESOLVED, count=1),
        LiveVersion(workflow="mail", version="v1", count=2),
    ]

    mail, pay = rows_of(states, live, {}, {})

    assert [each.version for each in pay.versions if each.newest] == ["v10"]
    assert [each.version for each in pay.versions if each.is_old] == ["v9"]
    assert [each.version for each in mail.versions if each.newest] == [None]
    assert [each.version for each in mail.versions if each.is_old] == ["v1"]
    assert pay.live == 4


@scenario
async def test_what_follows_a_failure_is_told_in_words_also_where_nobody_has_the_code(tmp_path: Path) -> None:
    async with with_runs(tmp_path):
        stranger = app_in(tmp_path)
        async with stranger, seen(stranger) as client:
            listed = text_of(await client.get("/workflows"))
            of_mail = text_of(await client.get("/workflows/send_mail"))
            of_odd = text_of(await client.get("/workflows/" + quote(ODD.replace("%", "%25").replace("/", "%2F"))))

    assert "1 try 1 2 ended" not in listed
    assert "5 tries, 1 s to 8 s" in listed
    assert "retry 1 try" in of_mail
    assert "retry 5 tries, after 1 s, 2 s, 4 s and 8 s" in of_odd
