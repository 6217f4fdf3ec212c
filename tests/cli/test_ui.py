"""`stepwell ui`: the web interface alone, for whoever may come."""

import http.client
import os
import re
import signal
import socket
from contextlib import suppress
from pathlib import Path

import pytest

from stepwell.cli.command import BadUsage, Failed
from stepwell.cli.serving import bound, bound_or_next, is_loopback, refuse_open_door, url_of
from stepwell.errors import DefinitionError
from tests.cli.harness import WITHIN, Call, Command

TOKEN = "a-token-that-is-long-enough"


@pytest.fixture
def filled(shop: Path, call: Call) -> Path:
    """The current folder, with a database and a run that waits."""
    assert call("start", "greet", "--input", '"Ann"').code == 0
    return shop


def address_of(line: str) -> tuple[str, int]:
    found = re.search(r"http://(\[[^]]*\]|[^:]*):(\d+)", line)
    assert found is not None
    return found[1].strip("[]"), int(found[2])


def ask(where: tuple[str, int], path: str = "/tasks", method: str = "GET", body: str = "", **headers: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(*where, timeout=WITHIN)
    try:
        connection.request(method, path, body or None, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        assert answer.getheader("server") is None
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_it_says_where_it_is_in_one_line_serves_and_ends_upon_a_signal(filled: Path) -> None:
    with Command("ui", "--port", "0", cwd=filled) as ui:
        line = ui.says("the web interface is at http://127.0.0.1:")
        status, page = ask(address_of(line))
        ui.signal(signal.SIGTERM)

        assert ui.ends() == 0
    assert line.endswith("(sqlite:///stepwell.db)")
    assert status == 200
    assert "greet" in page
    assert ui.said == [line, "the web interface has stopped"]


def test_it_ends_at_once_though_a_browser_listens_for_changes(filled: Path) -> None:
    with Command("ui", "--port", "0", cwd=filled) as ui:
        where = address_of(ui.says("the web interface is at"))
        listening = http.client.HTTPConnection(*where, timeout=WITHIN)
        listening.request("GET", "/-/events")
        stream = listening.getresponse()
        assert stream.readline() == b": still there\n"
        ui.signal(signal.SIGINT)

        assert b"event" not in stream.read()  # to its end
        listening.close()
        assert ui.ends() == 0
    assert ui.said[-1] == "the web interface has stopped"


def test_only_names_of_this_machine_find_it(filled: Path) -> None:
    with Command("ui", "--port", "0", cwd=filled) as ui:
        where = address_of(ui.says("the web interface is at"))

        assert ask(where, host=f"localhost:{where[1]}")[0] == 200
        assert ask(where, host="evil.example")[0] == 400


def test_with_tokens_it_may_be_found_from_everywhere_by_those_who_have_one(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPWELL_WEB_TOKENS", f"{TOKEN}=viewer")
    with Command("ui", "--port", "0", "--host", "0.0.0.0", cwd=filled) as ui:
        where = address_of(ui.says("the web interface is at http://localhost:"))

        assert ask(where, host="stepwell.example.com")[0] == 401
        assert ask(where, host="stepwell.example.com", authorization=f"Bearer {TOKEN}")[0] == 200


def test_read_only_nobody_acts(filled: Path) -> None:
    with Command("ui", "--port", "0", "--read-only", cwd=filled) as ui:
        where = address_of(ui.says("the web interface is at"))

        assert ask(where)[0] == 200
        assert ask(where, "/workflows/greet", "POST", "action=pause")[0] == 403


def test_with_a_target_inputs_are_checked_by_its_code(filled: Path) -> None:
    start = '{"workflow": "greet", "input": 7}'
    with Command("ui", "flows.py", "--port", "0", cwd=filled) as ui:
        where = address_of(ui.says("the web interface is at"))
        status, said = ask(where, "/api/runs", "POST", start, content_type="application/json")

    assert status == 422
    assert "string" in said


def test_an_address_of_version_6_works(filled: Path) -> None:
    if not _has_version_6():
        pytest.skip("this machine has no IPv6")
    with Command("ui", "--port", "0", "--host", "::1", cwd=filled) as ui:
        line = ui.says("the web interface is at http://[::1]:")

        assert ask(address_of(line))[0] == 200


def _has_version_6() -> bool:
    try:
        bound("::1", 0).close()
    except (BadUsage, Failed):
        return False
    return True


def test_it_opens_a_browser(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(filled / "seen")
    browser = filled / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {filled / "seen"}\n')
    browser.chmod(0o755)
    monkeypatch.setenv("BROWSER", f"{browser} %s")
    with Command("ui", "--port", "0", "--open", cwd=filled) as ui:
        line = ui.says("the web interface is at")

        assert (filled / "seen").read_text().strip() in line


def test_without_a_database_it_says_how_to_make_one(here: Path, call: Call) -> None:
    answer = call("ui", "--port", "0")

    assert answer.code == 1
    assert "stepwell migrate" in answer.err


def test_a_port_that_is_taken_is_named_with_one_that_is_free(filled: Path, call: Call) -> None:
    with bound("127.0.0.1", 0) as other:
        port = other.getsockname()[1]
        answer = call("ui", "--port", str(port))

    assert answer.code == 1
    assert re.search(rf"port {port} on 127\.0\.0\.1 cannot be had: .*; (\d+) is free: --port \1\n", answer.err)


@pytest.mark.parametrize("arguments", [["--port", "65536"], ["--port", "x"], ["--host", ""], ["--host", "no.such.invalid"], ["none.py"]])
def test_it_is_called_wrongly(arguments: list[str], filled: Path, call: Call) -> None:
    answer = call("ui", *arguments)

    assert answer.code == 2
    assert answer.err.startswith("error: ")


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        ("short=admin", "has 5 characters"),
        (f"{TOKEN}=root", "a role is one of viewer, operator, admin"),
        (TOKEN, "STEPWELL_WEB_TOKENS takes TOKEN=ROLE"),
        (f"{TOKEN}=viewer,", "STEPWELL_WEB_TOKENS takes TOKEN=ROLE"),
        (f"admin={TOKEN}", "STEPWELL_WEB_TOKENS takes TOKEN=ROLE"),
    ],
)
def test_tokens_that_are_none_are_refused_before_anybody_comes(
    tokens: str, said: str, filled: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEPWELL_WEB_TOKENS", tokens)

    answer = call("ui", "--port", "0", "--host", "0.0.0.0")

    assert answer.code == 1
    assert said in answer.err
    assert TOKEN not in answer.err
    assert "is at" not in answer.err


def test_a_role_that_stands_where_the_token_belongs_is_told(here: Path) -> None:
    (here / "pyproject.toml").write_text(f'[tool.stepwell.web_tokens]\nviewer = "{TOKEN}"\n')

    with pytest.raises(DefinitionError, match="the token comes first") as refused:
        refuse_open_door("0.0.0.0")

    assert TOKEN not in str(refused.value)


def test_headers_without_end_are_refused_and_it_goes_on(filled: Path) -> None:
    with Command("ui", "--port", "0", cwd=filled) as ui:
        where = address_of(ui.says("the web interface is at"))
        with socket.create_connection(where, timeout=WITHIN) as connection:
            connection.sendall(b"GET /tasks HTTP/1.1\r\nhost: localhost\r\nx: ")
            refusal = b""
            with suppress(ConnectionError):  # it need not have read all that comes before it hangs up
                connection.sendall(b"a" * 200_000)
                refusal = connection.recv(100)

        assert not refusal or refusal.startswith(b"HTTP/1.1 4")
        assert ask(where)[0] == 200


@pytest.mark.parametrize("options", [[], ["--read-only"]])
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_nobody_else_is_let_in_without_being_asked_who_he_is(host: str, options: list[str], filled: Path, call: Call) -> None:
    answer = call("ui", "--host", host, *options)

    assert answer.code == 2
    assert "STEPWELL_WEB_TOKENS" in answer.err


def test_tokens_of_the_project_open_the_door_too(here: Path) -> None:
    (here / "pyproject.toml").write_text(f'[tool.stepwell.web_tokens]\n"{TOKEN}" = "viewer"\n')

    refuse_open_door("0.0.0.0")


def test_an_address_of_another_machine_is_none_of_ours(here: Path, monkeypatch: pytest.MonkeyPatch, call: Call) -> None:
    monkeypatch.setenv("STEPWELL_WEB_TOKENS", f"{TOKEN}=viewer")

    answer = call("ui", "--host", "192.0.2.1")

    assert (answer.code, answer.err) == (2, "error: --host: this machine has no address 192.0.2.1\n")


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("localhost", True),
        ("::1", True),
        ("[::1]", True),
        ("0.0.0.0", False),
        ("0", False),
        ("::", False),
    ],
)
def test_what_only_this_machine_reaches(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_the_next_port_that_is_free_is_taken() -> None:
    with bound("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with bound_or_next("127.0.0.1", port) as second, bound_or_next("127.0.0.1", port) as third:
            assert port < second.getsockname()[1] < third.getsockname()[1] <= port + 50


def test_a_port_that_nobody_else_has_is_taken_itself() -> None:
    with bound("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
    with bound_or_next("127.0.0.1", port) as again:
        assert again.getsockname()[1] == port
        assert url_of(again) == f"http://127.0.0.1:{port}"


def test_after_the_last_port_there_is_no_next() -> None:
    with socket.socket() as last:
        last.bind(("127.0.0.1", 65_535))
        last.listen()
        with pytest.raises(Failed, match=r"port 65535 on 127\.0\.0\.1 cannot be had"):
            bound_or_next("127.0.0.1", 65_535)
