"""Which database, namespace, time zone and retention an app has."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from stepwell import DefinitionError, RunStatus, Stepwell
from stepwell.config import Settings, project_settings, settings_of
from stepwell.core.retention import ENDS


def written(folder: Path, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pyproject.toml").write_text(text)


def test_an_app_that_is_told_nothing_keeps_its_runs_in_a_file_beside_it() -> None:
    assert settings_of(None, None, None) == Settings("sqlite:///stepwell.db", "stepwell.db", "stepwell", "UTC", {})


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///file.db", "file.db"),
        ("sqlite:///folder/file.db", "folder/file.db"),
        ("sqlite:////var/lib/file.db", "/var/lib/file.db"),
        ("sqlite://", None),
        ("sqlite:///:memory:", None),
    ],
)
def test_a_url_names_a_file_or_memory(url: str, path: str | None) -> None:
    assert settings_of(url, None, None)[:2] == (url, path)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("file.db", 'database_url is a URL, not a file name; write "sqlite:///file.db"'),
        ("sqlite:file.db", 'write "sqlite:///file.db"'),
        (Path("/data/file.db"), 'database_url is a URL, not a path; write "sqlite:////data/file.db"'),
        ("sqlite://file.db", 'too few slashes; write "sqlite:///file.db"'),
        ("sqlite:///", "names no file"),
        ("sqlite:///folder/", "names no file"),
        ("sqlite:///file.db?mode=ro", "takes no options after a question mark"),
        ("postgresql://me@host/db?pool_size=none", "pool_size in database_url is a number from 1 to 1000, not 'none'"),
        ("postgresql://me@host/db?hints=maybe", "hints in database_url is on or off, not 'maybe'"),
        ("mysql://me@host/db", "there is no database mysql://; known are sqlite:///file.db"),
        ("", "database_url is a URL"),
        (5, "database_url is a text, not int: 5"),
    ],
)
def test_what_is_no_url_of_a_database_is_refused_with_what_to_write(url: Any, message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        settings_of(url, None, None)


@pytest.mark.parametrize("url", ["postgresql://me:secret@host/db?hints=0", "mysql://me:secret@host/db"])
def test_a_password_is_shown_to_nobody(url: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        settings_of(url, None, None)

    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("namespace", ["shop", "_shop", "Shop_2", "x" * 63])
def test_a_namespace_is_a_name_that_every_database_takes(namespace: str) -> None:
    assert settings_of(None, namespace, None).namespace == namespace


@pytest.mark.parametrize("namespace", ["", "2shop", "my shop", "my-shop", "x" * 64, "żółw", 'x"; DROP TABLE runs; --', "shop\n"])
def test_what_is_no_namespace_is_refused(namespace: str) -> None:
    with pytest.raises(DefinitionError, match="namespace is made of letters from a to z, digits and _"):
        settings_of(None, namespace, None)


@pytest.mark.parametrize("timezone", ["UTC", "Asia/Seoul", "Europe/Paris"])
def test_a_timezone_is_the_name_of_one(timezone: str) -> None:
    assert settings_of(None, None, timezone).timezone == timezone


@pytest.mark.parametrize("timezone", ["Mars/Olympus", "", "../etc/passwd", "Europe"])
def test_a_timezone_that_there_is_not_is_refused(timezone: str) -> None:
    with pytest.raises(DefinitionError, match="there is no timezone"):
        settings_of(None, None, timezone)


def test_an_app_whose_timezone_there_is_not_is_not_made_wherever_it_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.stepwell]\ntimezone = "Mars/Olympus"\n')
    with pytest.raises(DefinitionError, match="there is no timezone 'Mars/Olympus'"):
        Stepwell()
    monkeypatch.setenv("STEPWELL_TIMEZONE", "Mars/Hellas")
    with pytest.raises(DefinitionError, match="there is no timezone 'Mars/Hellas'"):
        Stepwell()
    with pytest.raises(DefinitionError, match="there is no timezone 'Mars/Tharsis'"):
        Stepwell(timezone="Mars/Tharsis")


# -- where it is said


def test_the_environment_says_what_the_program_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPWELL_DATABASE_URL", "sqlite:///env.db")
    monkeypatch.setenv("STEPWELL_NAMESPACE", "env")
    monkeypatch.setenv("STEPWELL_TIMEZONE", "Asia/Seoul")

    assert settings_of(None, None, None) == Settings("sqlite:///env.db", "env.db", "env", "Asia/Seoul", {})
    assert settings_of("sqlite:///my.db", "mine", "UTC") == Settings("sqlite:///my.db", "my.db", "mine", "UTC", {})


def test_a_variable_that_is_set_to_nothing_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPWELL_NAMESPACE", "")

    assert settings_of(None, None, None).namespace == "stepwell"


def test_a_wrong_variable_is_refused_as_a_wrong_argument_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPWELL_DATABASE_URL", "file.db")

    with pytest.raises(DefinitionError, match="database_url is a URL"):
        settings_of(None, None, None)


PROJECT = '[tool.stepwell]\ndatabase_url = "sqlite:///project.db"\nnamespace = "project"\ntimezone = "Europe/Paris"\ntarget = "shop.py"\n'


def test_the_project_says_what_neither_program_nor_environment_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, PROJECT)

    assert settings_of(None, None, None) == Settings("sqlite:///project.db", str(tmp_path / "project.db"), "project", "Europe/Paris", {})
    monkeypatch.setenv("STEPWELL_NAMESPACE", "env")
    monkeypatch.setenv("STEPWELL_DATABASE_URL", "sqlite:///env.db")
    assert settings_of(None, None, None) == Settings("sqlite:///env.db", "env.db", "env", "Europe/Paris", {})


def test_a_program_finds_its_projects_file_from_any_folder_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, PROJECT)
    written(tmp_path / "src", "[tool.other]\n")
    below = tmp_path / "src" / "shop"
    below.mkdir()
    monkeypatch.chdir(below)

    assert settings_of(None, None, None).path == str(tmp_path / "project.db")


def test_the_nearest_project_that_speaks_of_stepwell_is_the_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, PROJECT)
    written(tmp_path / "inner", '[tool.stepwell]\nnamespace = "inner"\n')
    monkeypatch.chdir(tmp_path / "inner")

    assert settings_of(None, None, None) == Settings("sqlite:///stepwell.db", "stepwell.db", "inner", "UTC", {})


def test_a_project_may_say_nothing(tmp_path: Path) -> None:
    assert project_settings() is None
    written(tmp_path, "[project]\nname = 'shop'\n")
    assert project_settings() is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[tool.stepwell", r"pyproject\.toml cannot be read"),
        ("tool = 5\n", r"pyproject\.toml cannot be read"),
        ("[tool]\nstepwell = 5\n", r"tool\.stepwell in .*pyproject\.toml is a table"),
        ('[tool.stepwell]\ndatabase = "x"\n', r"has database; known are database_url, namespace, timezone, retention, target"),
        ("[tool.stepwell]\nnamespace = 5\n", "namespace is a text, not int: 5"),
    ],
)
def test_a_project_that_says_it_wrongly_is_refused(tmp_path: Path, text: str, message: str) -> None:
    written(tmp_path, text)

    with pytest.raises(DefinitionError, match=message):
        settings_of(None, None, None)


def test_an_app_that_is_told_everything_reads_no_file(tmp_path: Path) -> None:
    written(tmp_path, "[tool.stepwell")

    assert settings_of("sqlite://", "shop", "UTC", {}).namespace == "shop"


# -- how long runs are kept

MONTH = dict.fromkeys(ENDS, timedelta(days=30))


def test_an_app_that_is_told_nothing_keeps_its_runs_for_ever() -> None:
    assert settings_of().retention == {}


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ('retention = "30d"', MONTH),
        ('retention = {completed = "30d", failed = "30d", canceled = "30d"}', MONTH),
        ('[tool.stepwell.retention]\ncompleted = "30d"', {RunStatus.COMPLETED: timedelta(days=30)}),
        ("retention = {}", {}),
    ],
)
def test_the_project_says_how_long_runs_are_kept_in_a_text_or_a_table(tmp_path: Path, said: str, kept: dict[RunStatus, timedelta]) -> None:
    written(tmp_path, f"[tool.stepwell]\n{said}\n")

    assert settings_of().retention == kept


def test_the_environment_goes_before_the_project_and_the_program_before_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, '[tool.stepwell]\nretention = "7d"\n')
    monkeypatch.setenv("STEPWELL_RETENTION", "completed=30d")

    assert settings_of().retention == {RunStatus.COMPLETED: timedelta(days=30)}
    assert settings_of(retention={"failed": "30d"}).retention == {RunStatus.FAILED: timedelta(days=30)}
    assert settings_of(retention={}).retention == {}


@pytest.mark.parametrize(
    ("variable", "table", "message"),
    [
        ("30", "", r"retention needs a unit.* \(in STEPWELL_RETENTION\)"),
        ("soon", "", r"retention is no duration: 'soon'.* \(in STEPWELL_RETENTION\)"),
        ("paused=7d", "", r"not 'paused'.* \(in STEPWELL_RETENTION\)"),
        ("", "retention = 30", r"retention needs a unit.* \(in \[tool\.stepwell\]\)"),
        ("", "retention = [1]", r"retention is a timedelta or a text.* \(in \[tool\.stepwell\]\)"),
        ("", 'retention = {paused = "7d"}', r"not 'paused'.* \(in \[tool\.stepwell\]\)"),
    ],
)
def test_a_retention_that_is_said_wrongly_is_refused_with_where_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, table: str, message: str
) -> None:
    monkeypatch.setenv("STEPWELL_RETENTION", variable)
    written(tmp_path, f"[tool.stepwell]\n{table}\n")

    with pytest.raises(DefinitionError, match=message):
        settings_of()
