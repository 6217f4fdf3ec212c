"""The app for code without an event loop."""

from __future__ import annotations

import asyncio
import inspect
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Never, get_type_hints

import pytest

from stepwell import (
    DatabaseUnavailable,
    DefinitionError,
    InvalidInput,
    RunFailed,
    RunNotFound,
    RunStatus,
    Step,
    Stepwell,
    SyncStep,
    SyncStepwell,
    workflow,
)
from stepwell.portal import Portal
from stepwell.sync import AppOptions, Blocking, _at_once


@workflow
async def double(input: int) -> int:
    return input * 2


_others: set[threading.Thread] = set()


@pytest.fixture(autouse=True)
def threads_of_other_tests() -> None:
    """A body that is left behind may outlive its test."""
    _others.clear()
    _others.update(threading.enumerate())


def threads() -> set[str]:
    """Those of ours that this test has begun."""
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("stepwell") and thread not in _others}


def test_a_script_starts_a_run_and_waits_for_its_result(url: str) -> None:
    with SyncStepwell(url, workflows=[double]) as app, app.worker():
        handle = app.start(double, 4)

        assert (handle.result(), handle.created, handle.status()) == (8, True, RunStatus.COMPLETED)
        assert app.execute(double, 5, timeout=10) == 10
        assert app.execute("double", 6) == 12
        assert [each.result() for each in app.start_many(double, [1, 2])] == [2, 4]
        assert app.handle(handle.run_id).result(timeout=50) == 8


def test_all_that_an_app_has_is_there_and_blocks(url: str) -> None:
    with SyncStepwell(url, workflows=[double], timezone="Asia/Seoul") as app:
        handle = app.start(double, 4, tags=["a"])
        assert handle.pause(actor="ann").status is RunStatus.PAUSED
        assert [event.actor for event in handle.events()] == ["ann"]
        assert app.runs.get(handle.run_id).tags == ("a",)
        assert [run.id for run in app.runs.list(tags="a")] == [handle.run_id]
        assert [run.id for run in app.runs.iterate()] == [handle.run_id]
        assert app.runs.count() == {RunStatus.PAUSED: 1}
        assert app.runs.cancel_all(everything=True) == 1
        app.workflows.pause("double")
        assert [state.paused for state in app.workflows.list()] == [True]
        assert [state.name for state in app.queues.list()] == ["default"]
        assert app.workers.list() == []
        assert (app.timezone, app.database_url, app.now() > 0) == ("Asia/Seoul", url, True)


def test_errors_are_those_of_the_app(url: str) -> None:
    with SyncStepwell(url, workflows=[double]) as app:
        with pytest.raises(InvalidInput):
            app.start("double", "four")
        with pytest.raises(RunNotFound):
            app.handle("nowhere").get()
        with pytest.raises(TimeoutError, match="has not ended within"):
            app.start(double, 1).result(timeout=0.01)
        with pytest.raises(ValueError, match="there is no status"):
            app.runs.iterate(status="faileds")
        with pytest.raises(AttributeError, match="colour"):
            _ = app.colour
        with pytest.raises(AttributeError, match="_home"):
            _ = app._home
    with pytest.raises(DefinitionError, match="namespace"):
        SyncStepwell(url, namespace="2")


def test_an_iteration_may_be_left_before_its_end(url: str) -> None:
    with SyncStepwell(url, workflows=[double]) as app:
        app.start_many(double, range(3))
        runs = app.runs.iterate(order="oldest")
        assert next(runs).input == 0
        runs.close()
        abandoned = app.runs.iterate()
        next(abandoned)
    with pytest.raises(RuntimeError, match="not open"):
        next(abandoned)


def test_an_app_that_is_not_open_says_what_to_write(url: str) -> None:
    app = SyncStepwell(url, workflows=[double])

    for _ in range(2):
        with pytest.raises(RuntimeError, match="this app is not open: use it within `with app:`"):
            app.start(double, 1)
        with app:
            app.start(double, 1)
    app.close()
    assert threads() == set()


