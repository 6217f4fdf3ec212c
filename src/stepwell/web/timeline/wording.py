"""How a timeline says what it shows: durations that are spoken, glyphs, words for gaps and states. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from stepwell.web.words import duration

if TYPE_CHECKING:
    from stepwell.web.timeline.tracks import Attempt, Track

GLYPHS: Final = {
    "pending": "◔", "running": "▶", "sleeping": "☾", "paused": "❚❚", "completed": "✓", "failed": "✕", "canceled": "⊘", "waiting": "◔",
}  # fmt: skip
"""By class of status. Each has its word beside it."""

GAPS: Final = {
    "queue": "queued", "paused": "paused", "halted": "stopped", "sleep": "asleep", "signal": "waiting for a signal",
    "child": "waiting for a run", "retry": "until the next attempt", "before": "before the fork", "idle": "idle",
}  # fmt: skip
"""What a gap in the execution was."""

_SPOKEN: Final = (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))
_SECOND, _FEW, _THOUSANDTH = 0.9995, 9.95, 0.001


def took(seconds: float) -> str:
    """`310 ms`; `<1 ms` of what was too short to be measured."""
    return "<1 ms" if seconds < _THOUSANDTH else duration(seconds)


def spoken(seconds: float) -> str:
    """`310 milliseconds`, `1.9 seconds`, `4 minutes 10 seconds`: as `took`, for those who hear it."""
    if seconds < _THOUSANDTH:
        return "less than a millisecond"
    if seconds < _SECOND:
        return _counted(round(seconds * 1_000), "millisecond")
    if seconds < _FEW:
        text = f"{seconds:.1f}".removesuffix(".0")
        return f"{text} second" if text == "1" else f"{text} seconds"
    whole = round(seconds)
    parts: list[tuple[int, str]] = []
    for unit, size in _SPOKEN:
        count, whole = divmod(whole, size)
        if count or parts:
            parts.append((count, unit))
    return " ".join(_counted(count, unit) for count, unit in parts[:2] if count)


def _counted(count: int, thing: str) -> str:
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"


def tick_text(seconds: float) -> str:
    """`0`, `0.2 ms`, `50 ms`, `0.5 s`, `1 m 30 s`: a round time on the axis."""
    if seconds <= 0:
        return "0"
    if seconds < 0.1:  # noqa: PLR2004  # above it, tenths of a second are shorter
        return f"{seconds * 1_000:.4g} ms"
    return f"{seconds:.4g} s" if seconds < 60 else duration(seconds)  # noqa: PLR2004  # a minute


def status_of(track: Track) -> str:
    """The class of its colour and glyph."""
    return class_of(track.kind, track.state)


def class_of(kind: str, state: str) -> str:
    """The same of one attempt of a step of this kind."""
    if kind == "sleep" and state == "completed":
        return "sleeping"
    return state if state in GLYPHS else "canceled"


def title_of(attempt: Attempt, of: int, begin: float) -> str:
    """`attempt 2 of 3: failed after 310 ms, 800 ms after the beginning`."""
    which = f"attempt {attempt.record.attempt} of {of}: " if of > 1 else ""
    how = "running for" if attempt.state == "running" else f"{attempt.state} after"
    after = attempt.begin - begin
    return f"{which}{how} {took(attempt.end - attempt.begin)}, {f'{took(after)} after' if after > 0 else 'at'} the beginning"


def sentence_of(track: Track, mark: str) -> str:
    """`charge_card, failed, attempt 3 of 3, 310 milliseconds`: the row, to be heard."""
    last = track.attempts[-1]
    number = last.record.attempt
    parts = [track.label, *([] if track.kind == "function" else [track.kind]), track.state]
    if len(track.attempts) > 1 or number > 1:
        parts.append(f"attempt {number} of {max(attempt.record.attempt for attempt in track.attempts)}")
    parts.append(("so far " if last.state == "running" else "") + spoken(last.end - last.begin))
    return ", ".join([*parts, mark] if mark else parts)
