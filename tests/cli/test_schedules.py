"""`stepwell schedules`, and what `stepwell doctor` says of them."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.cli.harness import FLOWS, Call, Command

SCHEDULED = """
from stepwell import Schedule

@workflow(schedules=[
    Schedule("hourly", "0 * * * *", input={"type": "incremental"}, overlap="skip", jitter="5m"),
    Schedule("daily", "0 2 * * *", input=lambda slot: {"type": f"full {slot:%Y-%m-%d %H:%M %Z}"}, timezone="Asia/Seoul"),
])
async def backup(input: dict[str, str]) -> str:
    return input["type"]

@workflow(schedules=[Schedule("30 4 * * *")])
async def tidy() -> None:
    raise ValueError("too much of it")
"""

ONLY = "tidy[30 4 * * *]"


@pytest.fixture
def plant(shop: Path, call: Call, work: Callable[[], None]) -> Path:
    """The shop with schedules, which a worker has declared that has left."""
    (shop / "flows.py").write_text(FLOWS + SCHEDULED)
    work()
    return shop


def altered(folder: Path, statement: str) -> None:
    """Let time have passed, as far as the database knows."""
    with closing(sqlite3.connect(folder / "stepwell.db")) as database, database:
        database.execute(statement)


def finding(call: Call) -> Any:
    (found,) = [each for each in call("doctor", "--json").data["findings"] if each["what"] == "schedules"]
    return found


# -- list


def test_schedules_are_listed_by_the_names_of_their_fields_with_words(plant: Path, call: Call) -> None:
    daily, hourly, only = call("schedules", "list", "--json").data["schedules"]

    assert [(each["workflow"], each["name"]) for each in (daily, hourly, only)] == [
        ("backup", "daily"),
        ("backup", "hourly"),
        ("tidy", ONLY),
    ]
    assert (daily["expression"], daily["words"], daily["timezone"], daily["input_is_computed"]) == (
        "0 2 * * *",
        "At 02:00, every day",
        "Asia/Seoul",
        True,
    )
    assert (hourly["overlap"], hourly["catch_up"], hourly["jitter"], hourly["input"]) == ("skip", "latest", 300.0, {"type": "incremental"})
    assert (hourly["paused"], hourly["declared"], hourly["last_run_id"], hourly["last_run_status"]) == (False, True, None, None)
    assert hourly["next_at"].endswith(":00:00Z")


def test_list_is_a_table_for_people(plant: Path, call: Call) -> None:
    titles, daily, hourly, only = call("schedules", "list").out.splitlines()

    assert titles.split("  ")[0] == "workflow"
    assert "At 02:00" in daily
    assert "Asia/Seoul" in daily
    assert "Every hour" in hourly
    assert "  in " in hourly
    assert only.endswith("no worker lives that has tidy")


def test_a_narrow_terminal_shows_that_a_schedule_is_paused(plant: Path, call: Call) -> None:
    call("schedules", "pause", "backup", "hourly")

    with Command("schedules", "list", cwd=plant, columns=60) as listed:
        listed.says("paused by cli:")
        assert listed.ends() == 0


def test_list_takes_one_workflow(plant: Path, call: Call) -> None:
    listed = call("schedules", "list", "--workflow", "tidy", "--json").data["schedules"]
    wrong = call("schedules", "list", "--workflow", "tidi")

    assert [each["name"] for each in listed] == [ONLY]
    assert (wrong.code, wrong.out) == (1, "")
    assert wrong.err == "error: no worker has ever declared a schedule of a workflow 'tidi'; did you mean 'tidy'?\n"


def test_where_nobody_has_declared_a_schedule_that_is_said(shop: Path, call: Call, work: Callable[[], None]) -> None:
    work()

    people, programs, shown = call("schedules", "list"), call("schedules", "list", "--json"), call("schedules", "show", "greet")

    assert (people.code, people.out) == (0, "")
    assert people.err == "there are no schedules; a worker whose workflows have some makes them known\n"
    assert programs.data == {"schedules": []}
    assert (shown.code, shown.err) == (1, "error: no worker has ever declared a schedule of a workflow 'greet'\n")
    assert finding(call) == {"what": "schedules", "ok": True, "found": "none is to come"}


def test_those_that_no_release_declares_any_more_are_listed_when_asked_for(plant: Path, call: Call, work: Callable[[], None]) -> None:
    (plant / "flows.py").write_text(FLOWS + SCHEDULED.replace("schedules=[Schedule", "schedules=() and [Schedule"))
    call("schedules", "list")
    _forget_flows()
    work()

    assert [each["workflow"] for each in call("schedules", "list", "--json").data["schedules"]] == ["backup", "backup"]
    assert call("schedules", "list", "--all").out.splitlines()[-1].endswith("no release declares it any more")
    preview = call("schedules", "preview", "tidy")
    assert preview.out.count("\n") == 11
    assert preview.err == "none of these fires: no release declares it any more\n"
    assert "next slots" not in call("schedules", "show", "tidy").out
    for command in (["trigger", "tidy"], ["backfill", "tidy", "--from", "2026-01-01", "--to", "2026-01-02"]):
        answer = call("schedules", *command)
        assert (answer.code, answer.err) == (1, f"error: schedule '{ONLY}' of workflow 'tidy' has ended: no release declares it any more\n")


def _forget_flows() -> None:
    import sys  # noqa: PLC0415

    sys.modules.pop("flows", None)


# -- overdue


def test_a_schedule_that_nobody_fires_is_overdue(plant: Path, call: Call) -> None:
    assert finding(call)["ok"] is True
    assert finding(call)["found"].startswith("none is overdue; the next slot comes in ")
    altered(plant, "UPDATE stepwell_schedules SET next_at = next_at - 2 * 86400 WHERE name = 'hourly'")

    assert finding(call) == {"what": "schedules", "ok": False, "found": "hourly of backup is overdue: no worker lives that has backup"}
    assert call("doctor").code == 1
    row = call("schedules", "list", "--workflow", "backup").out.splitlines()[2]
    assert " ago " in row
    assert row.endswith("overdue: no worker lives that has backup")

    call("schedules", "pause", "backup", "hourly")
    assert finding(call)["ok"] is True


def test_of_many_that_are_overdue_some_are_named(shop: Path, call: Call, work: Callable[[], None]) -> None:
    many = "".join(f"Schedule('s{number}', '@daily')," for number in range(7))
    (shop / "flows.py").write_text(
        f"from stepwell import Schedule, workflow\n@workflow(schedules=[{many}])\nasync def tidy() -> None: ...\n"
    )
    work()
    altered(shop, "UPDATE stepwell_schedules SET next_at = next_at - 2 * 86400")

    assert finding(call)["found"].endswith("s4 of tidy is overdue: no worker lives that has tidy; 2 more are overdue")


def test_where_a_worker_lives_nothing_is_remarked(plant: Path, call: Call) -> None:
    with Command("worker", "flows.py", cwd=plant) as worker:
        worker.says("is ready")
        listed = call("schedules", "list").out

        waits = call("schedules", "trigger", "backup", "hourly")

    assert "no worker" not in listed
    assert waits.err == ""


# -- show


def test_show_says_all_of_a_schedule(plant: Path, call: Call, work: Callable[[], None]) -> None:
    call("schedules", "pause", "backup", "daily")
    call("schedules", "resume", "backup", "daily")
    run_id = call("schedules", "trigger", "backup", "daily", "--json").data["id"]
    work()

    shown = call("schedules", "show", "backup", "daily").out
    record = call("schedules", "show", "backup", "daily", "--json").data

    for said in (
        "0 2 * * *  (At 02:00, every day)",
        "Asia/Seoul",
        "computed by a function",
        "no worker lives that has backup",
        f"{run_id} completed",
    ):
        assert said in shown
    coming, rest = shown.split("\nnext slots\n")[1].split("\nlast slots\n")
    slots, events = rest.split("\nevents\n")
    assert [line.split()[2] for line in coming.splitlines() if line] == ["02:00:00"] * 5
    assert "+0900" in coming
    assert "17:00:00 UTC" in coming
    assert f"triggered  run {run_id}, by cli:" in slots
    assert "+0900" in slots
    assert [line.split()[2] for line in events.splitlines()] == ["pause", "resume"]
    assert (record["words"], record["last_run_id"], record["last_run_status"]) == ("At 02:00, every day", run_id, "completed")
    assert (len(record["next_slots"]), len(record["slots"]), len(record["events"])) == (5, 1, 2)
    assert record["slots"][0]["outcome"] == "triggered"
    assert record["events"][0]["actor"].startswith("cli:")


def test_show_says_why_slots_did_not_fire(plant: Path, call: Call, work: Callable[[], None]) -> None:
    call("schedules", "pause", "backup", "hourly")
    paused = call("schedules", "show", "backup", "hourly").out
    altered(plant, "UPDATE stepwell_schedules SET next_at = next_at - 4 * 3600 WHERE name = 'hourly'")
    call("schedules", "resume", "backup", "hourly")

    shown = call("schedules", "show", "backup", "hourly", "--slots", "1").out

    assert "remark      paused by cli:" in paused
    assert "up to 5m" in shown
    assert '{"type": "incremental"}' in shown
    assert "slots)  skipped  the schedule was paused" in shown


def test_a_run_that_was_deleted_is_said_to_be(plant: Path, call: Call, work: Callable[[], None]) -> None:
    run_id = call("schedules", "trigger", "backup", "hourly", "--json").data["id"]
    work()
    call("runs", "delete", run_id)

    assert f"{run_id} deleted" in call("schedules", "show", "backup", "hourly").out
    assert call("schedules", "list", "--workflow", "backup", "--json").data["schedules"][1]["last_run_status"] == "deleted"


# -- which one is meant


def test_a_name_may_be_left_out_where_there_is_only_one(plant: Path, call: Call) -> None:
    assert call("schedules", "pause", "tidy").out == f"paused schedule {ONLY} of tidy\n"

    several = call("schedules", "pause", "backup")

    assert (several.code, several.out) == (1, "")
    assert several.err == "error: workflow 'backup' has 2 schedules; say which: 'daily', 'hourly'\n"


@pytest.mark.parametrize(
    "command", [["show"], ["preview"], ["pause"], ["resume"], ["trigger"], ["backfill", "--from", "2026-01-01", "--to", "2026-01-02"]]
)
def test_names_that_are_not_there_are_told_with_those_that_may_be_meant(plant: Path, call: Call, command: list[str]) -> None:
    workflow, name, part = (
        call("schedules", *command, *names) for names in (["back_up", "daily"], ["backup", "dayly"], ["backup", "hour"])
    )

    assert (workflow.code, workflow.out) == (1, "")
    assert workflow.err == "error: no worker has ever declared a schedule of a workflow 'back_up'; did you mean 'backup'?\n"
    assert (name.code, name.err) == (1, "error: workflow 'backup' has no schedule 'dayly'; did you mean 'daily'?\n")
    assert (part.code, part.err) == (1, "error: workflow 'backup' has no schedule 'hour'; did you mean 'hourly'?\n")


# -- preview


def test_preview_prints_slots_in_the_zone_of_the_schedule_and_in_utc(plant: Path, call: Call) -> None:
    titles, *rows = call("schedules", "preview", "backup", "daily", "--count", "3").out.splitlines()
    record = call("schedules", "preview", "backup", "daily", "-n", "2", "--json").data

    assert titles.split() == ["Asia/Seoul", "UTC", "how", "soon"]
    assert len(rows) == 3
    assert all("02:00:00 +0900" in row and "17:00:00" in row for row in rows)
    assert (record["workflow"], record["name"], record["timezone"], len(record["slots"])) == ("backup", "daily", "Asia/Seoul", 2)
    assert all(slot["local"].endswith("T02:00:00+09:00") and slot["at"].endswith("T17:00:00Z") for slot in record["slots"])


# -- acts


def test_what_is_done_twice_changes_nothing_and_says_so(plant: Path, call: Call) -> None:
    said = [call("schedules", what, "backup", "hourly").out for what in ("resume", "pause", "pause", "resume")]

    assert said[:3] == [
        "unchanged schedule hourly of backup: it is not paused\n",
        "paused schedule hourly of backup\n",
        "unchanged schedule hourly of backup: it is paused\n",
    ]
    assert said[3].startswith("resumed schedule hourly of backup; it comes ")


def test_a_trigger_prints_the_run_that_it_has_started(plant: Path, call: Call, work: Callable[[], None]) -> None:
    answer = call("schedules", "trigger", "backup", "hourly")
    work()

    run = call("runs", "show", answer.out.split()[-1], "--json").data
    assert answer.out == f"started backup {run['id']}\n"
    assert answer.err == "no worker lives that has backup; the run waits until one does\n"
    assert (run["status"], run["schedule"], run["output"]) == ("completed", "hourly", "incremental")


def test_a_trigger_may_wait_for_the_end_of_its_run_and_fails_with_it(plant: Path, call: Call) -> None:
    with Command("worker", "flows.py", cwd=plant) as worker:
        worker.says("is ready")
        done, failed = call("schedules", "trigger", "backup", "daily", "--wait"), call("schedules", "trigger", "tidy", "--wait", "--json")

    assert done.code == 0
    assert done.out.startswith('"full ')
    assert done.out.endswith(' KST"\n')
    assert (failed.code, failed.data["status"]) == (1, "failed")
    assert "failed: ValueError: too much of it" in failed.err


# -- backfill


def test_a_backfill_says_how_many_runs_it_would_start_and_wants_to_be_told(plant: Path, call: Call, work: Callable[[], None]) -> None:
    arguments = ("schedules", "backfill", "backup", "daily", "--from", "2026-03-01", "--to", "2026-03-04")
    asked, done, again = call(*arguments), call(*arguments, "--yes"), call(*arguments, "--yes")
    work()

    runs = call("runs", "list", "--order", "oldest", "--json").data["runs"]
    assert (asked.code, asked.out) == (2, "")
    assert asked.err == (
        "error: this would start up to 3 runs of schedule daily of backup, one for each slot from 2026-03-01 02:00:00 to "
        "2026-03-03 02:00:00 in Asia/Seoul that has had none; add --yes to do it\n"
    )
    assert done.out == "started 3 runs of schedule daily of backup\n"
    assert (again.code, again.out) == (0, "")
    assert again.err == "nothing to start: each of these slots of schedule daily of backup has had its run\n"
    assert [run["output"] for run in runs] == [f"full 2026-03-0{day} 02:00 KST" for day in (1, 2, 3)]


def test_a_time_with_an_offset_is_taken_by_it(plant: Path, call: Call) -> None:
    arguments = ("schedules", "backfill", "backup", "daily", "--yes", "--json", "--from", "2026-02-28T17:00Z")

    assert call(*arguments, "--to", "2026-02-28T17:00:01+00:00").data["started"] == 1
    assert call(*arguments, "--to", "2026-03-02T02:00:01").data["started"] == 1
    assert call(*arguments, "--to", "2026-03-02T02:00:01") == (
        0,
        '{\n  "started": 0,\n  "run_ids": []\n}\n',
        "nothing to start: each of these slots of schedule daily of backup has had its run\n",
    )


def test_slots_that_are_to_come_are_left_to_the_schedule(plant: Path, call: Call) -> None:
    soon = datetime.now(UTC) + timedelta(hours=2)  # the command line's clock is the real one
    answer = call("schedules", "backfill", "backup", "hourly", "--from", soon.isoformat(), "--to", "9999-12-31", "--yes")
    past = call("schedules", "backfill", "tidy", "--from", "2026-03-01T05:00", "--to", "2026-03-01T06:00", "--yes")

    assert (answer.code, answer.out) == (0, "")
    assert answer.err == "schedule hourly of backup has no past slot in that time; those to come are left to it\n"
    assert past.err == f"schedule {ONLY} of tidy has no past slot in that time\n"


@pytest.mark.parametrize(
    ("times", "code", "said"),
    [
        (["--from", "yesterday", "--to", "2026-01-01"], 2, "--from is no time: 'yesterday'; write 2026-03-01, 2026-03-01T02:00 or"),
        (["--from", "2026-01-01", "--to", "2026-13-01"], 2, "--to is no time: '2026-13-01'"),
        (["--from", "2026-01-02", "--to", "2026-01-01"], 2, "--from must be before --to, and 2026-01-02 is not before 2026-01-01"),
        (["--from", "2026-01-01", "--to", "2026-01-01"], 2, "--from must be before --to"),
        (["--from", "2026-01-01"], 2, "Missing option '--to'"),
        (["--from", "0001-01-01", "--to", "9999-12-31T23:59:59"], 1, "a backfill goes through 10,000 slots at most"),
    ],
)
def test_times_that_cannot_be_are_told_in_one_line(plant: Path, call: Call, times: list[str], code: int, said: str) -> None:
    answer = call("schedules", "backfill", "backup", "hourly", "--yes", *times)

    assert (answer.code, answer.out) == (code, "")
    assert said in answer.err
    assert answer.err.count("\n") == 1


# -- a worker that refuses to begin


def test_a_worker_whose_schedule_gives_a_wrong_input_says_which_and_does_not_begin(plant: Path, call: Call) -> None:
    (plant / "flows.py").write_text(FLOWS + SCHEDULED.replace('{"type": "incremental"}', '{"type": 5}'))
    _forget_flows()

    answer = call("worker", "flows.py")

    assert answer.code == 1
    assert answer.err.endswith(
        "error: the input of schedule 'hourly' does not fit workflow 'backup': type: Input should be a valid string.\n"
    )


# -- runs whose input is still to be computed


def test_a_run_whose_input_is_still_to_be_computed_fits_any_code(plant: Path, call: Call) -> None:
    call("schedules", "trigger", "backup", "daily")

    answer = call("check", "flows.py")

    assert (answer.code, answer.out) == (0, "1 run under way, and the code fits\n")
