"""The schema, as numbered files that are applied forward, each once. How a database locks and keeps count is its adapter's."""

from __future__ import annotations

import re
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING, NamedTuple

from stepwell.errors import DatabaseTooNew, DatabaseUnavailable
from stepwell.store.statements import DEFAULT_NAMESPACE, Form, in_namespace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_FILE = re.compile(r"(\d{4})_\w+\.sql")


class Migration(NamedTuple):
    """One step of the schema."""

    number: int
    name: str
    sql: str
    """The last statement of it writes down that it was applied."""
    digest: str
    """Of what it makes, whatever the namespace and the comments."""


def migrations(package: str, namespace: str, form: Form = "prefix") -> list[Migration]:
    """The numbered files of the package's folder `schema`, in order."""
    found = [
        _migration(int(match[1]), file.name, file.read_text(encoding="utf-8"), namespace, form)
        for file in files(package).joinpath("schema").iterdir()
        if (match := _FILE.fullmatch(file.name))
    ]
    return sorted(found)


def _migration(number: int, name: str, text: str, namespace: str, form: Form) -> Migration:
    table = f"{DEFAULT_NAMESPACE}_schema" if form == "prefix" else f"{DEFAULT_NAMESPACE}.schema"
    digest = sha256(" ".join(re.sub(r"--.*", "", text).split()).encode()).hexdigest()[:16]
    noted = f"{text}\nINSERT INTO {table} (number, name, digest) VALUES ({number}, '{name}', '{digest}');\n"
    return Migration(number, name, in_namespace(noted, namespace, form), digest)


def missing(known: Sequence[Migration], applied: Mapping[int, str | None], where: str) -> list[Migration]:
    """Those that are still to be applied, of a database that has these: the digests of what was applied, by number.

    Raises:
        DatabaseTooNew: it has more than are known here.
        DatabaseUnavailable: one that it has was another then. That happens before a release, and never after.
    """
    newest, has = known[-1].number, max(applied, default=0)
    if has > newest:
        raise DatabaseTooNew(
            f"{where} has schema {has}, and this version of Stepwell knows schemas up to {newest}; upgrade Stepwell here to use it"
        )
    if any(applied.get(migration.number, migration.digest) != migration.digest for migration in known):
        raise DatabaseUnavailable(
            f"{where} has tables of a Stepwell that was never released, and nothing can bring them up: take another database or another "
            "namespace, or delete these tables",
            permanent=True,
        )
    return [migration for migration in known if migration.number > has]
