"""Decides what a retry and a fork leave of a run: which outcomes, attempts and lines. Knows no database; adapters carry it out.

What stays is a history that the code can have led to (`history.taken_back`). Nothing that was seen is lost by a retry: the last
attempt of a failed step is kept as an attempt, and lines leave their place in the history to what will be said there now.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from stepwell.core.history import taken_back
from stepwell.core.naming import BODY
from stepwell.core.records import Attempt, Kind, Outcome
from stepwell.errors import DefinitionError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence


_TRIED: Final = (Kind.FUNCTION, Kind.CHILD, Kind.SIGNAL)
"""What begins anew, with another child, say, or with its whole time to wait."""


class Retaken(NamedTuple):
    """What a retry takes back."""

    deleted_keys: tuple[str, ...]
    """Of the outcomes that go."""
    as_attempts: tuple[Attempt, ...]
    """Those of them that are failures of steps, as attempts; their errors are there when the outcomes came with values."""
    first: int
    """The first number that is taken back. Attempts and lines go by it: `is_void`, `scope_aside`."""


class Forked(NamedTuple):
    """What a fork begins with."""

    outcomes: tuple[Outcome, ...]
    attempts: tuple[Attempt, ...]


def retaken(outcomes: Iterable[Outcome], failed_keys: Collection[str]) -> Retaken:
    """What goes when a run is tried again that failed with these steps; no steps: nothing but the attempts of its body."""
    outcomes = list(outcomes)
    kept, first = taken_back(outcomes, failed_keys)
    stays = {outcome.key for outcome in kept}
    gone = [outcome for outcome in outcomes if outcome.key not in stays]
    failed = tuple(_as_attempt(outcome) for outcome in gone if not outcome.ok and outcome.kind in _TRIED)
    return Retaken(tuple(outcome.key for outcome in gone), failed, first)


def is_void(key: str, asked: int, first: int, failed_keys: Collection[str]) -> bool:
    """Whether a retry takes back this attempt: it is shown, and its step has its whole budget again."""
    return asked >= first or key in failed_keys or key == BODY


def scope_aside(claim: int, after: int) -> str:
    """The scope of a line that left its place after `after` outcomes, with -1 as its new place. `claim`: the run's last."""
    return f"~{claim}.{after}"


def forked(outcomes: Iterable[Outcome], attempts: Iterable[Attempt], from_step: str, source: str, new: str) -> Forked:
    """What run `new` begins with that goes its own way from a step of run `source` on. `attempts`: those that are not void.

    Raises:
        DefinitionError: the source has no outcome of this key.
    """
    outcomes = list(outcomes)
    if all(outcome.key != from_step for outcome in outcomes):
        raise DefinitionError(f"run {source} has no outcome of a step {from_step!r} to fork from; {_has(outcomes)}")
    kept, first = taken_back(outcomes, [from_step])
    return Forked(
        tuple(outcome._replace(run=new, claim=0) for outcome in kept),
        tuple(attempt._replace(run=new, claim=0) for attempt in attempts if not is_void(attempt.key, attempt.asked, first, [from_step])),
    )


def _as_attempt(outcome: Outcome) -> Attempt:
    return Attempt(
        outcome.run, outcome.claim, outcome.key, outcome.attempt, outcome.asked, False, outcome.value, outcome.started_at, outcome.at, None
    )  # fmt: skip


def _has(outcomes: Sequence[Outcome]) -> str:
    keys = [repr(outcome.key) for outcome in sorted(outcomes, key=lambda each: each.seq) if outcome.kind != Kind.TIMER]
    return f"it has {', '.join(keys)}" if keys else "it has none at all"
