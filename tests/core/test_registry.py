"""Which workflow takes a run."""

from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.core.definition import Debounce, Limit, Rate, Workflow, workflow
from stepwell.core.registry import Lane, Registry, check_version, natural_order, refuse_unsupported
from stepwell.errors import DefinitionError, WorkflowNotFound

VERSIONS = st.none() | st.from_regex(r"v?[0-9]{1,3}(\.[0-9a-z]{1,3}){0,2}", fullmatch=True)


def declared(name: str, version: str | None = None, **options: Any) -> Workflow[Any, Any]:
    def work() -> None: ...

    return workflow(work, name=name, version=version, **options)


def declared_for_any_version(name: str, own_version: str | None = None) -> Workflow[Any, Any]:
    @workflow(name=name, version=own_version)
    def work(version: str | None) -> None: ...

    return work


def test_a_run_finds_the_workflow_of_its_name_and_version() -> None:
    old, new, plain = declared("pay", "v1"), declared("pay", "v2"), declared("pay")
    registry = Registry([old, new, plain])

    assert [registry.find("pay", version) for version in ("v1", "v2", None)] == [old, new, plain]


def test_a_run_of_a_version_that_is_not_here_waits() -> None:
    registry = Registry([declared("pay", "v2")])

    assert [registry.find("pay", "v1"), registry.find("pay", None), registry.find("ship", None)] == [None, None, None]


def test_a_function_that_asks_for_the_version_takes_the_runs_of_versions_without_one_of_their_own() -> None:
    old, new = declared("pay", "v1"), declared_for_any_version("pay", "v2")
    registry = Registry([old, new])

    assert [registry.find("pay", version) for version in ("v1", "v2", "v3", None)] == [old, new, new, new]


def test_of_several_functions_that_ask_for_the_version_the_newest_takes_the_run() -> None:
    plain, ninth, tenth = (declared_for_any_version("pay", version) for version in (None, "v9", "v10"))
    newest_but_blind = declared("pay", "v11")
    registry = Registry([tenth, newest_but_blind, plain, ninth])

    assert registry.find("pay", "v3") is tenth
    assert registry.find("pay", None) is plain


def test_a_start_by_name_means_the_unversioned_function_if_there_is_one() -> None:
    assert Registry([declared("pay", "v9"), declared("pay")]).resolve_version("pay") is None


def test_a_start_by_name_means_else_the_newest_version() -> None:
    assert Registry([declared("pay", "v9"), declared("pay", "v10"), declared("pay", "v1")]).resolve_version("pay") == "v10"


@pytest.mark.parametrize(
    "ordered",
    [
        [None, "v1", "v2", "v9", "v10", "v100"],
        ["1.2", "1.9.3", "1.10", "2"],
        ["2024-01-31", "2024-02-01", "2024-11-01"],
        ["01", "1", "a", "b1", "b02"],
        ["9", "v1"],
    ],
)
def test_versions_are_ordered_as_people_count(ordered: list[str | None]) -> None:
    backwards = ordered[::-1]

    assert sorted(backwards, key=natural_order) == ordered


@given(st.lists(VERSIONS | st.text(max_size=8), unique=True))
def test_any_versions_have_one_order(versions: list[str | None]) -> None:
    backwards = versions[::-1]

    assert sorted(versions, key=natural_order) == sorted(backwards, key=natural_order)


@given(st.lists(VERSIONS, unique=True, min_size=1), st.lists(VERSIONS, unique=True), VERSIONS)
def test_whatever_is_registered_a_run_goes_to_its_own_version_or_to_the_newest_that_takes_any(
    blind: list[str | None], open_ones: list[str | None], version: str | None
) -> None:
    takers = [declared_for_any_version("pay", other) for other in open_ones if other not in blind]
    registry = Registry([*(declared("pay", other) for other in blind), *takers])

    found = registry.find("pay", version)

    if version in [*blind, *open_ones]:
        assert found is not None
        assert found.version == version
    else:
        newest = max((taker.version for taker in takers), key=natural_order, default="none")
        assert (found.version if found else "none") == newest


def test_lanes_say_where_runs_wait() -> None:
    registry = Registry([declared("pay", "v1", queue="money"), declared("pay"), declared("ship")])

    assert registry.lanes() == {Lane("money", "pay", "v1"), Lane("default", "pay", None), Lane("default", "ship", None)}


def test_a_registry_goes_through_its_workflows_as_they_were_given() -> None:
    pay, ship = declared("pay"), declared("ship")

    assert list(Registry([pay, ship])) == [pay, ship]
    assert list(Registry()) == []


def test_all_workflows_of_a_module_are_taken() -> None:
    module = ModuleType("shop")
    pay, ship = declared("pay"), declared("ship")
    vars(module).update(pay=pay, also_pay=pay, ship=ship, other=3)

    assert list(Registry([module, pay])) == [pay, ship]


