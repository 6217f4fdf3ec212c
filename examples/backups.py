"""Two kinds of backups by one workflow: every hour what has changed, and every night all of it. None begins while its last goes on.

python examples/backups.py                                                           # one of each, of a folder that it makes up
BACKUP_FROM=/srv/data BACKUP_TO=/mnt/backups stepwell worker examples/backups.py     # or: in earnest
"""

from __future__ import annotations

import asyncio
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from pydantic import BaseModel

from stepwell import Retry, RunInfo, Schedule, Step, Stepwell, workflow


class Backup(BaseModel):
    """What is copied: all files, or those that no backup has as they are now."""

    type: Literal["full", "incremental"]


@workflow(
    schedules=[
        Schedule("hourly", "0 * * * *", input=Backup(type="incremental"), overlap="skip"),
        Schedule("nightly", "30 2 * * *", input=Backup(type="full"), overlap="skip", timezone="Europe/Paris"),
    ],
    retry=Retry(max_attempts=None, max_interval="10m"),
)
async def back_up(backup: Backup, run: RunInfo, step: Step) -> int:
    """Copy files into a folder of their own; how many there were.

    While the disk is away its steps are tried again, for as long as it takes, and `overlap` keeps such runs from piling up.
    """
    folder = f"{run.scheduled_at or run.created_at:%Y-%m-%d %H.%M.%S} {backup.type}"
    files = await step.run("find", find, backup.type)
    await step.map("copy", lambda file: copy(file, folder), files, concurrency=8)
    return len(files)


@dataclass
class Disks:
    """From where files are copied, and where to."""

    source: Path
    target: Path


disks = Disks(Path(os.environ.get("BACKUP_FROM", "data")), Path(os.environ.get("BACKUP_TO", "backups")))


def find(type: str) -> list[str]:
    """The files to copy. It is a step, so that all attempts copy the same ones: those that come later are the next backup's."""
    files = sorted(file for file in disks.source.rglob("*") if file.is_file())
    return [str(file.relative_to(disks.source)) for file in files if type == "full" or not is_kept(file)]


def is_kept(file: Path) -> bool:
    """Whether a backup has the file as it is now. A copy keeps the time of its original."""
    copies = (folder / file.relative_to(disks.source) for folder in disks.target.glob("*"))
    return any(looks(copy) == looks(file) for copy in copies if copy.is_file())


def looks(file: Path) -> tuple[int, float]:
    """By which a changed file is known."""
    return file.stat().st_size, file.stat().st_mtime


def copy(file: str, folder: str) -> None:
    """Copy one file, over what an attempt before may have left."""
    target = disks.target / folder / file
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(disks.source / file, target)


async def main(folder: Path, database_url: str | None = None) -> None:
    """Trigger a full backup, change a file, and trigger an incremental one."""
    disks.source, disks.target = folder / "data", folder / "backups"
    disks.source.mkdir()
    for name in ("customers", "orders", "prices"):
        (disks.source / name).write_text("as it was")
    async with Stepwell(database_url, workflows=[back_up]) as app, app.worker():
        for name in ("nightly", "hourly"):
            handle = await app.schedules.trigger(back_up, name)
            print(f"{name}: copied {await handle.result()} files")
            (disks.source / "orders").write_text("as it is now")
        for schedule in await app.schedules.list():
            print(f"{schedule.workflow} {schedule.name} comes next at {schedule.next_at:%Y-%m-%d %H:%M} UTC")


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        asyncio.run(main(Path(folder)))
