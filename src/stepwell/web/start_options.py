"""What may be said of a run beside its input, as a form has it: key, queue, priority, delay, timeout and tags. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from stepwell.core.duration import parse_duration
from stepwell.core.records import Definition, Run
from stepwell.core.starting import checked_key, checked_queue, checked_start_priority, checked_tags
from stepwell.errors import DefinitionError


class Option(NamedTuple):
    """One of them."""

    name: str
    label: str
    hint: str


OPTIONS: Final = (
    Option("key", "Key", "a second start with it gives the first run"),
    Option("delay", "Delay", "such as 10m or 2h30m; empty: at once"),
    Option("queue", "Queue", "empty: the workflow's"),
    Option("priority", "Priority", "a whole number, higher first; empty: the workflow's"),
    Option("timeout", "Timeout", "such as 1h; empty: the workflow's"),
    Option("tags", "Tags", "with commas between them"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StartOptions:
    """The options of a start, as they are shown, and what is wrong with them."""

    texts: Mapping[str, str] = field(default_factory=dict)
    """By name; those that are not there are empty."""
    given: Mapping[str, Any] = field(default_factory=dict)
    """As `app.start` takes them."""
    errors: Mapping[str, str] = field(default_factory=dict)
    places: Mapping[str, str] = field(default_factory=dict)
    """What holds where nothing is said."""

    @property
    def are_open(self) -> bool:
        """Whether there is something to see."""
        return any(self.texts.values()) or bool(self.errors)


def options_of(definition: Definition | None, run: Run | None) -> StartOptions:
    """Those to begin with: of a run that is done again, or none."""
    places = {} if definition is None else {"queue": definition.queue, "priority": str(definition.priority)}
    if run is None:
        return StartOptions(places=places)
    texts = {"queue": run.queue, "priority": str(run.priority), "tags": ", ".join(run.tags)}
    return StartOptions(texts=texts, places=places)


def read_options(sent: Mapping[str, str], workflow: str, first: StartOptions, run: Run | None) -> StartOptions:
    """Those that were sent."""
    texts = {name: sent.get(name, "").strip() for name, _, _ in OPTIONS}
    given: dict[str, Any] = {}
    errors: dict[str, str] = {}

    def read(name: str, reader: Callable[[str], Any]) -> None:
        try:
            if texts[name]:
                given[name] = reader(texts[name])
        except (ValueError, DefinitionError) as error:
            errors[name] = str(error)

    read("key", checked_key)
    read("delay", lambda text: parse_duration(text, "delay"))
    read("queue", lambda text: checked_queue(text, workflow, text))
    read("priority", lambda text: checked_start_priority(_integer(text), workflow, 0))
    read("timeout", lambda text: parse_duration(text, "timeout"))
    # A tag may have a comma in it.
    same = run is not None and texts["tags"] == first.texts["tags"].strip()
    read("tags", lambda text: run.tags if run is not None and same else checked_tags(_listed(text)))
    return StartOptions(texts=texts, given=given, errors=errors, places=first.places)


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"a priority is a whole number, not {text[:50]!r}") from None


def _listed(text: str) -> list[str]:
    return [tag for part in text.split(",") if (tag := part.strip())]