def test_one_workflow_is_not_taken_for_several() -> None:
    with pytest.raises(DefinitionError, match="put it into a list"):
        Registry(declared("pay"))  # type: ignore[arg-type]


def test_two_workflows_of_one_name_and_version_are_refused() -> None:
    with pytest.raises(DefinitionError, match=r"there are two workflows 'pay' v1: .*declared.<locals>.work and .*; give one another"):
        Registry([declared("pay", "v1"), declared("pay", "v1")])


def test_a_function_without_the_decorator_is_refused() -> None:
    def work() -> None: ...

    with pytest.raises(DefinitionError, match="is the function decorated with @workflow"):
        Registry([work])  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("known", "name", "version", "message"),
    [
        (
            ["v3", "v2"],
            "pay",
            "v1",
            "workflow 'pay' has no version 'v1' here; this worker has v2, v3. Keep v1 registered until its runs have ended.",
        ),
        (
            ["v10", None],
            "pay",
            "v1",
            "workflow 'pay' has no version 'v1' here; this worker has one without, v10. Keep v1 registered until its runs have ended.",
        ),
        (
            ["v2"],
            "pay",
            None,
            "workflow 'pay' has no function without a version here; this worker has v2. Keep the one without until its runs have ended.",
        ),
        (["v2"], "pya", None, "there is no workflow 'pya' here; did you mean 'pay'?"),
        (["v2"], "backup", None, "there is no workflow 'backup' here; this worker has pay"),
        ([], "pay", None, "there is no workflow 'pay' here; this worker has none at all"),
    ],
)
def test_what_is_missing_is_said_with_what_is_there(known: list[str | None], name: str, version: str | None, message: str) -> None:
    registry = Registry(declared("pay", other) for other in known)

    with pytest.raises(WorkflowNotFound) as caught:
        registry.get(name, version)

    assert (str(caught.value), caught.value.workflow, caught.value.version) == (message, name, version)


def test_what_is_there_is_got() -> None:
    pay = declared("pay", "v1")

    assert Registry([pay]).get("pay", "v1") is pay


def test_a_name_that_nobody_knows_has_no_version_to_start() -> None:
    with pytest.raises(WorkflowNotFound, match="did you mean 'pay'"):
        Registry([declared("pay")]).resolve_version("pai")


@pytest.mark.parametrize(("own", "asked"), [("v1", None), ("v1", "v1"), (None, None)])
def test_a_workflow_is_started_in_its_own_version(own: str | None, asked: str | None) -> None:
    check_version(declared("pay", own), asked)


@pytest.mark.parametrize(("own", "message"), [("v1", "'pay' is version 'v1' and cannot"), (None, "'pay' has no version and cannot")])
def test_giving_a_workflow_another_version_is_refused(own: str | None, message: str) -> None:
    with pytest.raises(DefinitionError, match=f"{message} be started as 'v2'; start it by its name"):
        check_version(declared("pay", own), "v2")


@pytest.mark.parametrize(
    "options",
    [
        {"concurrency": Limit(1)},
        {"rate": Rate(1, "1s")},
        {"debounce": Debounce("1s")},
    ],
    ids=lambda options: next(iter(options)),
)
def test_a_workflow_that_declares_what_is_not_held_yet_is_refused(options: dict[str, Any]) -> None:
    option = next(iter(options))

    with pytest.raises(DefinitionError, match=f"'pay' declares {option}, which this version of Stepwell does not hold yet"):
        Registry([declared("pay", **options)])


def test_all_that_is_not_held_yet_is_said_at_once() -> None:
    with pytest.raises(DefinitionError, match="declares concurrency, rate, which"):
        refuse_unsupported(declared("pay", concurrency=Limit(1), rate=Rate(1, "1s")))


def test_a_timeout_is_held() -> None:
    refuse_unsupported(declared("pay", timeout="1h"))


@pytest.mark.parametrize(
    ("known", "asked", "found", "version"),
    [
        (["v9", "v10"], None, "v10", "v10"),
        (["v9", None], None, None, None),
        (["v9", "v10"], "v9", "v9", "v9"),
    ],
)
def test_a_start_by_name_is_resolved(known: list[str | None], asked: str | None, found: str | None, version: str | None) -> None:
    resolved = Registry(declared("pay", each) for each in known).resolve("pay", asked)

    assert resolved is not None
    assert (resolved.workflow.version, resolved.version) == (found, version)


def test_a_start_of_another_version_means_the_function_that_takes_all() -> None:
    taker = declared_for_any_version("pay", "v2")

    assert Registry([taker]).resolve("pay", "v1") == (taker, "v1")


@pytest.mark.parametrize(("name", "version"), [("pay", "v1"), ("ship", None)])
def test_a_start_of_what_is_not_here_is_not_resolved(name: str, version: str | None) -> None:
    assert Registry([declared("pay", "v2")]).resolve(name, version) is None
