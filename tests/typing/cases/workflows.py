"""`@workflow` knows input and output from the function."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, assert_type

from pydantic import BaseModel

from stepwell import Limit, Logger, Retry, RunInfo, Schedule, Step, SyncStep, Workflow, workflow


class Welcome(BaseModel):
    email: str


@dataclass
class Receipt:
    total: int


# -- the bare decorator on an async body


@workflow
async def with_step_and_logger(input: Welcome, step: Step, logger: Logger) -> dict[str, bool]:
    return {}


@workflow
async def with_everything(order: Welcome, step: Step, logger: Logger, version: str | None, run: RunInfo) -> Receipt:
    return Receipt(1)


@workflow
async def of_a_builtin(count: int, step: Step) -> list[int]:
    return [count]


@workflow
async def of_a_union(order: Welcome | None, step: Step) -> Receipt | None:
    return None


@workflow
async def of_a_dict(input: dict[str, Any], step: Step) -> dict[str, Any]:
    return input


@workflow
async def with_a_default(order: Receipt = Receipt(0)) -> Receipt:  # noqa: B008
    return order


@workflow
async def without_parameters() -> int:
    return 1


@workflow
async def with_step_alone(step: Step) -> dict[str, Any]:
    return {}


@workflow
async def with_logger_alone(logger: Logger) -> None:
    return None


@workflow
async def without_input(step: Step, logger: Logger) -> int:
    return 1


@workflow
async def with_input_after_step(step: Step, order: Welcome) -> Receipt:
    return Receipt(1)


assert_type(with_step_and_logger, Workflow[Welcome, dict[str, bool]])
assert_type(with_everything, Workflow[Welcome, Receipt])
assert_type(of_a_builtin, Workflow[int, list[int]])
assert_type(of_a_union, Workflow[Welcome | None, Receipt | None])
assert_type(of_a_dict, Workflow[dict[str, Any], dict[str, Any]])
assert_type(with_a_default, Workflow[Receipt, Receipt])
assert_type(without_parameters, Workflow[None, int])
assert_type(with_step_alone, Workflow[None, dict[str, Any]])
assert_type(with_logger_alone, Workflow[None, None])
assert_type(without_input, Workflow[None, int])
assert_type(with_input_after_step, Workflow[Welcome, Receipt])


# -- a body that is a plain function


@workflow
def plain(input: Welcome, step: SyncStep, logger: Logger) -> dict[str, bool]:
    return {}


@workflow
def plain_without_parameters() -> str:
    return ""


@workflow
def plain_without_input(step: SyncStep, logger: Logger) -> None:
    return None


@workflow
def plain_with_input_after_step(step: SyncStep, order: Welcome) -> Receipt:
    return Receipt(1)


assert_type(plain, Workflow[Welcome, dict[str, bool]])
assert_type(plain_without_parameters, Workflow[None, str])
assert_type(plain_without_input, Workflow[None, None])
assert_type(plain_with_input_after_step, Workflow[Welcome, Receipt])


# -- with options


@workflow(name="pay", version="v2", retry=Retry(max_attempts=3), timeout="1h", concurrency=Limit(5), schedules=[Schedule("@daily")])
async def with_options(input: Welcome, step: Step) -> Receipt:
    return Receipt(1)


@workflow()
def plain_with_options(step: SyncStep) -> int:
    return 1


async def wrapped_by_hand(input: Welcome, step: Step) -> Receipt:
    return Receipt(1)


assert_type(with_options, Workflow[Welcome, Receipt])
assert_type(plain_with_options, Workflow[None, int])
assert_type(workflow(wrapped_by_hand), Workflow[Welcome, Receipt])
assert_type(workflow(wrapped_by_hand, name="other"), Workflow[Welcome, Receipt])
assert_type(workflow(name="other")(wrapped_by_hand), Workflow[Welcome, Receipt])


# -- what is not there

workflow(nmae="pay")  # type: ignore[call-overload]
workflow(name="pay", timeout=30)  # type: ignore[call-overload]
workflow(name="pay", retry=3)  # type: ignore[call-overload]
workflow("pay")  # type: ignore[call-overload]
with_options.name = "other"  # type: ignore[misc]
