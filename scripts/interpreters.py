"""Finds the Pythons of this machine that Stepwell supports, and gives each an environment to run it in.

Run as `python -m scripts.interpreters` to see them. It looks on PATH and in pyenv's installations, if there are any, and
believes no name: each one found is run and asked what it is.
"""

import os
import subprocess
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent

OLDEST = (3, 11)

QUESTION = "import ensurepip, sys, venv; print(sys.implementation.name, *sys.version_info[:3], sys.executable)"

SECONDS_TO_ANSWER = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreter:
    """A CPython that runs, and can make environments.

    Attributes:
        version: major, minor and patch.
        path: of its executable, not of a shim that leads to it.
    """

    version: tuple[int, int, int]
    path: Path

    @property
    def minor(self) -> str:
        """`3.12`: what its environment is called by."""
        return f"{self.version[0]}.{self.version[1]}"


def interpreters() -> list[Interpreter]:
    """One of each supported minor version, the newest patch, oldest minor version first."""
    found: dict[str, Interpreter] = {}
    for path in candidates():
        interpreter = asked(path)
        if interpreter and (interpreter.minor not in found or interpreter.version > found[interpreter.minor].version):
            found[interpreter.minor] = interpreter
    return sorted(found.values(), key=lambda interpreter: interpreter.version)


def candidates() -> Iterator[Path]:
    """What is called like a Python, each file once, however many links lead to it."""
    directories = [Path(directory) for directory in os.environ.get("PATH", "").split(os.pathsep) if directory]
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    paths = [path for directory in directories for path in sorted(directory.glob("python3*"))]
    paths += sorted(pyenv.glob("versions/*/bin/python3"))
    seen: set[Path] = set()
    for path in paths:
        suffix = path.name.removeprefix("python3")
        target = path.resolve()
        if target not in seen and (not suffix or suffix.removeprefix(".").isdecimal()):
            seen.add(target)
            yield path


def asked(path: Path) -> Interpreter | None:
    """What the program says it is; None when it does not run, is another Python, or too old."""
    try:
        # -I leaves out the environment variables for Python: they are about the Python that runs this.
        answer = subprocess.run([path, "-I", "-c", QUESTION], capture_output=True, text=True, timeout=SECONDS_TO_ANSWER, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    name, major, minor, patch, executable = answer.stdout.rstrip("\n").split(" ", 4)
    version = (int(major), int(minor), int(patch))
    if name != "cpython" or version < OLDEST:
        return None
    return Interpreter(version=version, path=Path(executable))


def environment(interpreter: Interpreter) -> Path:
    """The executable of an environment in which this interpreter can import stepwell, made if it is missing or out of date.

    Raises:
        subprocess.CalledProcessError: the environment could not be made; what pip or venv said is on stderr.
    """
    directory = ROOT / ".venv" / "versions" / interpreter.minor
    python = directory / "bin" / "python"
    installed = directory / f".installed-{zlib.crc32((ROOT / 'pyproject.toml').read_bytes())}"
    if not (installed.exists() and asked(python)):
        subprocess.run([interpreter.path, "-m", "venv", "--clear", directory], check=True)
        install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--editable", "."]
        subprocess.run([python, *install], cwd=ROOT, check=True)
        installed.touch()
    return python


if __name__ == "__main__":
    for interpreter in interpreters():
        print(interpreter.path)
