"""Says why a run's code no longer fits what is recorded, so that somebody who meets it for the first time knows what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stepwell.core.definition import Workflow
    from stepwell.core.history import Finding


def explain(finding: Finding, workflow: Workflow[Any, Any], version: str | None, places: Sequence[str], python: int) -> str:
    """The message of a `NonDeterminism`."""
    name = workflow.name if version is None else f"{workflow.name} {version}"
    lines = [
        f"the code of {name} no longer fits what this run has recorded, so the run is paused. Nothing was done twice.",
        "",
        f"  {finding.what}.",
    ]
    if finding.asked_instead:
        lines.append(f"  Instead it asks for: {', '.join(finding.asked_instead)}.")
    if places:
        lines += ["  The code is at:", *(f"    {place}" for place in places[:5])]
    lines.append(f"  Recorded before it: {', '.join(finding.before) or 'nothing, it is the first'}.")
    lines.append(f"  Recorded after it: {', '.join(finding.after) or 'nothing, it is the last'}.")
    if finding.python is not None and finding.python != python:
        lines.append(f"  It was recorded under Python {_dotted(finding.python)}; this is {_dotted(python)}.")
    lines += [
        "",
        "Most likely a step was added, removed, renamed or moved while this run was under way. A run must meet the steps that it has done",
        "in the same order again; what comes after them may change freely. Either",
        "  - bring the old code back, deploy, and resume the run; or",
        '  - keep the old code for the runs that began with it, and give the new code a version: @workflow(version="2"); or',
        "  - cancel the run and start another.",
    ]
    return "\n".join(lines)


def _dotted(python: int) -> str:
    return f"{python // 100}.{python % 100}"
