"""What can be declared, and what is refused where it is declared."""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import sys
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import FrozenInstanceError, dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import pytest

from stepwell.core.definition import Limit, Rate, Schedule, StepFunction, Workflow, body, step, workflow
from stepwell.core.retry import Retry
from stepwell.errors import DefinitionError

if TYPE_CHECKING:
    from decimal import Decimal

    from stepwell.core.records import RunInfo
    from stepwell.engine.logger import Logger
    from stepwell.engine.step import Step, SyncStep


@dataclass
class Welcome:
    email: str


@workflow
async def sendWelcomeEmail(input: Welcome, step: Step, logger: Logger) -> dict[str, bool]:  # noqa: N802
    """Greets."""
    return {"success": bool(input.email)}


@workflow
async def early(input: Later) -> list[Later]:
    return [input]


class Later:
    pass


def declared(function: Any, **options: Any) -> Workflow[Any, Any]:
    """As `@workflow(name="work", …)` does it, out of sight of type checkers, which cannot tell the types of a lambda."""
    work: Workflow[Any, Any] = workflow(function, **{"name": "work"} | options)
    return work


# -- workflows


def test_a_bare_decorator_takes_everything_from_the_function() -> None:
    assert sendWelcomeEmail.name == "send_welcome_email"
    assert sendWelcomeEmail.is_async
    assert sendWelcomeEmail.input_parameter == "input"
    assert sendWelcomeEmail.parameters == {"step", "logger"}
    assert (sendWelcomeEmail.input_annotation, sendWelcomeEmail.output_annotation) == (Welcome, dict[str, bool])


def test_the_defaults_are_those_of_the_contract() -> None:
    plain = sendWelcomeEmail

    assert (plain.version, plain.retry, plain.timeout, plain.schedules) == (None, None, None, ())
    assert (plain.queue, plain.priority, plain.max_steps) == ("default", 0, 10_000)
    assert (plain.concurrency, plain.rate, plain.debounce) == (None, None, None)


def test_options_are_kept() -> None:
    limit, rate, retry = Limit(5), Rate(1, "1s"), Retry.never()

    @workflow(name="pay", version="v2", retry=retry, timeout="1h", queue="money", priority=-1000, concurrency=limit, rate=rate, max_steps=1)
    def work(step: SyncStep) -> None: ...

    assert (work.name, work.version, work.retry, work.timeout) == ("pay", "v2", retry, timedelta(hours=1))
    assert (work.queue, work.priority, work.concurrency, work.rate, work.max_steps) == ("money", -1000, limit, rate, 1)
    assert not work.is_async


def test_a_workflow_is_called_like_the_function_that_it_wraps() -> None:
    output = asyncio.run(sendWelcomeEmail(Welcome("a@b.c"), step=None, logger=None))

    assert output == {"success": True}


def test_a_workflow_looks_like_the_function_that_it_wraps() -> None:
    assert (vars(sendWelcomeEmail)["__name__"], sendWelcomeEmail.__doc__) == ("sendWelcomeEmail", "Greets.")
    assert list(inspect.signature(sendWelcomeEmail).parameters) == ["input", "step", "logger"]


def test_a_workflow_is_shown_by_name_and_version() -> None:
    assert repr(sendWelcomeEmail) == "<Workflow 'send_welcome_email'>"
    assert repr(declared(lambda: None, name="pay", version="v1")) == "<Workflow 'pay' v1>"


def test_a_workflow_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        sendWelcomeEmail.name = "x"  # type: ignore[misc]


def test_two_declarations_of_one_function_are_two_workflows() -> None:
    def work() -> None: ...

    assert workflow(work) != workflow(work)


@pytest.mark.parametrize(
    ("function", "parameters", "input_parameter"),
    [
        (lambda: None, set(), None),
        (lambda order: None, set(), "order"),
        (lambda step, order: None, {"step"}, "order"),
        (lambda order, step, logger, version, run: None, {"step", "logger", "version", "run"}, "order"),
        (lambda *, run, order=1: None, {"run"}, "order"),
    ],
)
def test_the_parameter_left_over_is_the_input(function: Any, parameters: set[str], input_parameter: str | None) -> None:
    work = declared(function)

    assert work.parameters == parameters
    assert work.input_parameter == input_parameter


def test_only_a_body_that_asks_for_the_version_takes_other_versions() -> None:
    assert declared(lambda version: None).takes_version
    assert not sendWelcomeEmail.takes_version


