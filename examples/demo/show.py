"""What the demo shows: on a terminal a progress bar that moves, elsewhere plain lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

if TYPE_CHECKING:
    from examples.demo.verdict import Verdict

_PARTS: Final = 4
"""Where there is no bar, a line tells of each quarter."""

_SOME: Final = 3
"""So many of the things that are wrong are named."""


class Show:
    """Tells what happens, as it happens. Use it as a context: in it the bar is drawn."""

    def __init__(self, total: int, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        self._total = total
        self._part = 0
        self._bar = Progress(
            TextColumn("  [bold]mails"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
            expand=True,
        )
        self._task: TaskID = self._bar.add_task("mails", total=total)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def says(self, who: str, what: str, style: str = "") -> None:
        """A line of one of those who take part."""
        line = f"[bold]{who:>12}[/]  [{style or 'default'}]{escape(what)}[/]"
        if self.console.is_terminal:
            self.console.print(line, no_wrap=True, overflow="ellipsis")
        else:
            self.console.print(line, soft_wrap=True)

    def reached(self, count: int) -> None:
        """So many recipients have got mail."""
        part = count * _PARTS // self._total
        if self._bar.disable and part > self._part:
            self.says("mail server", f"{count:,} of {self._total:,} recipients have got mail")
        self._part = part
        self._bar.update(self._task, completed=count)

    def verdict(self, verdict: Verdict, seconds: float) -> None:
        """The table at the end, and what is wrong."""
        table = Table(box=box.SIMPLE_HEAVY, show_header=False, padding=(0, 2))
        table.add_column()
        table.add_column(justify="right", style="bold")
        table.add_row("recipients in the CSV file", f"{verdict.recipients:,}")
        table.add_row("of them got the mail", _judged(verdict.recipients - len(verdict.missing), good=not verdict.missing))
        table.add_row("steps recorded when the worker was killed", f"{verdict.recorded:,}")
        table.add_row("of them run again", _judged(len(verdict.run_again), good=not verdict.run_again))
        table.add_row(
            f"mails sent twice, of at most {verdict.at_once} in flight",
            _judged(verdict.sent_twice, good=verdict.sent_twice <= verdict.at_once),
        )
        table.add_row("seconds", f"{seconds:.1f}")
        self.console.print(table)
        for what in _wrong(verdict):
            self.console.print(f"[bold red]wrong:[/] {escape(what)}")
        if verdict.holds:
            self.console.print("[bold green]Every recipient got the mail, and nothing that was recorded was done again.[/]")


def _judged(count: int, *, good: bool) -> str:
    return f"[{'green' if good else 'red'}]{count:,}[/]"


def _wrong(verdict: Verdict) -> list[str]:
    named = (
        ("recipients got no mail", verdict.missing),
        ("got mail and are no recipients", verdict.strangers),
        ("steps were run again though they were recorded", verdict.run_again),
    )
    wrong = [f"{len(names):,} {what}: {', '.join(names[:_SOME])}{', …' if len(names) > _SOME else ''}" for what, names in named if names]
    if verdict.sent_twice > verdict.at_once:
        wrong.append(f"{verdict.sent_twice:,} mails were sent twice, and only {verdict.at_once} can have been in flight")
    return wrong