def test_an_app_may_be_opened_several_times_and_is_open_until_the_last_has_closed_it(url: str) -> None:
    app = SyncStepwell(url, workflows=[double])
    app.open()
    with app:
        app.start(double, 1)
    app.start(double, 1)
    app.close()

    assert threads() == set()


def test_an_app_that_cannot_be_opened_leaves_no_thread(tmp_path: Any) -> None:
    app = SyncStepwell(f"sqlite:///{tmp_path / 'test.db'}", migrate=False)
    with pytest.raises(DatabaseUnavailable):
        app.open()

    assert threads() == set()


def test_an_app_that_was_closed_by_several_threads_at_once_can_be_opened_again(url: str) -> None:
    app = SyncStepwell(url, workflows=[double])
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            app.open()
            assert list(pool.map(lambda _: app.close(), range(4))) == [None] * 4
            with app:
                app.start(double, 1)

    assert threads() == set()


def test_where_no_loop_can_be_made_opening_an_app_fails_with_the_reason(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> Never:
        raise OSError(24, "Too many open files")

    app = SyncStepwell(url, workflows=[double])
    with monkeypatch.context() as patch:
        patch.setattr(asyncio.events, "new_event_loop", refuse)
        with pytest.raises(OSError, match="Too many open files"):
            app.open()

    assert threads() == set()
    with app:
        app.start(double, 1)


def test_many_threads_use_one_app_at_once(url: str) -> None:
    with SyncStepwell(url, workflows=[double]) as app, app.worker(), ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda number: app.execute(double, number), range(40))) == [number * 2 for number in range(40)]


def test_within_a_running_loop_it_works_and_blocks(url: str) -> None:
    async def main() -> int:
        with SyncStepwell(url, workflows=[double]) as app, app.worker():
            return app.execute(double, 4)

    assert asyncio.run(main()) == 8


def test_a_worker_works_until_nothing_is_due(url: str) -> None:
    with SyncStepwell(url, workflows=[double]) as app:
        handle = app.start(double, 4)
        app.worker().run_until_idle()

        assert handle.result(0) == 8


def test_a_body_uses_no_sync_app_and_a_def_step_may(url: str) -> None:
    with SyncStepwell(url, workflows=[double]) as other:

        @workflow
        async def meddles() -> int:
            return other.execute(double, 4)

        @workflow
        async def asks(step: Step) -> int:
            return await step.run("ask", lambda: other.start(double, 4).result())

        @workflow
        def asks_too(step: SyncStep) -> int:
            return step.run("ask", lambda: other.start(double, 4).result())

        with SyncStepwell(url, workflows=[double, meddles, asks, asks_too]) as app, app.worker():
            with pytest.raises(RunFailed, match="NotInStep"):
                app.execute(meddles)
            assert (app.execute(asks), app.execute(asks_too)) == (8, 8)


def test_an_async_step_on_the_apps_own_loop_is_told_that_it_would_wait_for_itself(url: str) -> None:
    apps: list[SyncStepwell] = []

    async def ask() -> Any:
        return apps[0].execute(double, 4)

    @workflow
    async def asks(step: Step) -> Any:
        return await step.run("ask", ask)

    with SyncStepwell(url, workflows=[double, asks]) as app, app.worker():
        apps.append(app)
        app.start(asks, tags=["asks"], timeout="10s")
        handle = app.start(asks)
        steps: list[Any] = []
        while not steps:
            steps = [step for step in handle.steps() if step.error is not None]
        app.runs.cancel_all(everything=True)

    assert "where it would wait for itself for ever" in steps[0].error.message


def test_the_options_are_those_of_the_app() -> None:
    assert get_type_hints(AppOptions).keys() == inspect.signature(Stepwell).parameters.keys() - {"database_url"}


