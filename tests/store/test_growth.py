"""By what each statement finds rows of runs: what `docs/growth.md` says of it, checked against the text of the statement."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

from tests.store.planned import STATEMENTS

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "growth.md"
OF_RUNS: Final = ("runs", "inputs", "outcomes", "attempts", "started", "signals", "logs", "tags", "events")
"""Tables with rows of runs."""

CONDITIONS: Final[Mapping[str, str]] = {
    "run": r"(id|run) = ",
    "parent": r"parent_id = ",
    "key": r"workflow = .* AND (\w+\.)?key = ",
    "schedule": r"workflow = .* AND (\w+\.)?schedule = ",
    "lane": r"lane = .* AND (\w+\.)?head = ",
    "worker": r"worker = ",
    "time": r"(due|deadline_at|status) ",
    "people": r"(true|\w+) ",
}
"""What is asked of a table, by what its rows are found by."""

_TOUCHED: Final = re.compile(
    rf"(FROM|JOIN|UPDATE|INTO) stepwell\.({'|'.join(OF_RUNS)})\b(?: (?:AS )?(?!WHERE|SET|ON|ORDER|GROUP|OFFSET)([a-z]\w*))?"
)


def _classified() -> list[tuple[str, str]]:
    """Statements, and by what they find their rows, as the page says."""
    rows = re.findall(rf"^\| ({'|'.join(CONDITIONS)}) \| (.*) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return [(name, by) for by, names in rows for name in re.findall(r"`(\w+)`", names)]


def _plain(statement: str) -> str:
    """Without comments, in one line."""
    return " ".join(re.sub(r"--.*", "", statement).split())


def _block(text: str, place: int) -> str:
    """The query around a place, without those within it."""
    found, depth = "", 0
    for sign in reversed(text[:place]):
        depth += {")": 1, "(": -1}.get(sign, 0)
        if depth < 0:
            break
        found = found if depth or sign in "()" else sign + found
    depth = 0
    for sign in text[place:]:
        depth += {"(": 1, ")": -1}.get(sign, 0)
        if depth < 0:
            break
        found += "" if depth or sign in "()" else sign
    return found


def _touches(statement: str) -> Iterator[tuple[str, str, str]]:
    """Each mention of a table with rows of runs: how, under what name, and in which query."""
    text = _plain(statement)
    for match in _TOUCHED.finditer(text):
        how, table, alias = match.groups()
        yield how, alias or table, text[match.start() :] if how == "INTO" else _block(text, match.start())


def _named(how: str, alias: str, query: str, condition: str) -> bool:
    """Whether the rows are found by the condition; those that are new say whose they are."""
    if how == "INTO":
        return re.match(r"INTO \S+ (AS \w+ )?\((run|id|tag, run)\b", query) is not None
    return re.search(rf"(WHERE|AND|ON) (?:{alias}\.)?{condition}", query) is not None


def test_every_statement_that_touches_rows_of_runs_is_on_the_page_once() -> None:
    touching = [name for name, statement in STATEMENTS.items() if any(_touches(statement))]

    assert sorted(name for name, _ in _classified()) == sorted(touching)


@pytest.mark.parametrize(("name", "by"), _classified())
def test_a_statement_finds_its_rows_by_what_the_page_says(name: str, by: str) -> None:
    ways = [CONDITIONS[by], CONDITIONS["run"]] if by == "schedule" else [CONDITIONS[by]]
    found = [any(_named(how, alias, query, way) for way in ways) for how, alias, query in _touches(STATEMENTS[name])]

    # What is found by a schedule is looked at by its id, too. What is due is found by time, and then changed by its id. People may ask for
    # all there is.
    assert all(found) or (by == "time" and any(found)) or by == "people"


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT id FROM stepwell.runs WHERE status = 'pending'",
        "UPDATE stepwell.runs r SET status = 'failed' FROM stepwell.outcomes o WHERE o.run = :run",
        "DELETE FROM stepwell.logs WHERE at < (SELECT min(at) FROM stepwell.logs WHERE run = :run)",
        "INSERT INTO stepwell.events (subject, at) VALUES (:subject, :at)",
    ],
)
def test_a_statement_that_does_not_name_the_run_is_noticed(statement: str) -> None:
    assert not all(_named(how, alias, query, CONDITIONS["run"]) for how, alias, query in _touches(statement))
