"""Values under hidden names are shown nowhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, field_validator

from stepwell import Retry, RunFailed, Schedule, Step, workflow
from stepwell.web.prose import HIDDEN
from stepwell.web.redaction import Redactor
from tests.engine.harness import scenario
from tests.web.seeing import OPERATOR, VIEWER, app_in, seen, text_of

SECRET = "hunter2"

redact = Redactor(["password", "token"])

NAMES = st.sampled_from(['password"x', 'x"password', "pass\\word", "password\\", "Token", "a:b", "x", 'password": "'])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner), max_leaves=8
)


@given(st.dictionaries(NAMES, VALUES))
def test_a_preview_hides_whatever_its_value_hides_wherever_it_is_cut(value: dict[str, Any]) -> None:
    marked = _with_marks(value, hidden=False)
    text = json.dumps(marked, separators=(",", ":"), ensure_ascii=False)

    for length in range(len(text) + 1):
        assert SECRET not in redact.text(text[:length])


def _with_marks(value: Any, *, hidden: bool) -> Any:
    """The value, with a text in place of whatever is hidden."""
    if isinstance(value, dict):
        return {name: _with_marks(item, hidden=hidden or redact.hides(name)) for name, item in value.items()}
    if isinstance(value, list):
        return [_with_marks(item, hidden=hidden) for item in value]
    return SECRET if hidden else "" if isinstance(value, str) else value


class Login(BaseModel):
    token: str = SECRET


class Account(BaseModel):
    user: str = "ada"
    password: str = Field(default=SECRET, examples=[f"{SECRET}!"])
    logins: list[Login] = Field(default=[Login()])


@workflow(
    name="sign_in",
    retry=Retry.never(),
    schedules=[Schedule("every_morning", "0 9 * * *", input=Account(password=SECRET))],
)
async def sign_in(input: Account, step: Step, logger: Any) -> dict[str, str]:
    logger.info("signed in", password=SECRET, nested={"token": SECRET})
    logger.info(" ".join(["asked with", f"api_token={SECRET}"]), request=[f"POST /login password={SECRET}"])
    await step.progress(1, 2, f"password: {SECRET}")
    found = await step.run("sign", lambda: {"token": SECRET, "user": input.user})
    if input.user == "nobody":
        await step.run("look", _look)
    return found


def _look() -> None:
    raise ValueError(f"no user {{'name': 'nobody', 'password': '{SECRET}'}} in postgresql://ada:{SECRET}@db/users?token={SECRET}")


def test_the_schema_of_a_hidden_field_shows_none_of_its_values() -> None:
    shown = redact.schema(Account.model_json_schema())

    assert SECRET not in json.dumps(shown)
    assert shown["properties"]["user"]["default"] == "ada"
    assert shown["properties"]["password"] == {"default": HIDDEN, "examples": HIDDEN, "title": "Password", "type": "string"}


PLACES = (
    "/tasks?from=all",
    "/workflows/sign_in",
    "/schedules/sign_in/every_morning",
    "/runs/new?workflow=sign_in",
    "/runs/new?workflow=sign_in&as=json",
    "/api/runs",
    "/api/overview/runs",
    "/api/schedules",
    "/api/schedules/sign_in/every_morning",
    "/api/workflows",
    "/runs/{run}.json",
    "/runs/{run}/rerun",
    "/runs/{run}/rerun?as=json",
    "/runs/{run}/rerun?from_step=sign",
    "/runs/{run}?step=sign&attempt=1",
    *(f"/runs/{{run}}?step={step}&tab={tab}" for step in ("sign", "look") for tab in ("output", "input", "error", "logs", "meta")),
    *(f"/runs/{{run}}.json?{part}" for part in ("part=input", "part=output", "step=sign")),
    "/tasks/matching?action=delete&from=all",
    "/workers",
    "/system",
    *(f"/runs/{{run}}?tab={tab}" for tab in ("input", "output", "error", "logs", "history", "json")),
    *(f"/api/runs/{{run}}{part}" for part in ("", "/steps", "/logs", "/events")),
)


@pytest.mark.parametrize("place", PLACES)
@scenario
async def test_a_hidden_value_is_shown_nowhere(place: str, tmp_path: Path) -> None:
    async with app_in(tmp_path, sign_in) as app, seen(app) as client:
        async with app.worker(grace="0s"):
            done = await app.start(sign_in, Account(), tags=[quote("a b")])
            await done.result()
            failed = await app.start(sign_in, Account(user="nobody"))
            with pytest.raises(RunFailed):
                await failed.result()

        for run in (done, failed):
            answer = await client.get(place.format(run=run.run_id))
            assert answer.status_code == 200
            assert SECRET not in answer.text


@scenario
async def test_what_is_said_beside_what_is_hidden_is_shown(tmp_path: Path) -> None:
    async with app_in(tmp_path, sign_in) as app, seen(app) as client:
        async with app.worker(grace="0s"):
            failed = await app.start(sign_in, Account(user="nobody"))
            with pytest.raises(RunFailed):
                await failed.result()
        page = await client.get(f"/runs/{failed.run_id}?tab=logs")
        run = (await client.get(f"/api/runs/{failed.run_id}")).json()

    assert "asked with api_token=•••" in page.text
    assert run["error"]["message"].endswith("no user {'name': 'nobody', 'password': •••} in postgresql://ada:•••@db/users?token=•••")


@pytest.mark.parametrize("place", ["/tasks?from=all&q=", "/api/runs?search=", "/api/overview/runs?search="])
@scenario
async def test_a_hidden_value_of_an_error_cannot_be_found_out_by_searching(place: str, tmp_path: Path) -> None:
    async with app_in(tmp_path, sign_in) as app, seen(app, token=VIEWER) as client:
        async with app.worker(grace="0s"):
            failed = await app.start(sign_in, Account(user="nobody"))
            with pytest.raises(RunFailed):
                await failed.result()
        by_value = await client.get(place + SECRET[:3])
        by_name = await client.get(place + "sign_in")

    assert failed.run_id not in by_value.text
    assert failed.run_id in by_name.text


@pytest.mark.parametrize("place", ["/tasks?from=all&q=", "/api/runs?search=", "/api/overview/runs?search="])
@scenario
async def test_a_hidden_value_cannot_be_found_out_by_searching(place: str, tmp_path: Path) -> None:
    async with app_in(tmp_path, sign_in) as app, seen(app, token=VIEWER) as client:
        run = await app.start(sign_in, Account())
        await run.cancel()  # what has not ended is shown above the list, whatever is searched
        by_value = await client.get(place + SECRET[:3])
        by_name = await client.get(place + "sign_in")

    assert run.run_id not in by_value.text
    assert run.run_id in by_name.text


@scenario
async def test_runs_with_a_hidden_value_cannot_be_counted_nor_canceled_by_it(tmp_path: Path) -> None:
    async with app_in(tmp_path, sign_in) as app, seen(app) as client:
        await app.start(sign_in, Account())

        assert (await client.get(f"/api/runs/count?search={SECRET}")).json() == {"counts": {}}
        assert set((await client.get(f"/api/overview/tally?search={SECRET}")).json()["counts"].values()) <= {0}
        assert (await client.post("/api/runs/cancel_all", json={"search": SECRET})).json() == {"count": 0}


@scenario
async def test_whoever_acts_on_all_that_match_does_not_learn_how_many_have_a_hidden_value(tmp_path: Path) -> None:
    async with app_in(tmp_path, sign_in) as app, seen(app) as client:
        await app.start(sign_in, Account())
        by_value, by_words, by_name = [
            text_of(await client.get("/tasks/matching", params={"action": "cancel", "from": "all", "to": "2100-01-01", "q": text}))
            for text in (SECRET, "no such words", "sign_in")
        ]

    assert by_value.replace(SECRET, "") == by_words.replace("no such words", "")
    assert by_name.replace("sign_in", "") != by_words.replace("no such words", "")


@pytest.mark.parametrize("path", ["/tasks", "/api/runs"])
@scenario
async def test_where_the_database_is_is_not_told_to_those_who_have_not_signed_in(path: str, tmp_path: Path) -> None:
    app = app_in(tmp_path / "nowhere", sign_in)
    async with seen(app, token=VIEWER) as client:
        answer = await client.get(path)

    assert answer.status_code == 503
    assert "nowhere" not in answer.text


class Voucher(BaseModel):
    user: str
    token: str
    tokens: list[int] = []

    @field_validator("token")
    @classmethod
    def is_known(cls, token: str) -> str:
        if not token.startswith("new"):
            raise ValueError(f"there is no token {token!r}")
        return token


@workflow(name="redeem")
async def redeem_anything(input: dict[str, Any]) -> None:
    pass


@workflow(name="redeem")
async def redeem(input: Voucher) -> None:
    pass


@pytest.mark.parametrize("secret", [SECRET, "hun'ter\\2"])
@pytest.mark.parametrize("place", ["", "?as=json", "?from_step=x"])
@scenario
async def test_a_hidden_value_is_not_told_by_what_a_validator_says_of_it(place: str, secret: str, tmp_path: Path) -> None:
    async with app_in(tmp_path, redeem_anything) as app:
        run = await app.start(redeem_anything, {"user": "ada", "token": secret, "tokens": [4711, 4712]})
    async with app_in(tmp_path, redeem) as app, seen(app, token=OPERATOR) as client:
        answer = await client.post(f"/runs/{run.run_id}/rerun{place}", data={"user": "ada"})

    assert answer.status_code == 422
    assert "there is no token" in answer.text
    assert "ter" not in answer.text.partition("there is no token")[2][:30]
