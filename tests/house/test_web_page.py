"""What the page on the web interface shows is so."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from stepwell.cli.serving import PORT
from stepwell.config import web_tokens
from stepwell.web.access import Role
from stepwell.web.application import REDACT
from stepwell.web.live import MAX_STREAMS
from stepwell.web.prose import HIDDEN
from stepwell.web.site import MAX_FORM
from tests.cli.harness import called

PAGE = (Path(__file__).resolve().parents[2] / "docs/web.md").read_text()
FASTAPI, DJANGO, DJANGO_USERS, PROXY = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)

ORDERS = """
from stepwell import Step, Stepwell, workflow

@workflow
async def greet(name: str, step: Step) -> str:
    return name

app = Stepwell("sqlite:///orders.db", workflows=[greet])
"""

ASKED = """
import asyncio
import httpx
from {module} import {name} as site

async def main():
    async with httpx.AsyncClient(transport=httpx.ASGITransport(site), base_url="http://test") as client:
        for path, headers in {asked}:
            answer = await client.get(path, headers=headers)
            print(path, answer.status_code, "/stepwell/static/" in answer.text)
    from orders import app
    if app.is_open:
        await app.close()

asyncio.run(main())
"""

MIDDLEWARE = """
class Known:
    def __init__(self, inner):
        self.inner = inner

    async def __call__(self, scope, receive, send):
        for name, value in scope.get("headers", ()):
            if name == b"x-user":
                scope.setdefault("state", {})["user"] = value.decode()
        await self.inner(scope, receive, send)

site.add_middleware(Known)
"""

WHO = 'def who(request):\n    return request.headers.get("x-role")\n'


def answers(folder: Path, module: str, name: str, *asked: tuple[str, dict[str, str]]) -> list[str]:
    """What a program says that asks the application of that name."""
    (folder / "orders.py").write_text(ORDERS)
    ended = subprocess.run(
        [sys.executable, "-c", ASKED.format(module=module, name=name, asked=asked)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join((str(folder), os.environ.get("PYTHONPATH", "")))},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout.splitlines()


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A project with a package `shop`, and what it takes of FastAPI, which is a Starlette, and of Django, here a function of ASGI."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop/__init__.py").touch()
    (tmp_path / "shop/who.py").write_text(WHO)
    (tmp_path / "fastapi.py").write_text("from starlette.applications import Starlette as FastAPI\n")
    (tmp_path / "django/core").mkdir(parents=True)
    (tmp_path / "django/core/asgi.py").write_text(
        "from starlette.responses import PlainTextResponse\n\ndef get_asgi_application():\n    return PlainTextResponse('Django')\n"
    )
    return tmp_path


def test_the_application_that_it_mounts_answers_below_its_prefix(shop: Path) -> None:
    (shop / "shop/who.py").unlink()
    (shop / "shop/site.py").write_text(FASTAPI + MIDDLEWARE)

    said = answers(shop, "shop.site", "site", ("/stepwell/tasks", {"x-user": "ada"}), ("/stepwell/tasks", {}), ("/tasks", {}))

    assert said == ["/stepwell/tasks 200 True", "/stepwell/tasks 401 False", "/tasks 404 False"]


def test_the_application_beside_django_gets_what_is_below_its_prefix(shop: Path) -> None:
    (shop / "shop/asgi.py").write_text(DJANGO)

    ada = {"x-role": "viewer"}
    asked = [("/stepwell/tasks", ada), ("/stepwell/tasks", {}), ("/tasks", {}), ("/stepwell", ada), ("/stepwells", ada)]
    said = answers(shop, "shop.asgi", "application", *asked)

    assert [line.rpartition(" ")[0] for line in said] == [
        "/stepwell/tasks 200",
        "/stepwell/tasks 401",
        "/tasks 200",
        "/stepwell 307",
        "/stepwells 200",
    ]


def test_the_users_of_django_are_asked_for_in_code_that_can_be_read() -> None:
    compile(DJANGO_USERS, "who.py", "exec")


def test_the_proxy_is_believed_who_somebody_is(tmp_path: Path) -> None:
    (tmp_path / "proxied.py").write_text(PROXY)

    ada, bob = ({"x-forwarded-email": f"{name}@example.com"} for name in ("ada", "bob"))
    said = answers(tmp_path, "proxied", "pages", ("/runs/new", ada), ("/runs/new", bob), ("/tasks", {}))

    assert [line.split()[1] for line in said] == ["200", "403", "401"]


def test_its_tokens_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = re.search(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert table is not None
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STEPWELL_WEB_TOKENS", raising=False)
    (tmp_path / "pyproject.toml").write_text(table[1])

    assert web_tokens() == tomllib.loads(table[1])["tool"]["stepwell"]["web_tokens"]


def test_it_names_every_option_of_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "200")

    options = set(re.findall(r"--[a-z-]+", called(capsys, "ui", "--help").out)) - {"--help"}

    assert options == set(re.findall(r"`(--[a-z-]+)`", PAGE.partition("## `stepwell ui`")[2].partition("It only asks")[0]))


def test_its_figures_are_those_of_the_code() -> None:
    assert f"http://127.0.0.1:{PORT}" in PAGE
    assert f"At most {MAX_STREAMS} streams" in PAGE
    assert f"Forms end at {MAX_FORM // 1024**2} MiB" in PAGE
    assert f"`{HIDDEN}`" in PAGE
    assert "Values whose names have " + ", ".join(f"`{name}`" for name in REDACT[:-1]) + f" or `{REDACT[-1]}`" in PAGE
    assert [role.word for role in Role] == re.findall(r"^\| (viewer|operator|admin) \|", PAGE, re.MULTILINE)