def test_every_public_method_of_the_app_is_reached(url: str) -> None:
    app = SyncStepwell(url, workflows=[double])
    names = [name for name in dir(Stepwell) if not name.startswith("_")]

    with app:
        assert [name for name in names if inspect.iscoroutinefunction(getattr(app, name))] == []
        assert isinstance(app.runs, Blocking)
        assert repr(app.runs).startswith("<blocking ")


def test_what_has_to_wait_is_not_driven_by_hand() -> None:
    async def waits() -> None:
        await asyncio.sleep(0)

    with pytest.raises(DefinitionError, match="connection is one for async code"):
        _at_once(waits())


def test_an_interrupted_call_is_canceled_and_raises_where_it_was_made(url: str) -> None:
    script = f"""
import os, threading
from stepwell import SyncStepwell
with SyncStepwell({url!r}) as app:
    handle = app.start("nobody_has_it")
    try:
        threading.Timer(0.3, os.kill, (os.getpid(), {int(signal.SIGINT)})).start()
        handle.result()
    except KeyboardInterrupt:
        print("interrupted", handle.status(), flush=True)
"""
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=50, check=False)

    assert (answer.stdout, answer.stderr, answer.returncode) == ("interrupted pending\n", "", 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_worker_in_the_foreground_lets_its_step_end_when_it_is_asked_to_stop(url: str, number: signal.Signals) -> None:
    script = f"""
import os, time
from stepwell import Step, SyncStepwell, workflow
from stepwell.engine import stopping

vars(stopping).update(TO_LET_GO=50.0, TO_LEAVE=50.0)  # on a busy machine it may need longer than elsewhere

def slow() -> str:
    os.kill(os.getpid(), {int(number)})
    time.sleep(0.3)
    return "kept"

@workflow
async def flow(step: Step) -> str:
    await step.run("slow", slow)
    await step.sleep("a while", "1h")

app = SyncStepwell({url!r}, workflows=[flow])
with app:
    handle = app.start(flow)
app.worker().run()
with app:
    print([(step.key, step.output) for step in handle.steps()], handle.status(), app.workers.list(), flush=True)
"""
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=50, check=False)

    assert (answer.stdout, answer.stderr) == ("[('slow', 'kept')] pending []\n", "")
    assert answer.returncode == 0


def test_a_worker_opens_the_app_for_as_long_as_it_works(url: str) -> None:
    app = SyncStepwell(url, workflows=[double])
    with app.worker():
        assert app.execute(double, 4) == 8
    app.worker().run_until_idle()

    assert threads() == set()


def test_a_worker_that_works_is_not_started_again_and_leaves_the_app_open(url: str) -> None:
    with SyncStepwell(url, workflows=[double]) as app, app.worker() as worker:
        with pytest.raises(RuntimeError, match="this worker works already"):
            worker.__enter__()
        assert app.execute(double, 4) == 8


def test_a_worker_in_another_thread_than_the_main_one_is_stopped_by_an_operator(url: str) -> None:
    with SyncStepwell(url, workflows=[double]) as app, ThreadPoolExecutor(1) as pool:
        working = pool.submit(app.worker(name="one", lease="1s").run)
        assert app.execute(double, 4) == 8
        app.workers.drain("one")
        working.result(timeout=50)
        assert app.workers.list() == []


def test_a_call_that_waits_while_the_app_is_closed_is_told(url: str) -> None:
    app = SyncStepwell(url, workflows=[double])
    app.open()
    handle = app.start(double, 4)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(handle.result)
        handle.status()
        app.close()
        with pytest.raises(RuntimeError, match=r"closed|not open"):
            waiting.result(timeout=50)


def test_a_task_that_is_left_when_the_portal_is_closed_is_told() -> None:
    portal = Portal()
    portal.open()
    call = portal.begin(asyncio.Event().wait)
    portal.close()

    with pytest.raises(RuntimeError, match="the app was closed while this call waited"):
        call.result()
