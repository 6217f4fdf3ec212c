"""`stepwell migrate`: makes or migrates the tables, or prints the SQL that does."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from stepwell.app import Stepwell
from stepwell.cli.command import Database, Namespace, app_at, place_of
from stepwell.cli.output import say
from stepwell.config import shown_url


def migrate(
    context: typer.Context,
    *,
    sql: Annotated[bool, typer.Option("--sql", help="Print the SQL of all migrations, and change nothing.")] = False,
    database: Database = None,
    namespace: Namespace = None,
) -> None:
    """Make the tables, or bring them up to date. They are also made when a worker begins; here it can be done before."""
    app = app_at(place_of(context, database, namespace), migrate=True)
    if sql:
        say(app.migration_sql())
        return
    asyncio.run(_open(app))
    say(f"{shown_url(app.database_url)} is up to date")


async def _open(app: Stepwell) -> None:
    """Opening is what makes and migrates the tables."""
    async with app:
        return
