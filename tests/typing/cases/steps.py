"""A step returns what its function returns, and takes what its function takes."""

from __future__ import annotations

import sqlite3
from datetime import datetime
from typing import Any, assert_type

from stepwell import Retry, StartedRun, Step, SyncStep, step, workflow


async def send(to: str, *, subject: str = "Hi") -> bool:
    return True


def price(item: str) -> int:
    return 1


@step
async def pay(amount: int) -> str:
    return ""


@step("charge", retry=Retry.never(), timeout="5s")
def charge(amount: int) -> float:
    return 1.0


def book(connection: sqlite3.Connection, account: int, *, amount: int = 1) -> float:
    return 1.0


@step(retry=Retry.never())
def book_once(connection: sqlite3.Connection, account: int) -> float:
    return 1.0


async def book_async(connection: sqlite3.Connection, account: int) -> bool:
    return True


class Shop:
    @step
    async def sell(self, item: str) -> int:
        return 1

    @step(name="open_shop")
    def open(self) -> bool:
        return True


async def with_step(steps: Step, shop: Shop) -> None:
    assert_type(await steps.run("send", send, "a@b.c", subject="Hello"), bool)
    assert_type(await steps.run(send, to="a@b.c"), bool)
    assert_type(await steps.run("price", price, "book"), int)
    assert_type(await steps.run(price, item="book"), int)
    assert_type(await steps.run("pay", pay, 3), str)
    assert_type(await steps.run(shop.sell, "book"), int)

    assert_type(await steps.define("send", send, retry=Retry.never(), timeout="5s").run(to="a@b.c"), bool)
    assert_type(await steps.define(shop.open).run(), bool)

    assert_type(await steps.transaction("book", book, 7, amount=3), float)
    assert_type(await steps.transaction("book", book_once, account=7), float)
    assert_type(await steps.transaction("book", book_async, 7), bool)

    assert_type(await steps.map("price", price, ["book", "pen"]), list[int])
    assert_type(await steps.map("pay", pay, range(3), concurrency=2), list[str])


@workflow
async def ship(item: str, step: Step) -> int:
    return 1


@workflow
async def rest() -> bool:
    return True


async def with_children(steps: Step) -> None:
    assert_type(await steps.execute(ship, "book", timeout="1h"), int)
    assert_type(await steps.execute(rest), bool)
    assert_type(await steps.execute("ship", {"any": 1}), Any)
    assert_type(await steps.start(ship, "book", key="k", tags=["a"]), StartedRun)
    assert_type((await steps.start(rest)).run_id, str)


def with_sync_children(steps: SyncStep) -> None:
    assert_type(steps.execute(ship, "book"), int)
    assert_type(steps.execute("ship"), Any)
    assert_type(steps.start(ship, "book").run_id, str)


async def with_signals(steps: Step, sync_steps: SyncStep) -> None:
    assert_type(await steps.wait_for_signal("due", type=datetime), datetime)
    assert_type(await steps.wait_for_signal("due"), Any)
    assert_type(sync_steps.wait_for_signal("due", type=datetime, timeout="1h"), datetime)


def with_sync_step(steps: SyncStep, shop: Shop) -> None:
    assert_type(steps.run("price", price, "book"), int)
    assert_type(steps.run(price, item="book"), int)
    assert_type(steps.run("send", send, "a@b.c"), bool)
    assert_type(steps.map("price", price, ["book"]), list[int])
    assert_type(steps.transaction("book", book, 7), float)
    assert_type(steps.transaction("book", book_async, 7), bool)


async def decorated(shop: Shop) -> None:
    assert_type(await pay(3), str)
    assert_type(charge(amount=3), float)
    assert_type(await shop.sell("book"), int)
    assert_type(await Shop.sell(shop, "book"), int)
    assert_type(shop.open(), bool)
    assert_type(pay.name, str)


async def wrongly(steps: Step, shop: Shop) -> None:
    await steps.run("send", send, 3)  # type: ignore[call-overload]
    await steps.run("price", price)  # type: ignore[call-overload]
    await steps.run(price, itme="book")  # type: ignore[call-overload]
    await steps.transaction("book", book, "7")  # type: ignore[call-overload]
    await steps.map("price", price, [1, 2])  # type: ignore[arg-type]
    await steps.execute(ship, 3)  # type: ignore[misc]
    await steps.start(ship, "book", colour="red")  # type: ignore[call-overload]
    await pay("3")  # type: ignore[arg-type]
    await shop.sell()  # type: ignore[call-arg]
    step(3)  # type: ignore[call-overload]
    step("charge", timeout=5)  # type: ignore[call-overload]
