"""Every page as somebody may meet it: with content, without, with an error, and with odd content. Starts what is to be seen on them."""

from __future__ import annotations

from pathlib import Path

from tests.browser.flows import HOSTILE
from tests.browser.served import Site

RIGHT_TO_LEFT = "שליחת_דואר"
LONG = "a_very_long_key_that_nobody_has_broken_into_words_" * 4


def seeded(site: Site, gate: Path) -> dict[str, str]:
    """Addresses of pages by what is on them. `gate` is a file that is not there."""
    asleep = site.start("nap", {"password": "hunter2"}, tags=["acme", "größe", "日本語"], key="order-8")
    failed = site.start("payment", {"gate": str(gate)}, tags=["acme"])
    hostile = site.start("hostile", {HOSTILE: HOSTILE}, tags=[HOSTILE[:60]], key=LONG)
    under_way = site.start("parcel", {"gate": str(gate), LONG: LONG})
    many = site.start("mailing", {"count": 400})
    done = site.start("hello", "wörld")
    approval = site.start("approval", {})
    site.start("nobody_has_this", {"a": 1}, version="v9")
    site.start(LONG, None)
    site.start(RIGHT_TO_LEFT, None, version="גרסה")
    paused = site.start("nap", {})
    for run_id, status in ((failed, "failed"), (hostile, "failed"), (many, "completed"), (done, "completed"), (asleep, "sleeping")):
        site.becomes(run_id, status)
    site.becomes(under_way, "running")
    site.do(site.app.runs.pause(paused, actor="ada"))
    site.do(site.app.schedules.trigger("report", "nightly"))
    return {
        "tasks": "/tasks",
        "tasks-failed": "/tasks?status=failed",
        "tasks-none": "/tasks?workflow=there_is_none",
        "tasks-wrong": "/tasks?from=yesterday&q=status:odd",
        "matching": "/tasks/matching?from=all",
        "run-failed": f"/runs/{failed}",
        "run-step": f"/runs/{failed}?step=charge_card&tab=logs",
        "run-hostile": f"/runs/{hostile}?tab=logs",
        "run-under-way": f"/runs/{under_way}?tab=input",
        "run-many": f"/runs/{many}",
        "run-done": f"/runs/{done}?tab=output",
        "run-waiting": f"/runs/{approval}?tab=json",
        "run-paused": f"/runs/{paused}?tab=history",
        "no-run": "/runs/no-such-run",
        "choose": "/runs/new",
        "start": "/runs/new?workflow=order",
        "start-json": "/runs/new?workflow=order&as=json",
        "start-unknown": "/runs/new?workflow=there_is_none",
        "rerun": f"/runs/{failed}/rerun",
        "workflows": "/workflows",
        "workflow": "/workflows/nap",
        "schedules": "/schedules",
        "schedule": "/schedules/report/nightly",
        "workers": "/workers",
        "charts": "/charts",
        "system": "/system",
    }


EMPTY = {name: f"/{name}" for name in ("tasks", "workflows", "schedules", "workers", "charts", "system")} | {"choose": "/runs/new"}
"""Pages of an app that has nothing yet."""
