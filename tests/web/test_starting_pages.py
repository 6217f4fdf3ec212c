"""Pages on which runs are started and done again, and the file of a run."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import Any, Literal

import pytest
from httpx import AsyncClient, Response
from pydantic import BaseModel, Field

from stepwell import Run, RunStatus, Step, Stepwell, workflow
from stepwell.testing import TestApp
from tests.engine.harness import scenario
from tests.web.seeing import EVIL, OPERATOR, VIEWER, Counting, app_in, seen, text_of


class Payment(BaseModel):
    user: str = Field(description="Whose <money> it is")
    amount: int = Field(ge=1)
    kind: Literal["card", "bank"] = "card"
    card_token: str = "none"
    note: str | None = None


@workflow(queue="money", timeout="1h")
async def pay(input: Payment, step: Step) -> str:
    await step.run("reserve", str, input.amount)
    await step.run("charge", str, input.amount)
    return input.card_token


@workflow(name="versioned", version="v1")
async def first(input: dict[str, Any]) -> None: ...


@workflow(name="versioned", version="v2")
async def second(input: int) -> None: ...


@workflow
async def shout(input: bytes = b"hey") -> int:
    return len(input)


@workflow
async def tick() -> None: ...


ALL = (pay, first, second, shout, tick)

PAGES = (
    "/runs/new",
    "/runs/new?workflow=pay",
    "/runs/new?workflow=pay&as=json",
    f"/runs/new?workflow={EVIL}",
    "/runs/new?workflow=versioned",
)


async def one(app: Stepwell) -> Run:
    """The only run there is."""
    (run,) = await app.runs.list()
    return run


async def paid(app: Stepwell, **fields: Any) -> str:
    """The id of a run that has been done."""
    handle = await app.start(pay, Payment.model_validate({"user": EVIL, "amount": 7, "card_token": "tok-1"} | fields), tags=["a, b", "c"])
    await app.worker(grace="0s").run_until_idle()
    return handle.run_id


def form_of(answer: Response) -> dict[str, str]:
    """What a browser sends of the form that starts a run, if nobody has touched it."""
    form = answer.text.partition('<form class="form card"')[2].partition("</form>")[0]
    sent = {}
    for tag in re.findall(r"<input [^>]*>", form):
        is_box, is_ticked = 'type="checkbox"' in tag, " checked" in tag
        if not is_box or is_ticked:
            sent[_said(tag, "name")] = _said(tag, "value")
    for name, text in re.findall(r'<textarea [^>]*name="([^"]*)"[^>]*>\n(.*?)</textarea>', form, re.DOTALL):
        sent[unescape(name)] = unescape(text)
    for name, options in re.findall(r'<select [^>]*name="([^"]*)"[^>]*>(.*?)</select>', form, re.DOTALL):
        chosen = [tag for tag in re.findall(r"<option[^>]*>", options) if " selected" in tag] or re.findall(r"<option[^>]*>", options)[:1]
        sent[unescape(name)] = _said(chosen[0], "value")
    return sent


def _said(tag: str, name: str) -> str:
    found = re.search(rf'{name}="([^"]*)"', tag)
    assert found, tag
    return unescape(found[1])


def wrong_fields(answer: Response) -> dict[str, str]:
    """What is said beside fields, by their names."""
    assert answer.status_code == 422, answer.text
    found = {}
    for tag in re.findall(r'<(?:input|textarea|select) [^>]*aria-invalid="true"[^>]*>', answer.text):
        error = re.search(rf'id="{_said(tag, "id")}-error">([^<]*)<', answer.text)
        assert error
        assert f"{_said(tag, 'id')}-error" in _said(tag, "aria-describedby").split()
        found[_said(tag, "name")] = unescape(error[1])
    return found


async def go(client: AsyncClient, path: str, **changes: str) -> Response:
    """Open the form, change some of it, and send it."""
    opened = await client.get(path)
    assert opened.status_code == 200, opened.text
    return await client.post(path, data=form_of(opened) | {name.replace("__", "/"): text for name, text in changes.items()})


# -- a new run


@scenario
async def test_workflows_to_start_are_listed_with_their_versions(tmp_path: Path) -> None:
    app = app_in(tmp_path, *ALL)
    async with app, seen(app) as client:
        answer = await client.get("/runs/new")

    assert "/runs/new?workflow=pay" in answer.text
    assert "/runs/new?workflow=versioned&amp;version=v1" in answer.text


@scenario
async def test_where_no_workflow_is_known_the_page_says_how_one_is(tmp_path: Path) -> None:
    app = app_in(tmp_path)
    async with app, seen(app) as client:
        assert "stepwell worker app.py" in text_of(await client.get("/runs/new"))


@scenario
async def test_a_form_starts_a_run_with_what_was_typed(tmp_path: Path) -> None:
    app = app_in(tmp_path, *ALL)
    async with app, seen(app) as client:
        answer = await go(client, "/runs/new?workflow=pay", input__user="ada", input__amount=str(2**60), input__kind='"bank"')
        run = await one(app)

        assert answer.headers["location"] == f"/runs/{run.id}"
        assert run.input == {"user": "ada", "amount": 2**60, "kind": "bank", "card_token": "none", "note": None}
        assert (run.workflow, run.queue, run.status) == ("pay", "money", RunStatus.PENDING)


@scenario
async def test_a_run_has_the_options_of_its_form(tmp_path: Path) -> None:
    app = app_in(tmp_path, *ALL)
    options = {"key": "k-1", "delay": "10m", "queue": "other", "priority": "-3", "timeout": "2h", "tags": "x, y ,,x"}
    async with app, seen(app) as client:
        await go(client, "/runs/new?workflow=tick", **options)
        run = await one(app)
        again = await go(client, "/runs/new?workflow=tick", **options)

        assert (run.key, run.queue, run.priority, run.tags) == ("k-1", "other", -3, ("x", "y"))
        assert run.available_at is not None
        assert run.deadline_at is not None
        assert (run.available_at - run.created_at).total_seconds() == 600
        assert (run.deadline_at - run.available_at).total_seconds() == 7200
        assert again.headers["location"] == f"/runs/{run.id}"
        assert len(await app.runs.list()) == 1


@scenario
async def test_nothing_is_started_while_something_is_wrong_and_what_was_typed_stays(tmp_path: Path) -> None:
    app = app_in(tmp_path, *ALL)
    async with app, seen(app) as client:
        answer = await go(client, "/runs/new?workflow=pay", input__user=EVIL, input__amount="many", delay="10", priority="high", key="k")

        assert wrong_fields(answer).keys() == {"input/amount", "delay", "priority"}
        ids = re.findall(r' id="([^"]*)"', answer.text)
        assert len(ids) == len(set(ids))
        assert [link for link in re.findall(r'href="#([^"]*)"', answer.text) if link not in ids] == []
        assert {name: form_of(answer)[name] for name in ("input/user", "input/amount", "delay", "key")} == {
            "input/user": EVIL,
            "input/amount": "many",
            "delay": "10",
            "key": "k",
        }
        assert EVIL not in answer.text
        assert not (await app.runs.list()).items


@scenario
async def test_what_pydantic_finds_is_said_beside_its_field(tmp_path: Path) -> None:
    app = app_in(tmp_path, *ALL)
    async with app, seen(app) as client:
        fields = await go(client, "/runs/new?workflow=pay", input__user="ada", input__amount="0")
        whole = await go(client, "/runs/new?workflow=pay&as=json", input='{"user": "ada", "amount": 0}')

        assert wrong_fields(fields) == {"input/amount": "Input should be greater than or equal to 1"}
        assert wrong_fields(whole) == {"input": "amount: Input should be greater than or equal to 1"}
        assert not (await app.runs.list()).items


@scenario
async def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    app = app_in(tmp_path, *ALL)
    async with app, seen(app) as client:
        answer = await go(client, "/runs/new?workflow=pay", input__user="ada", input__amount="0", timeout="long")

        assert wrong_fields(answer).keys() == {"input/amount", "timeout"}


@scenario
async def test_enter_in_a_field_starts_the_run(tmp_path: Path) -> None:
    app = app_in(tmp_path, *ALL)
    async with app, seen(app) as client:
        form = (await client.get("/runs/new?workflow=pay")).text.partition('<form class="form card"')[2].partition("</form>")[0]
        first, *others = re.findall(r'<button type="submit"[^>]*>', form)

        assert 'name="turn"' not in first
        assert any('name="turn"' in button for button in others)


@scenario
async def test_an_input_can_be_written_as_json(tmp_path: Path) -> None:
    app = app_in(tmp_path, *ALL)
    async with app, seen(app) as client:
        await go(client, "/runs/new?workflow=pay&as=json", input='{"user": "ada", "amount": 36893488147419103232}')

        assert (await one(app)).input["amount"] == 2**65


@scenario
async def test_a_workflow_that_nobody_has_is_started_with_a_warning(tmp_path: Path) -> None:
    app = app_in(tmp_path, *ALL)
    async with app, seen(app) as client:
        opened = await client.get("/runs/new?workflow=nobody_has_it")
        await go(client, "/runs/new?workflow=nobody_has_it", input='{"a": 1}')
        run = await one(app)

        assert "No worker has nobody_has_it" in text_of(opened)
        assert (run.workflow, run.input) == ("nobody_has_it", {"a": 1})


@scenario
async def test_a_name_that_no_workflow_can_have_is_refused(tmp_path: Path) -> None:
    app = app_in(tmp_path, *ALL)
    async with app, seen(app) as client:
        assert (await client.get(f"/runs/new?workflow={'x' * 300}")).status_code == 400
        assert (await client.post("/runs/new", data={})).status_code == 400


@scenario
async def test_without_the_code_the_published_schema_makes_the_form_and_is_held_against_what_is_sent(tmp_path: Path) -> None:
    app, other = app_in(tmp_path, *ALL), app_in(tmp_path)
    async with app, other, seen(other) as client:
        await app.worker(grace="0s").run_until_idle()
        refused = await go(client, "/runs/new?workflow=pay", input__user="ada", input__amount="0")
        taken = await go(client, "/runs/new?workflow=pay", input__user="ada", input__amount="1")

        assert wrong_fields(refused) == {"input/amount": "this should be at least 1"}
        assert taken.status_code == 303
        assert (await one(app)).queue == "money"


@scenario
async def test_each_version_has_its_own_form(tmp_path: Path) -> None:
    app = app_in(tmp_path, *ALL)
    async with app, seen(app) as client:
        await go(client, "/runs/new?workflow=versioned", input="5")
        assert ((await one(app)).version, (await one(app)).input) == ("v2", 5)

        await go(client, "/runs/new?workflow=versioned&version=v1", input='{"a": 1}')
        assert [run.version for run in await app.runs.list()] == ["v1", "v2"]

        unknown = await client.get("/runs/new?workflow=versioned&version=v3")
        assert "No worker has versioned v3" in text_of(unknown)


@scenario
async def test_an_input_that_has_a_default_or_that_there_is_not_need_not_be_given(tmp_path: Path) -> None:
    app = app_in(tmp_path, *ALL)
    async with app, seen(app) as client:
        assert "takes no input" in text_of(await client.get("/runs/new?workflow=tick"))
        assert (await go(client, "/runs/new?workflow=tick")).status_code == 303
        assert (await go(client, "/runs/new?workflow=shout")).status_code == 303
        assert [run.input for run in await app.runs.list()] == [None, None]


# -- doing one again


@scenario
async def test_an_untouched_form_does_the_same_again_with_what_it_does_not_show(tmp_path: Path) -> None:
    app = app_in(tmp_path, *ALL)
    async with app, seen(app) as client:
        old = await app.runs.get(await paid(app))
        opened = await client.get(f"/runs/{old.id}/rerun")
        answer = await go(client, f"/runs/{old.id}/rerun")
        new = await app.runs.get(answer.headers["location"].removeprefix("/runs/"))

        assert "tok-1" not in opened.text
        assert new.id != old.id
        assert (new.input, new.tags, new.queue, new.priority, new.version) == (old.input, old.tags, old.queue, old.priority, old.version)
        assert new.input["card_token"] == "tok-1"


@scenario
async def test_a_rerun_takes_changes_and_keeps_the_rest(tmp_path: Path) -> None:
    app = app_in(tmp_path, *ALL)
    async with app, seen(app) as client:
        old = await paid(app)
        fields = await go(client, f"/runs/{old}/rerun", input__amount="8", tags="x")
        hidden = await go(client, f"/runs/{old}/rerun", input__card_token="tok-2")
        runs = [await app.runs.get(answer.headers["location"].removeprefix("/runs/")) for answer in (fields, hidden)]

        assert [(run.input["amount"], run.input["card_token"]) for run in runs] == [(8, "tok-1"), (7, "tok-2")]
        assert runs[0].tags == ("x",)


@scenario
async def test_bytes_stay_what_they_are_in_a_rerun(tmp_path: Path) -> None:
    app = app_in(tmp_path, *ALL)
    async with app, seen(app) as client:
        handle = await app.start(shout, b"\x00\xff")
        old = await handle.get()
        answer = await go(client, f"/runs/{old.id}/rerun")

        assert (await app.runs.get(answer.headers["location"].removeprefix("/runs/"))).input == old.input


@scenario
async def test_a_rerun_from_a_step_keeps_the_results_before_it(tmp_path: Path) -> None:
    app = app_in(tmp_path, *ALL)
    async with app, seen(app) as client:
        old = await paid(app)
        same = await go(client, f"/runs/{old}/rerun?from_step=charge")
        edited = await go(client, f"/runs/{old}/rerun?from_step=charge", input__amount="9")
        runs = [await app.runs.get(answer.headers["location"].removeprefix("/runs/")) for answer in (same, edited)]

        assert [(run.forked_from, run.input["amount"], run.input["card_token"]) for run in runs] == [(old, 7, "tok-1"), (old, 9, "tok-1")]
        assert [step.key for step in await app.runs.steps(runs[0].id)] == ["reserve"]
        assert [event.actor for event in await app.runs.events(runs[0].id)] == ["web"]


@scenario
async def test_a_step_that_there_is_not_is_said(tmp_path: Path) -> None:
    app = app_in(tmp_path, *ALL)
    async with app, seen(app) as client:
        answer = await go(client, f"/runs/{await paid(app)}/rerun?from_step=nothing")

        assert answer.status_code == 422
        assert "charge" in answer.text
        assert len(await app.runs.list()) == 1


@scenario
async def test_a_run_whose_code_is_gone_is_done_again_as_json(tmp_path: Path) -> None:
    app = app_in(tmp_path, *ALL)
    async with app, seen(app) as client:
        old = await app.start("gone", {"token": "tok-1", "a": [1]}, version="v9")
        opened = await client.get(f"/runs/{old.run_id}/rerun")
        answer = await go(client, f"/runs/{old.run_id}/rerun")
        new = await app.runs.get(answer.headers["location"].removeprefix("/runs/"))

        assert "tok-1" not in opened.text
        assert (new.input, new.version) == ({"token": "tok-1", "a": [1]}, "v9")


@scenario
async def test_a_run_of_very_many_steps_has_a_field_for_the_step(tmp_path: Path) -> None:
    @workflow
    async def many(step: Step) -> None:
        await step.map("each", str, range(300))

    app = app_in(tmp_path, many)
    async with app, seen(app) as client:
        handle = await app.start(many)
        await app.worker(grace="0s").run_until_idle()
        answer = await client.get(f"/runs/{handle.run_id}/rerun")

        assert '<input name="from_step"' in answer.text


# -- a run as a file


@scenario
async def test_a_run_is_a_file_without_what_is_hidden(tmp_path: Path) -> None:
    app = app_in(tmp_path, *ALL)
    async with app, seen(app, token=VIEWER) as client:
        run_id = await paid(app)
        await app.runs.fork(run_id, from_step="charge", actor="ada")
        answer = await client.get(f"/runs/{run_id}.json")
        found = answer.json()

    assert "tok-1" not in str(found["run"]["input"])
    assert (found["run"]["id"], found["run"]["status"]) == (run_id, "completed")
    assert [(step["key"], step["output"]) for step in found["steps"]] == [("reserve", "7"), ("charge", "7")]
    assert answer.headers["content-disposition"] == f'attachment; filename="{run_id}.json"'


@scenario
async def test_what_was_typed_is_taken_along_when_it_is_to_be_written_as_json(tmp_path: Path) -> None:
    app = app_in(tmp_path, *ALL)
    async with app, seen(app) as client:
        typed = form_of(await client.get("/runs/new?workflow=pay")) | {"input/user": "ada", "input/amount": "5", "key": "k", "delay": "x"}
        as_json = await client.post("/runs/new?workflow=pay&as=json", data=typed | {"turn": "yes"})
        back = await client.post("/runs/new?workflow=pay", data=form_of(as_json) | {"turn": "yes"})
        started = await client.post("/runs/new?workflow=pay", data=form_of(back) | {"delay": ""})

        assert (form_of(as_json)["key"], form_of(back)["delay"]) == ("k", "x")
        assert started.status_code == 303
        assert ((await one(app)).input["user"], (await one(app)).input["amount"], (await one(app)).key) == ("ada", 5, "k")


# -- what holds for all of them


@pytest.mark.parametrize("path", PAGES)
@scenario
async def test_a_page_shows_texts_as_texts_and_has_neither_styles_nor_scripts_in_it(path: str, tmp_path: Path) -> None:
    app = app_in(tmp_path, *ALL)
    async with app, seen(app, prefix="/admin/jobs") as client:
        answer = await client.get(f"/admin/jobs{path}")

    _is_clean(answer)


@pytest.mark.parametrize("query", ["", "?as=json", "?from_step=charge", "?from_step=<script>alert(1)</script>", "?version=v9"])
@scenario
async def test_so_does_the_form_of_a_rerun(query: str, tmp_path: Path) -> None:
    app = app_in(tmp_path, *ALL)
    async with app, seen(app, prefix="/admin/jobs") as client:
        answer = await client.get(f"/admin/jobs/runs/{await paid(app)}/rerun{query}")

    _is_clean(answer)


def _is_clean(answer: Response) -> None:
    assert answer.status_code == 200
    assert EVIL not in answer.text
    assert not re.search(r"\sstyle=|<style|\son[a-z]+=|<script(?![^>]*\ssrc=)|javascript:", answer.text)
    assert "&amp;lt;" not in answer.text
    links = re.findall(r'(?:href|action|src)="([^"]*)"', answer.text)
    assert [link for link in links if not link.startswith(("/admin/jobs/", "#"))] == []
    main = answer.text.partition("<main")[2]
    for control in re.findall(r"<(?:input|select|textarea) [^>]*>", main.partition('<form class="form card"')[2]):
        name = re.search(r' id="([^"]*)"', control)
        assert 'type="checkbox"' in control or name is None or f'for="{name[1]}"' in main, control


@scenario
async def test_what_is_sent_below_a_prefix_starts_a_run_there(tmp_path: Path) -> None:
    app = app_in(tmp_path, *ALL)
    async with app, seen(app, prefix="/admin/jobs") as client:
        answer = await go(client, "/admin/jobs/runs/new?workflow=tick")

        assert answer.headers["location"] == f"/admin/jobs/runs/{(await one(app)).id}"


@pytest.mark.parametrize("path", ["/runs/0197/rerun", "/runs/0197.json"])
@scenario
async def test_a_run_that_there_is_not_is_a_page_that_says_so(path: str, tmp_path: Path) -> None:
    app = app_in(tmp_path, *ALL)
    async with app, seen(app) as client:
        assert (await client.get(path)).status_code == 404


@scenario
async def test_nobody_starts_a_run_without_the_right_to(tmp_path: Path) -> None:
    app = app_in(tmp_path, *ALL)
    async with app:
        run_id = await paid(app)
        for token, status in ((VIEWER, 403), (None, 401)):
            async with seen(app, token=token) as client:
                for path in ("/runs/new", "/runs/new?workflow=tick", f"/runs/{run_id}/rerun", f"/runs/{run_id}/rerun?from_step=charge"):
                    assert (await client.get(path)).status_code == status, path
                    assert (await client.post(path, data={"input": "null"})).status_code == status, path
        async with seen(app, token=None) as client:
            assert (await client.get(f"/runs/{run_id}.json")).status_code == 401
        async with seen(app, token=OPERATOR) as client:
            assert (await client.get("/runs/new")).status_code == 200
        assert len(await app.runs.list()) == 1


@pytest.mark.parametrize(
    ("path", "verbs"),
    [
        ("/runs/new", {"catalog"}),
        ("/runs/new?workflow=pay", {"published"}),
        ("/runs/{run_id}/rerun", {"published", "get", "trace", "around"}),
        ("/runs/{run_id}.json", {"get", "some_steps", "events", "around"}),
    ],
)
@scenario
async def test_a_page_asks_the_store_for_few_things(path: str, verbs: set[str]) -> None:
    app = TestApp(*ALL, self_moving=False)
    async with app:
        waiting = await app.start("nobody_has_it")
        counting = Counting(app.store)
        app.store = counting
        async with seen(app) as client:
            assert (await client.get(path.format(run_id=waiting.run_id))).status_code == 200

        assert set(counting.asked) <= verbs  # what is published may be known for a second already
        assert counting.asked.total() <= 6
