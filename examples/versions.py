"""Two ways to change a workflow while runs of it are under way: a function for each version, or one function that knows its version.

A run keeps the version that it was started with, however long it takes. Without one in the call, the newest known is started.

    python examples/versions.py
"""

from __future__ import annotations

import asyncio

from stepwell import Step, Stepwell, workflow

# -- a function for each version: keep the old one for as long as there are runs of it


@workflow(name="greeting", version="1")
async def greeting_1(name: str, step: Step) -> str:
    """As it was once."""
    return await step.run("greet", greet, "Hello", name)


@workflow(name="greeting", version="2")
async def greeting_2(name: str, step: Step) -> str:
    """As it is now: with another step before the first."""
    word = await step.run("choose", choose_word, name)
    return await step.run("greet", greet, word, name)


# -- one function for all versions: where little has changed


@workflow(version="2024.2")
async def invoice(cents: int, version: str, step: Step) -> str:
    """Since 2024.2 the tax is 8.1 %. Runs of every older version come here, too, and are taxed as they began."""
    per_mille = 77 if version == "2024.1" else 81
    tax = await step.run("tax", tax_of, cents, per_mille)
    return f"{cents / 100:.2f} + {tax / 100:.2f} tax"


def greet(word: str, name: str) -> str:
    """Greet somebody."""
    return f"{word} {name}"


def choose_word(name: str) -> str:
    """Find the right word for somebody."""
    return "Good day," if " " in name else "Hi"


def tax_of(cents: int, per_mille: int) -> int:
    """The tax on a sum."""
    return round(cents * per_mille / 1000)


async def main(database_url: str | None = None) -> None:
    """Run old and new versions side by side, on one worker."""
    async with Stepwell(database_url, workflows=[greeting_1, greeting_2, invoice]) as app, app.worker():
        for version in ("1", "2", None):
            handle = await app.start("greeting", "Ada Lovelace", version=version)
            print(f"greeting started as {version}, run as {(await handle.get()).version}: {await handle.result()}")
        for version in ("2024.1", "2024.2"):
            print(f"invoice {version}: {await app.execute('invoice', 10_000, version=version)}")


if __name__ == "__main__":
    asyncio.run(main())
