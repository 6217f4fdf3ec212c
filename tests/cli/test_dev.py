"""`stepwell dev`: a worker that begins again when the code changes."""

import http.client
import os
import signal
from pathlib import Path

from tests.cli.harness import FLOWS, WITHIN, Call, Command

HANG = """
@workflow
async def hang(step: Step) -> None:
    import asyncio
    async def hang() -> None:
        print("step hangs", flush=True)
        await asyncio.Event().wait()
    await step.run("hang", hang)
"""

CHANGED = FLOWS.replace("Hello", "Goodbye")


def write(file: Path, code: str) -> None:
    """As editors do: at once."""
    new = file.with_suffix(".new")
    new.write_text(code)
    new.replace(file)


def test_it_runs_the_only_file_with_workflows_and_ends_upon_a_signal(shop: Path, call: Call) -> None:
    with Command("dev", cwd=shop) as dev:
        assert "is ready: fail, greet, wait_long (sqlite:///stepwell.db)" in dev.says("is ready")
        assert call("start", "greet", "--input", '"Ann"', "--wait").out == '"Hello Ann"\n'
        dev.signal(signal.SIGINT)

        assert dev.ends() == 0
    assert dev.said[-1] == "the worker has stopped"
    assert call("workers", "--json").data["workers"] == []


def test_changed_code_takes_over(shop: Path, call: Call) -> None:
    with Command("dev", cwd=shop) as dev:
        dev.says("is ready")
        write(shop / "flows.py", CHANGED)
        dev.says("flows.py changed")
        dev.says("has stopped")
        dev.says("is ready")

        assert call("start", "greet", "--input", '"Ann"', "--wait").out == '"Goodbye Ann"\n'


def test_code_that_cannot_be_imported_does_not_take_over_and_is_told_once(shop: Path, call: Call) -> None:
    with Command("dev", cwd=shop) as dev:
        dev.says("is ready")
        write(shop / "flows.py", "oops\n")
        assert dev.says("error:") == ("error: flows.py cannot be imported: NameError: name 'oops' is not defined (flows.py, line 1: oops)")
        dev.says("the worker goes on with the code it has")
        assert call("start", "greet", "--input", '"Ann"', "--wait").out == '"Hello Ann"\n'

        (shop / "unrelated.py").touch()
        dev.says("unrelated.py changed")
        write(shop / "flows.py", CHANGED)
        dev.says("is ready")

        assert call("start", "greet", "--input", '"Ann"', "--wait").out == '"Goodbye Ann"\n'
    assert sum("error:" in line for line in dev.said) == 1


def test_it_waits_for_code_that_can_be_imported(shop: Path, call: Call) -> None:
    write(shop / "flows.py", "from stepwell import workflow\noops\n")
    with Command("dev", "flows.py", cwd=shop) as dev:
        dev.says("waiting for a change")
        write(shop / "flows.py", FLOWS)

        dev.says("is ready")


def test_a_worker_that_dies_begins_again_when_the_code_changes(shop: Path, call: Call) -> None:
    with Command("dev", cwd=shop) as dev:
        dev.says("is ready")
        (state,) = call("workers", "--json").data["workers"]
        os.kill(state["pid"], signal.SIGKILL)
        dev.says("the worker ended by SIGKILL; it begins again when the code changes")
        write(shop / "flows.py", CHANGED)

        dev.says("is ready")


def test_the_first_signal_lets_the_step_in_progress_end_and_the_second_one_leaves_now(shop: Path, call: Call) -> None:
    with (shop / "flows.py").open("a") as file:
        file.write(HANG)
    with Command("dev", "--grace", "1h", cwd=shop) as dev:
        dev.says("is ready")
        assert call("start", "hang").code == 0
        dev.says("step hangs")
        dev.signal(signal.SIGINT)
        dev.says("stopping")
        dev.signal(signal.SIGINT)

        assert dev.ends() == 0


def test_code_that_hangs_when_it_is_imported_can_be_left(here: Path) -> None:
    (here / "flows.py").write_text("import threading, pathlib\npathlib.Path('begun').write_text('')\nthreading.Event().wait()\n")
    os.mkfifo(here / "begun")
    with Command("dev", "flows.py", cwd=here) as dev:
        (here / "begun").read_bytes()  # waits until the import is under way
        dev.signal(signal.SIGTERM)

        assert dev.ends() == 0


def test_the_worker_leaves_when_dev_is_killed(shop: Path) -> None:
    with Command("dev", cwd=shop) as dev:
        dev.says("is ready")
        dev.signal(signal.SIGKILL)

        dev.says("the worker has stopped")


# -- the web interface


def port_of(line: str) -> int:
    return int(line.partition("http://127.0.0.1:")[2].partition(";")[0])


def asked(port: int, path: str = "/workflows/greet") -> str:
    """What a page says."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WITHIN)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.status == 200
        return answer.read().decode()
    finally:
        connection.close()


def test_it_serves_the_web_interface_at_an_address_that_outlives_the_code(shop: Path) -> None:
    with Command("dev", "--port", "0", cwd=shop) as dev:
        port = port_of(dev.says("the web interface is at"))
        dev.says("is ready")
        assert "v2" not in asked(port)
        write(shop / "flows.py", FLOWS.replace("@workflow\nasync def greet", '@workflow(version="v2")\nasync def greet'))
        dev.says("has stopped")

        asked(port, "/healthz")  # it waits until the new code is there
        dev.says("is ready")
        assert "v2" in asked(port)
        dev.signal(signal.SIGINT)
        assert dev.ends() == 0
    assert sum("the web interface" in line for line in dev.said) == 1


def test_it_goes_on_answering_while_new_code_cannot_be_imported(shop: Path) -> None:
    with Command("dev", "--port", "0", cwd=shop) as dev:
        port = port_of(dev.says("the web interface is at"))
        dev.says("is ready")
        write(shop / "flows.py", "oops\n")
        dev.says("the worker goes on with the code it has")

        assert "greet" in asked(port)


def test_a_browser_that_listens_for_changes_does_not_hold_up_new_code(shop: Path) -> None:
    with Command("dev", "--port", "0", cwd=shop) as dev:
        port = port_of(dev.says("the web interface is at"))
        dev.says("is ready")
        listening = http.client.HTTPConnection("127.0.0.1", port, timeout=WITHIN)
        listening.request("GET", "/-/events")
        stream = listening.getresponse()
        stream.readline()
        write(shop / "flows.py", CHANGED)

        stream.read()  # to its end
        listening.close()
        dev.says("is ready")
        assert not any("exceeded" in line for line in dev.said)


def test_several_of_them_have_an_address_each(shop: Path) -> None:
    with Command("dev", "--port", "0", cwd=shop) as first:
        port = port_of(first.says("the web interface is at"))
        with Command("dev", "--port", str(port), cwd=shop) as second:
            line = second.says("the web interface is at")
            first.says("is ready")
            second.says("is ready")

            assert port_of(line) > port
            assert line.endswith(f"; port {port} is taken")
            assert "greet" in asked(port)
            assert "greet" in asked(port_of(line))


def test_it_serves_none_if_none_is_wanted(shop: Path) -> None:
    with Command("dev", "--no-ui", cwd=shop) as dev:
        dev.says("is ready")

        assert not any("web interface" in line for line in dev.said)
