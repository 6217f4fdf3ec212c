"""The rules of the house are not only written down: each of them fails when it is broken."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from scripts.distributions import missing_from
from scripts.interpreters import asked, candidates, interpreters

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CONTRACTS = {contract["id"]: contract for contract in PYPROJECT["tool"]["importlinter"]["contracts"]}
BANNED = PYPROJECT["tool"]["ruff"]["lint"]["flake8-tidy-imports"]["banned-api"]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/**/*.md"))]
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the code and its rules, to break them in."""
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def lint_imports(checkout: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-logo", "--no-cache"]
    environment = os.environ | {"PYTHONPATH": str(checkout / "src"), "COLUMNS": "200"}
    return subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)


def ruff(code: str, name: str) -> list[tuple[str, int]]:
    """The rules that ruff finds broken, with their lines, were this the code of the file of this name."""
    command = [sys.executable, "-m", "ruff", "check", "--output-format", "json", "--stdin-filename", name, "-"]
    answer = subprocess.run(command, cwd=ROOT, input=code, capture_output=True, text=True, check=False)
    return [(found["code"], found["location"]["row"]) for found in json.loads(answer.stdout)]


def test_the_layers_hold(checkout: Path) -> None:
    answer = lint_imports(checkout)

    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.parametrize(
    ("room", "upper"),
    [
        ("errors.py", "stepwell.core.naming"),
        ("core/naming.py", "stepwell.store.port"),
        ("store/port.py", "stepwell.engine.clock"),
        ("engine/clock.py", "stepwell.handle"),
        ("handle.py", "stepwell.testing"),
    ],
)
def test_a_room_that_imports_the_one_above_it_is_found(checkout: Path, room: str, upper: str) -> None:
    with (checkout / "src/stepwell" / room).open("a") as module:
        module.write(f"\nimport {upper}\n")

    answer = lint_imports(checkout)

    assert answer.returncode == 1
    assert f"{CONTRACTS['layers']['name']} BROKEN" in answer.stdout


def test_a_room_that_reaches_upwards_by_way_of_the_public_names_is_found(checkout: Path) -> None:
    with (checkout / "src/stepwell/core/naming.py").open("a") as module:
        module.write("\nimport stepwell\n")
    with (checkout / "src/stepwell/__init__.py").open("a") as module:
        module.write("\nimport stepwell.engine.clock\n")

    answer = lint_imports(checkout)

    assert answer.returncode == 1
    assert f"{CONTRACTS['layers']['name']} BROKEN" in answer.stdout


def test_a_room_without_a_place_in_the_layers_is_found(checkout: Path) -> None:
    (checkout / "src/stepwell/cellar.py").touch()

    answer = lint_imports(checkout)

    assert answer.returncode == 1
    assert "cellar" in answer.stdout


def test_a_core_that_is_not_pure_is_found_whatever_it_imports(checkout: Path) -> None:
    forbidden = CONTRACTS["pure-core"]["forbidden_modules"]
    with (checkout / "src/stepwell/core/naming.py").open("a") as module:
        module.writelines(f"\nimport {name}" for name in forbidden)

    answer = lint_imports(checkout)

    assert f"{CONTRACTS['pure-core']['name']} BROKEN" in answer.stdout
    assert [name for name in forbidden if f"stepwell.core.naming -> {name} " not in answer.stdout] == []


def test_an_engine_that_knows_an_adapter_is_found(checkout: Path) -> None:
    with (checkout / "src/stepwell/engine/clock.py").open("a") as module:
        module.write("\nimport stepwell.store.memory\n")

    answer = lint_imports(checkout)

    assert answer.returncode == 1
    assert f"{CONTRACTS['engine-knows-the-port']['name']} BROKEN" in answer.stdout


def test_shared_sql_that_knows_a_driver_or_an_adapter_is_found_whatever_it_imports(checkout: Path) -> None:
    forbidden = CONTRACTS["shared-sql"]["forbidden_modules"]
    with (checkout / "src/stepwell/store/sql/keeping.py").open("a") as module:
        module.writelines(f"\nimport {name}" for name in forbidden)

    answer = lint_imports(checkout)

    assert f"{CONTRACTS['shared-sql']['name']} BROKEN" in answer.stdout
    assert [name for name in forbidden if f"stepwell.store.sql.keeping -> {name} " not in answer.stdout] == []


def test_every_adapter_is_forbidden_to_the_engine_and_to_shared_sql() -> None:
    shared = {"port", "statements", "migrate", "turns", "verdicts", "shown"}
    rooms = (path for path in (ROOT / "src/stepwell/store").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists())

    adapters = {f"stepwell.store.{path.stem}" for path in rooms if path.stem not in shared | {"__init__"}}

    assert adapters == set(CONTRACTS["engine-knows-the-port"]["forbidden_modules"])
    assert adapters - {"stepwell.store.sql"} <= set(CONTRACTS["shared-sql"]["forbidden_modules"])