def test_a_body_is_given_what_it_asks_for() -> None:
    def work(order: str, version: str | None, run: RunInfo) -> None: ...

    arguments = workflow(work).arguments("book", step="S", logger="L", version="v1", run="R")

    assert arguments == {"order": "book", "version": "v1", "run": "R"}


@pytest.mark.parametrize(("input", "expected"), [(None, {}), (0, {"order": 0}), ("pen", {"order": "pen"})])
def test_a_body_with_a_default_may_be_given_no_input(input: Any, expected: dict[str, Any]) -> None:
    def work(order: Any = "book") -> None: ...

    assert workflow(work).input_optional
    assert workflow(work).arguments(input, step=None, logger=None, version=None, run=None) == expected


def test_a_body_without_a_default_is_given_none() -> None:
    def work(order: Any) -> None: ...

    assert workflow(work).arguments(None, step=None, logger=None, version=None, run=None) == {"order": None}


async def an_async_generator() -> AsyncIterator[int]:
    yield 1


def a_generator() -> Iterator[int]:
    yield 1


def a_variadic(*orders: int) -> None: ...
def an_open_one(**orders: int) -> None: ...
def a_positional_one(order: int, /) -> None: ...
def a_greedy_one(order: int, customer: int, step: Step) -> None: ...


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (an_async_generator, "it is a generator; a workflow returns its output"),
        (a_generator, "it is a generator; a workflow returns its output"),
        (lambda: None, "a lambda has no name to call the workflow by"),
        (a_variadic, r"takes \*orders: 'int', but a body is given its parameters by name"),
        (an_open_one, r"takes \*\*orders: 'int', but a body is given its parameters by name"),
        (a_positional_one, "is given 'order' by name; take the `/` out"),
        (a_greedy_one, r"has 2 inputs \(order, customer\), and may have one: bundle them into a model"),
        (Welcome, "it is no function but <class"),
        (functools.partial(a_greedy_one, 1, 2), "it is no function but functools.partial"),
        (print, "it is no function but <built-in function print>"),
        ("pay", "it is no function but 'pay'"),
        (sendWelcomeEmail, "it is a workflow already"),
        (step(a_positional_one), "it is a step; a function is one or the other"),
    ],
    ids=lambda given: given if isinstance(given, str) else getattr(given, "__name__", type(given).__name__),
)
def test_what_cannot_be_a_body_is_refused(function: Any, message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        workflow(function)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"name": ""}, "the name of a workflow is empty"),
        ({"name": "x" * 201}, "at most 200 characters"),
        ({"version": 2}, "the version of workflow 'work' is a text, not int: 2"),
        ({"version": " "}, "the version of workflow 'work' is empty; leave it out"),
        ({"version": "x" * 201}, "has 201 characters, and may have 200"),
        ({"retry": 3}, "retry of workflow 'work' is a Retry, not int: 3"),
        ({"queue": ""}, "the name of a queue is empty"),
        ({"priority": 1001}, "a whole number from -1000 to 1000, not 1001"),
        ({"priority": -1001}, "a whole number from -1000 to 1000, not -1001"),
        ({"priority": 1.0}, "a whole number from -1000 to 1000, not 1.0"),
        ({"priority": True}, "a whole number from -1000 to 1000, not True"),
        ({"max_steps": 0}, "max_steps of workflow 'work' is at least 1"),
        ({"concurrency": 5}, "concurrency of workflow 'work' is a Limit, not int: 5"),
        ({"rate": 5}, "rate of workflow 'work' is a Rate"),
        ({"debounce": "10s"}, "debounce of workflow 'work' is a Debounce, not str"),
        ({"schedules": Schedule("@daily")}, "schedules of workflow 'work' is a list of Schedules"),
        ({"schedules": ["@daily"]}, "has '@daily' in it, which is no Schedule"),
        ({"schedules": [Schedule("a", "@daily"), Schedule("a", "@hourly")]}, "has two schedules named 'a'"),
        ({"schedules": [Schedule("@daily"), Schedule("@daily")]}, r"has two schedules named 'work\[@daily\]'"),
    ],
    ids=str,
)
def test_an_option_that_cannot_be_is_refused(option: dict[str, Any], message: str) -> None:
    def work() -> None: ...

    with pytest.raises(DefinitionError, match=message):
        workflow(work, **option)


