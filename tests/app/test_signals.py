"""Signals, from outside of runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stepwell import (
    DefinitionError,
    IllegalTransition,
    NotInStep,
    NotSerializable,
    PayloadTooLarge,
    RunFailed,
    RunNotFound,
    RunStatus,
    Step,
    Stepwell,
    SyncStepwell,
    workflow,
)
from tests.app.apps import Opened
from tests.engine.harness import scenario, status_is


@workflow
async def waits(step: Step) -> Any:
    return await step.wait_for_signal("go")


@scenario
async def test_a_run_is_sent_a_signal_by_its_handle(opened: Opened) -> None:
    async with opened(waits) as app:
        handle = await app.start(waits)
        await status_is(handle, RunStatus.SLEEPING)
        await handle.signal("go", {"n": 1})

        assert await handle.result() == {"n": 1}
        with pytest.raises(IllegalTransition, match="is completed; it cannot signal"):
            await handle.signal("go")


@scenario
async def test_a_run_is_sent_a_signal_by_its_id(opened: Opened) -> None:
    async with opened(waits) as app:
        handle = await app.start(waits)
        await app.runs.signal(handle.run_id, "go")

        assert await handle.result() is None
        with pytest.raises(RunNotFound):
            await app.runs.signal("nobody", "go")


@scenario
async def test_a_signal_to_all_reaches_the_live_runs_that_match(opened: Opened) -> None:
    async with opened(waits) as app:
        runs = [await app.start(waits, tags=["a"]) for _ in range(3)]
        other = await app.start(waits, tags=["b"])
        await runs[0].cancel()

        assert await app.runs.signal_all("go", 7, tags=["a"]) == 2
        assert [await handle.result() for handle in runs[1:]] == [7, 7]
        assert not (await other.status()).ended
        with pytest.raises(ValueError, match="everything=True"):
            await app.runs.signal_all("go")
        assert await app.runs.signal_all("go", 8, everything=True) == 1
        assert await other.result() == 8


@scenario
async def test_who_sends_a_signal_is_kept_with_its_name(opened: Opened) -> None:
    async with opened(waits) as app:
        one, other = [await app.start(waits) for _ in range(2)]
        await one.signal("go", actor="ada")
        await app.runs.signal(other.run_id, "stop", actor="bob")
        await app.runs.signal_all("stop", everything=True, actor="eve")
        told = [[(event.action, event.signal, event.actor) for event in await run.events()] for run in (one, other)]

        assert told[0][0] == ("signal", "go", "ada")
        assert told[1] == [("signal", "stop", "bob"), ("signal", "stop", "eve")]
        with pytest.raises(DefinitionError, match="actor"):
            await other.signal("go", actor="")
        with pytest.raises(DefinitionError, match="actor"):
            await app.runs.signal_all("go", everything=True, actor="")


@pytest.mark.parametrize(
    ("name", "payload", "error"),
    [
        ("", None, DefinitionError),
        ("~go", None, DefinitionError),
        (7, None, DefinitionError),
        ("go", [object()], NotSerializable),
        ("go", object(), (NotSerializable, DefinitionError)),
        ("go", float("nan"), NotSerializable),
    ],
)
@scenario
async def test_what_is_no_signal_is_refused(opened: Opened, name: Any, payload: Any, error: Any) -> None:
    async with opened(waits, works=False) as app:
        handle = await app.start(waits)

        with pytest.raises(error):
            await handle.signal(name, payload)


@scenario
async def test_a_payload_has_the_limit_of_all_values(url: str) -> None:
    async with Stepwell(url, max_payload="1KiB") as app:
        handle = await app.start("nobody_has_it")

        with pytest.raises(PayloadTooLarge, match="the payload of signal 'go'"):
            await handle.signal("go", "x" * 2_000)


@scenario
async def test_a_body_sends_no_signal_but_in_a_step(opened: Opened) -> None:
    async def body(step: Step) -> None:
        await app.handle(other.run_id).signal("go")

    sends = workflow(name="sends")(body)
    async with opened(waits, sends) as app:
        other = await app.start(waits)
        handle = await app.start(sends)

        with pytest.raises(RunFailed, match=r"step\.send_signal") as failed:
            await handle.result()
        assert failed.value.caused_by(NotInStep)


def test_code_without_an_event_loop_sends_signals(url: str) -> None:
    with SyncStepwell(url, workflows=[waits]) as app, app.worker():
        first, second = app.start(waits), app.start(waits)
        first.signal("go", 1)

        assert first.result() == 1
        assert app.runs.signal_all("go", 2, workflow="waits") == 1
        assert second.result() == 2


@scenario
async def test_a_signal_of_another_process_reaches_a_run_that_is_parked(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'test.db'}"
    async with Stepwell(url, workflows=[waits]) as app, app.worker(), Stepwell(url) as other:
        handle = await app.start(waits)
        await status_is(handle, RunStatus.SLEEPING)
        await other.handle(handle.run_id).signal("go", 1)

        assert await handle.result() == 1