@pytest.mark.parametrize("name", BANNED)
def test_what_is_banned_is_found_and_only_where_it_is_banned(name: str) -> None:
    code = f'"""Reads what it should be given."""\n\nimport {name.partition(".")[0]}\n\nprint({name})\n'
    exempt = "src/stepwell/core/codec.py" if name.startswith("pydantic") else "src/stepwell/engine/clock.py"

    assert "TID251" in {rule for rule, _ in ruff(code, "src/stepwell/engine/worker.py")}
    assert "TID251" not in {rule for rule, _ in ruff(code, exempt)}


def test_what_layout_bans_is_banned() -> None:
    assert {"time.time", "datetime.datetime.now", "random", "asyncio.create_task"} <= BANNED.keys()


def test_every_rule_that_is_ignored_has_its_reason() -> None:
    ignored = r'^    "[A-Z]+\d*",'

    lines = [line for line in (ROOT / "pyproject.toml").read_text().splitlines() if re.match(ignored, line)]

    assert [line for line in lines if not re.search(r"# \S", line)] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_a_document_names_only_make_targets_that_exist(document: Path) -> None:
    text = document.read_text()
    blocks = re.findall(r"^```.*?^```", text, flags=re.MULTILINE | re.DOTALL)

    named = re.findall(r"`make ([a-z]+)", text) + re.findall(r"^(?:\$ )?make ([a-z]+)", "\n".join(blocks), flags=re.MULTILINE)

    assert [name for name in named if name not in TARGETS] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_a_document_links_only_to_files_that_exist(document: Path) -> None:
    links = re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)", document.read_text())

    assert [link for link in links if not (document.parent / link).exists()] == []


def test_ci_calls_only_make_targets_that_exist() -> None:
    called = re.search(r"for target in ([a-z ]+);", (ROOT / ".ci/run").read_text())

    assert called
    assert set(called[1].split()) <= TARGETS


def test_what_is_left_out_of_coverage_lies_where_make_test_runs_it_all_the_same() -> None:
    run = re.search(r"-m proof ([a-z/ ]+) ", (ROOT / "Makefile").read_text())
    left_out = {path.relative_to(ROOT).parent.as_posix() for path in ROOT.glob("tests/**/test_*.py") if "mark.proof" in path.read_text()}

    assert run
    assert set(run[1].split()) == left_out - {"tests/house"}


def test_every_make_target_says_what_it_is_for() -> None:
    answer = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)

    assert set(re.findall(r"^make ([a-z]+) +\S", answer.stdout, flags=re.MULTILINE)) == TARGETS


def test_the_interpreters_found_are_of_different_supported_versions_and_run() -> None:
    found = interpreters()

    assert found
    assert len({interpreter.minor for interpreter in found}) == len(found)
    assert all(interpreter.version >= (3, 11) and asked(interpreter.path) == interpreter for interpreter in found)


@pytest.mark.parametrize("answer", ["exit 127", "echo pypy 3 11 9 /usr/bin/pypy3", "echo cpython 3 10 13 /usr/bin/python3.10"])
def test_a_python_that_does_not_run_or_is_not_ours_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "none"))
    shim = tmp_path / "python3.12"
    shim.write_text(f"#!/bin/sh\n{answer}\n")
    shim.chmod(0o755)

    assert list(candidates()) == [shim]
    assert interpreters() == []


def test_an_installation_of_pyenv_is_found_though_it_is_not_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    installed = tmp_path / "versions/3.12.9/bin/python3"
    installed.parent.mkdir(parents=True)
    installed.write_text(f"#!/bin/sh\necho cpython 3 12 9 {installed}\n")
    installed.chmod(0o755)

    found = interpreters()

    assert [(interpreter.version, interpreter.path) for interpreter in found] == [((3, 12, 9), installed)]


def test_a_wheel_that_lost_a_file_is_found(tmp_path: Path) -> None:
    assert missing_from(tmp_path, ".whl", ("stepwell/py.typed",)) == [f"{tmp_path} should have one file *.whl, and has 0"]

    shutil.make_archive(str(tmp_path / "stepwell"), "zip", ROOT / "src", "stepwell/errors.py")
    (tmp_path / "stepwell.zip").rename(tmp_path / "stepwell.whl")

    assert missing_from(tmp_path, ".whl", ("stepwell/errors.py", "stepwell/py.typed")) == ["stepwell.whl has no stepwell/py.typed"]
