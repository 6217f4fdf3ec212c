"""The schema, as numbered files that are applied forward, each once. How a database locks and keeps count is its adapter's."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import TYPE_CHECKING, NamedTuple

from stepwell.errors import DatabaseTooNew
from stepwell.store.statements import DEFAULT_NAMESPACE, Form, in_namespace

if TYPE_CHECKING:
    from collections.abc import Sequence

_FILE = re.compile(r"(\d{4})_\w+\.sql")


class Migration(NamedTuple):
    """One step of the schema."""

    number: int
    name: str
    sql: str
    """The last statement of it writes down that it was applied."""


def migrations(package: str, namespace: str, form: Form = "prefix") -> list[Migration]:
    """The numbered files of the package's folder `schema`, in order."""
    found = [
        Migration(int(match[1]), file.name, in_namespace(_script(file.read_text(encoding="utf-8"), match[0], form), namespace, form))
        for file in files(package).joinpath("schema").iterdir()
        if (match := _FILE.fullmatch(file.name))
    ]
    return sorted(found)


def _script(text: str, name: str, form: Form) -> str:
    table = f"{DEFAULT_NAMESPACE}_schema" if form == "prefix" else f"{DEFAULT_NAMESPACE}.schema"
    return f"{text}\nINSERT INTO {table} (number, name) VALUES ({int(name[:4])}, '{name}');\n"


def missing(known: Sequence[Migration], applied: int, where: str) -> list[Migration]:
    """Those that are still to be applied, of a database that has the first `applied`.

    Raises:
        DatabaseTooNew: it has more than are known here.
    """
    newest = known[-1].number
    if applied > newest:
        raise DatabaseTooNew(
            f"{where} has schema {applied}, and this version of Stepwell knows schemas up to {newest}; upgrade Stepwell here to use it"
        )
    return [migration for migration in known if migration.number > applied]
