"""What a browser remembers of how pages are to look: theme, time zone, height of rows, and whether single keys do something."""

from __future__ import annotations

from typing import TYPE_CHECKING
from zoneinfo import available_timezones

from starlette.responses import Response

from stepwell.web.site import ROWS, THEMES

if TYPE_CHECKING:
    from stepwell.web.site import Visit


async def change(visit: Visit) -> Response:
    """Remember what the form says; what it does not name stays."""
    fields = await visit.form()
    answer = visit.back(fields, visit.url("tasks"))
    wanted = {
        "stepwell_theme": fields["theme"] if fields.get("theme") in THEMES else None,
        "stepwell_tz": fields["tz"] if fields.get("tz") in available_timezones() else None,
        "stepwell_rows": fields["rows"] if fields.get("rows") in ROWS else None,
        "stepwell_keys": fields["keys"] if fields.get("keys") in {"on", "off"} else None,
    }
    for name, value in wanted.items():
        if value is not None:
            visit.remember(answer, name, value)
    return answer
