"""What TARGET may be, and what is said of one that is none."""

import json
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from stepwell import RunStatus, Stepwell
from stepwell.cli.command import Place
from stepwell.cli.dev import default_target
from stepwell.cli.target import BadTarget, load, only_target

ONE = "from stepwell import Step, workflow\n\n@workflow\nasync def {}(step: Step) -> None: ...\n"


def names(app: Stepwell) -> list[str]:
    return sorted(workflow.name for workflow in app._registry)


def refusal(target: str, place: Place | None = None) -> str:
    with pytest.raises(BadTarget) as refused:
        load(target, place or Place())
    return str(refused.value)


def test_a_file_without_an_app_gets_one_with_all_the_workflows_in_it(shop: Path) -> None:
    app = load("flows.py", Place())

    assert names(app) == ["fail", "greet", "wait_long"]
    assert app.database_url == "sqlite:///stepwell.db"


def test_that_app_is_as_the_configuration_says(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPWELL_DATABASE_URL", "sqlite:///other.db")

    assert load("flows.py", Place()).database_url == "sqlite:///other.db"


def test_what_is_given_goes_before_the_configuration(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPWELL_DATABASE_URL", "sqlite:///other.db")

    app = load("flows.py", Place(database="sqlite:///third.db", namespace="acme"))

    assert (app.database_url, app.namespace) == ("sqlite:///third.db", "acme")


def test_a_module_is_found_from_the_current_folder(here: Path) -> None:
    (here / "acme").mkdir()
    (here / "acme/__init__.py").touch()
    (here / "acme/flows.py").write_text(ONE.format("pay"))

    assert names(load("acme.flows", Place())) == ["pay"]


def test_a_file_of_a_package_may_import_relatively(here: Path) -> None:
    (here / "acme").mkdir()
    (here / "acme/__init__.py").touch()
    (here / "acme/parts.py").write_text(ONE.format("pay"))
    (here / "acme/flows.py").write_text("from .parts import pay\n")

    assert names(load("acme/flows.py", Place())) == ["pay"]


def test_a_file_finds_the_files_beside_it(here: Path) -> None:
    (here / "deep").mkdir()
    (here / "deep/helper_of_flows.py").write_text(ONE.format("pay"))
    (here / "deep/flows.py").write_text("from helper_of_flows import pay\n")

    assert names(load("deep/flows.py", Place())) == ["pay"]


def test_an_app_in_the_module_is_taken_as_it_is(here: Path) -> None:
    (here / "flows.py").write_text(
        ONE.format("pay") + "from stepwell import Stepwell\napp = Stepwell('sqlite:///mine.db', workflows=[pay])\n"
    )

    for target in ("flows.py", "flows", "flows:app", "flows.py:app"):
        app = load(target, Place())

        assert app.database_url == "sqlite:///mine.db"
        assert names(app) == ["pay"]


def test_a_database_that_is_given_goes_before_that_of_an_app(here: Path) -> None:
    (here / "flows.py").write_text(
        ONE.format("pay")
        + "from stepwell import Stepwell\napp = Stepwell('sqlite:///mine.db', namespace='a', timezone='Asia/Seoul', workflows=[pay])\n"
    )

    app = load("flows:app", Place(database="sqlite:///given.db"))

    assert (app.database_url, app.namespace, app.timezone, names(app)) == ("sqlite:///given.db", "a", "Asia/Seoul", ["pay"])


def test_an_app_on_a_given_database_keeps_its_retention(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPWELL_RETENTION", "1h")
    (here / "flows.py").write_text("from stepwell import Stepwell\napp = Stepwell('sqlite://', retention={'failed': '90d'})\n")

    app = load("flows:app", Place(database="sqlite:///given.db"))

    assert app._settings.retention == {RunStatus.FAILED: timedelta(days=90)}


def test_of_several_apps_one_has_to_be_named(here: Path) -> None:
    (here / "flows.py").write_text("from stepwell import Stepwell\nfirst = Stepwell('sqlite://')\nsecond = Stepwell('sqlite://')\n")

    assert refusal("flows") == "flows has 2 apps; say which: flows:first, flows:second"
    assert refusal("flows:secondd") == "flows has no 'secondd'; did you mean 'second'?"
    assert refusal("flows:Stepwell") == "flows:Stepwell is no Stepwell app but type"


def test_a_module_with_nothing_to_run_is_refused(here: Path) -> None:
    (here / "flows.py").touch()

    assert "flows.py has no workflow and no app in it" in refusal("flows.py")


def test_of_a_file_that_is_not_there_the_near_one_is_named(shop: Path) -> None:
    assert refusal("flow.py") == f"there is no file flow.py, seen from {shop}; did you mean 'flows.py'?"
    assert "there is no file away/flows.py" in refusal("away/flows.py")


def test_of_a_module_that_is_not_there_the_near_file_is_named(shop: Path) -> None:
    assert "did you mean 'flows.py'?" in refusal("flow")
    assert "there is no module 'acme.flows'" in refusal("acme.flows")
    assert "is no name of a module" in refusal("..")


def test_a_module_that_misses_another_says_which_and_where(here: Path) -> None:
    (here / "flows.py").write_text("import this_is_nowhere\n")

    said = refusal("flows")

    assert said == (
        "flows cannot be imported: ModuleNotFoundError: No module named 'this_is_nowhere' (flows.py, line 1: import this_is_nowhere)"
    )


def test_an_import_that_fails_is_told_in_one_line_with_the_line_of_the_user(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "flows.py").write_text("import json\n\njson.loads('{')\n")

    said = refusal("flows.py")

    assert said.startswith("flows.py cannot be imported: JSONDecodeError: ")
    assert said.endswith("(flows.py, line 3: json.loads('{'))")
    assert capsys.readouterr().err == ""


def test_the_whole_traceback_is_shown_when_asked_for(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "flows.py").write_text("1 / 0\n")

    with pytest.raises(BadTarget, match="ZeroDivisionError"):
        load("flows.py", Place(), show_traceback=True)

    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_a_slip_in_the_syntax_is_told_with_its_line(here: Path) -> None:
    (here / "flows.py").write_text("def f(:\n    pass\n")

    assert "SyntaxError: invalid syntax (flows.py, line 1: def f(:)" in refusal("flows.py")


def test_a_module_that_exits_does_not_take_the_command_with_it(here: Path) -> None:
    (here / "flows.py").write_text("import sys\nsys.exit('no')\n")

    assert "SystemExit: no (flows.py, line 2: sys.exit('no'))" in refusal("flows.py")


def test_a_file_with_the_name_of_a_known_module_does_not_take_its_place(here: Path) -> None:
    (here / "json.py").write_text(ONE.format("pay"))

    assert names(load("json.py", Place())) == ["pay"]
    assert sys.modules["json"] is json


# -- the default


def test_without_a_target_the_only_file_with_workflows_is_taken(shop: Path) -> None:
    (shop / "other.py").write_text("def workflow(): ...\n")

    assert only_target() == "flows.py"


def test_of_several_files_with_workflows_the_one_with_an_app_is_taken(shop: Path) -> None:
    (shop / "app.py").write_text("import stepwell, flows\napp = stepwell.Stepwell(workflows=[flows])\n")

    assert only_target() == "app.py"


def test_of_several_files_with_workflows_one_has_to_be_named(shop: Path) -> None:
    (shop / "more.py").write_text("import stepwell\n@stepwell.workflow(name='x')\nasync def f(): ...\n")

    with pytest.raises(BadTarget, match=r"several files with workflows here; say which: stepwell dev flows.py \(or more.py\)"):
        only_target()


def test_without_a_file_with_workflows_there_is_no_default(here: Path) -> None:
    with pytest.raises(BadTarget, match=r"no Python file in .* has a workflow in it"):
        only_target()


def test_a_file_that_is_being_written_is_not_passed_over(here: Path) -> None:
    (here / "flows.py").write_text("from stepwell import workflow\n@workflow\nasync def f(:\n")

    assert only_target() == "flows.py"


@pytest.mark.parametrize(("target", "found"), [("flows.py", "{here}/flows.py"), ("acme.flows:app", "acme.flows:app")])
def test_the_configuration_may_say_what_to_run(here: Path, monkeypatch: pytest.MonkeyPatch, target: str, found: str) -> None:
    (here / "pyproject.toml").write_text(f"[tool.stepwell]\ntarget = '{target}'\n")
    (here / "deep").mkdir()
    monkeypatch.chdir(here / "deep")

    assert default_target() == found.format(here=here)