def test_a_timeout_needs_a_unit() -> None:
    with pytest.raises(ValueError, match="the timeout of workflow 'work' needs a unit"):
        declared(lambda: None, timeout=30)


def test_schedules_get_a_name_in_any_case() -> None:
    work = declared(lambda: None, name="backup", schedules=(Schedule(text) for text in ("@daily", "@hourly")))

    assert [schedule.name for schedule in work.schedules] == ["backup[@daily]", "backup[@hourly]"]


def test_the_wrapper_of_an_async_function_is_async() -> None:
    def logged(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        return wrapper

    @workflow
    @logged
    async def work(order: int, step: Step) -> str:
        return str(order)

    assert (work.is_async, work.input_parameter, work.output_annotation) == (True, "order", str)


def test_a_method_with_its_object_can_be_a_body() -> None:
    class Shop:
        async def sell(self, order: int) -> str:
            return str(order)

    sell = workflow(Shop().sell)

    assert (sell.name, sell.input_parameter, sell.input_annotation) == ("sell", "order", int)


# -- annotations


def test_a_class_defined_further_down_is_known_when_it_is_needed() -> None:
    assert (early.input_annotation, early.output_annotation) == (Later, list[Later])


def test_classes_local_to_the_function_that_declares_the_workflow_are_known() -> None:
    class Order:
        pass

    @workflow
    async def bare(order: Order, step: Step) -> list[Order]:
        return [order]

    @workflow(name="with_options")
    async def with_options(order: Order | None) -> Order:
        return order or Order()

    assert (bare.input_annotation, bare.output_annotation) == (Order, list[Order])
    assert (with_options.input_annotation, with_options.output_annotation) == (Order | None, Order)


def test_a_local_class_does_not_hide_the_one_that_a_function_of_the_module_means() -> None:
    module_level = sendWelcomeEmail.function

    class Welcome:
        pass

    assert workflow(module_level).input_annotation is not Welcome


def test_each_annotation_is_read_for_itself() -> None:
    class Order:
        pass

    @workflow
    async def work(order: Order) -> Unknown: ...  # type: ignore[name-defined]  # noqa: F821

    assert work.input_annotation is Order
    with pytest.raises(DefinitionError, match=r"cannot tell the type of what it returns: name 'Unknown' is not defined.*output="):
        _ = work.output_annotation


def test_an_unknown_class_is_named_with_its_workflow_when_it_is_needed() -> None:
    @workflow
    async def work(price: Decimal) -> None: ...

    with pytest.raises(DefinitionError, match=r"workflow 'work' .* parameter 'price': name 'Decimal' is not defined.*input="):
        _ = work.input_annotation


def test_what_only_type_checkers_know_of_the_other_parameters_does_not_matter() -> None:
    @workflow
    async def work(price: int, step: Step, logger: Logger) -> None: ...

    assert "Step" not in globals()
    assert work.input_annotation is int


def test_options_go_before_annotations() -> None:
    @workflow(input=int, output=str)
    async def work(price: Decimal) -> Decimal:
        return price

    assert (work.input_annotation, work.output_annotation) == (int, str)


def test_without_an_annotation_anything_goes() -> None:
    work = declared(lambda order: None)

    assert (work.input_annotation, work.output_annotation) == (Any, Any)


def test_a_body_without_input_takes_nothing_but_none() -> None:
    work = declared(lambda step: None)

    assert work.input_annotation is type(None)


def test_what_is_annotated_besides_the_type_is_kept() -> None:
    @workflow
    async def work(price: Annotated[int, "positive"]) -> None: ...

    assert (work.input_annotation, work.output_annotation) == (Annotated[int, "positive"], type(None))


def test_no_frame_is_kept_alive() -> None:
    class Treasure:
        pass

    def declare() -> tuple[Any, Any, weakref.ref[Treasure]]:
        treasure = Treasure()

        @workflow
        async def bare(order: int) -> Missing: ...  # type: ignore[name-defined]  # noqa: F821

        @workflow(name="with_options")
        async def with_options(order: int) -> Missing: ...  # type: ignore[name-defined]  # noqa: F821

        return bare, with_options, weakref.ref(treasure)

    bare, with_options, treasure = declare()
    gc.collect()

    assert (bare.input_annotation, with_options.input_annotation) == (int, int)
    assert treasure() is None


# -- steps


class Face:
    """A body's, which writes down what it is called with."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any, tuple[Any, ...], dict[str, Any]]] = []

    def call(self, step_function: StepFunction[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.calls.append((step_function.name, step_function.function, args, kwargs))
        return "recorded"


@pytest.fixture
def face() -> Iterator[Face]:
    face = Face()
    token = body.set(face)
    yield face
    body.reset(token)


@step
async def send(to: str, subject: str = "Hi") -> str:
    """Sends."""
    return f"{subject} {to}"


@step("charge_card", retry=Retry.never(), timeout="5s")
def charge(amount: int) -> int:
    return amount


class Shop:
    def __init__(self, name: str) -> None:
        self.name = name

    @step
    def sell(self, what: str) -> str:
        return f"{what} of {self.name}"

    @staticmethod
    @step
    def open() -> str:
        return "open"

    @classmethod
    @step
    def kind(cls, how: str) -> str:
        return f"{how} {cls.__name__}"


def test_a_bare_step_is_named_after_its_function() -> None:
    assert (send.name, send.retry, send.timeout) == ("send", None, None)


@pytest.mark.parametrize("decorator", [step("other"), step(name="other"), functools.partial(step, name="other")])
def test_a_step_can_be_given_a_name(decorator: Any) -> None:
    assert decorator(lambda: None).name == "other"


def test_the_options_of_a_step_are_kept() -> None:
    assert (charge.name, charge.retry, charge.timeout) == ("charge_card", Retry.never(), timedelta(seconds=5))


def test_outside_of_a_workflow_a_step_is_the_plain_function() -> None:
    shop: Any = Shop  # type checkers do not see through a classmethod of anything but a function

    assert asyncio.run(send("you")) == "Hi you"
    assert charge(3) == 3
    assert Shop("Ann").sell("book") == "book of Ann"
    assert (Shop.open(), shop.kind("a"), Shop.sell(Shop("Bob"), "pen")) == ("open", "a Shop", "pen of Bob")


def test_inside_of_a_workflow_its_body_has_the_call(face: Face) -> None:
    result: object = charge(3)

    assert result == "recorded"
    assert face.calls == [("charge_card", charge.function, (3,), {})]


def test_a_method_that_is_a_step_comes_with_its_object(face: Face) -> None:
    shop = Shop("Ann")

    shop.sell(what="book")

    name, function, args, kwargs = face.calls[0]
    assert (name, args, kwargs) == ("sell", (), {"what": "book"})
    assert function(**kwargs) == "book of Ann"


def test_a_step_looks_like_the_function_that_it_wraps() -> None:
    assert (vars(send)["__name__"], send.__doc__, repr(send)) == ("send", "Sends.", "<step 'send'>")
    assert list(inspect.signature(send).parameters) == ["to", "subject"]
    assert list(inspect.signature(Shop("Ann").sell).parameters) == ["what"]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="before 3.12 only a function itself could be told to be async")
def test_a_step_of_an_async_function_is_told_to_be_async() -> None:
    assert inspect.iscoroutinefunction(send)
    assert not inspect.iscoroutinefunction(charge)


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (lambda: step(send), "it is a step already"),
        (lambda: step(sendWelcomeEmail), "it is a workflow, which is started"),
        (lambda: step(staticmethod(a_generator)), "it is a staticmethod; put @step below that"),
        (lambda: step(3), "it is no function but int"),  # type: ignore[call-overload]
        (lambda: step()(3), "it is no function but int"),  # type: ignore[arg-type]
        (lambda: step(lambda: None), "a lambda has no name to call the step by"),
        (lambda: step(""), "the name of a step is empty"),
        (lambda: step(name=3), "the name of a step is a string"),  # type: ignore[call-overload]
        (lambda: step("a", name="b"), "a step has one name, not 'a' and 'b'"),  # type: ignore[call-overload]
        (lambda: step("a", retry=3)(a_generator), "retry of step 'a' is a Retry, not int: 3"),  # type: ignore[call-overload]
    ],
)
def test_what_cannot_be_a_step_is_refused(declare: Callable[[], object], message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        declare()


def test_the_timeout_of_a_step_needs_a_unit() -> None:
    with pytest.raises(ValueError, match="the timeout of step 'a_generator' needs a unit"):
        step(timeout=5)(a_generator)  # type: ignore[call-overload]
