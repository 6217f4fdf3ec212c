"""Views: choices of runs that have a name. Some are everybody's; others a browser keeps for itself, in a cookie, which is data from afar.

A view is the query of an address, and nothing more. An address that a view has led to has its name, too, in `view`.
"""

from __future__ import annotations

import json
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import parse_qsl, urlencode

from stepwell.errors import BadValue
from stepwell.web.choosing import DAY, PARAMETERS

if TYPE_CHECKING:
    from starlette.responses import Response

    from stepwell.web.site import Visit

COOKIE: Final = "stepwell_views"

MAX_NAME: Final = 40
"""Characters of a name."""

MAX_SAVED: Final = 12
"""Views of one browser."""

_MAX_QUERY: Final = 500
_MAX_COOKIE: Final = 3_500
"""Characters. Browsers keep 4,096 bytes of a cookie, its name included, or nothing of it."""


class View(NamedTuple):
    """A choice of runs."""

    label: str
    query: dict[str, str]
    title: str = ""
    """What it shows, where the label does not say it."""


BUILT_IN: Final = (
    View("All", {}),
    View("Active", {"status": "pending,running,sleeping,paused", "from": "all"}, "Whatever has not ended"),
    View("Failed today", {"status": "failed", "from": "today"}),
    View("Slow", {"status": "running", "from": "all", "order": "oldest"}, "What runs, the oldest first"),
)


def saved(cookie: str) -> tuple[View, ...]:
    """The views that a cookie says. What is no view in it is passed over."""
    try:
        found = json.loads(b64decode(cookie, altchars=b"-_", validate=True))
    except (ValueError, RecursionError):
        return ()
    views = [_view(each) for each in found[:MAX_SAVED]] if isinstance(found, list) else []
    return tuple({view.label: view for view in views if view is not None}.values())


def _view(said: object) -> View | None:
    match said:
        case [str(label), str(query)] if 0 < len(label) <= MAX_NAME and len(query) <= _MAX_QUERY and label.isprintable():
            return View(label, _chosen(query))
        case _:
            return None


def _chosen(query: str) -> dict[str, str]:
    """The parameters that choose runs, and no others."""
    try:
        return {name: value for name, value in parse_qsl(query, keep_blank_values=True, max_num_fields=40) if name in PARAMETERS}
    except ValueError:
        return {}


def is_shown(view: View, query: Mapping[str, str]) -> bool:
    """Whether an address shows this view, wherever in the list, and however many rows of it."""
    return _meant(query) == _meant(view.query)


def _meant(query: Mapping[str, str]) -> dict[str, str]:
    """What is said, without what would be so anyway."""
    said = {name: value for name, value in query.items() if name in PARAMETERS and name != "size" and value}
    return {name: value for name, value in said.items() if (name, value) not in {("from", DAY), ("order", "newest")}}


async def change(visit: Visit) -> Response:
    """Save the view that the form says, under its name, or forget it."""
    fields = await visit.form()
    views, label = saved(visit.request.cookies.get(COOKIE, "")), " ".join(fields.get("name", "").split())
    others = [view for view in views if view.label != label]
    if fields.get("action") == "forget":
        return _kept(visit, others, visit.back(fields, visit.url("tasks"), f"the view {label} was forgotten"))
    view = View(_named(label), _chosen(fields.get("query", "")))
    if len(urlencode(view.query)) > _MAX_QUERY:
        raise BadValue("this chooses by too many words to be kept; keep its address as a bookmark")
    if len(others) >= MAX_SAVED:
        raise BadValue(f"a browser keeps {MAX_SAVED} views; forget one of them first")
    to = visit.url("tasks", query={**view.query, "view": view.label})
    return _kept(visit, [*others, view], visit.go(to, f"the view {label} was saved in this browser"))


def _named(label: str) -> str:
    if not label or len(label) > MAX_NAME or not label.isprintable():
        raise BadValue(f"the name of a view has 1 to {MAX_NAME} characters")
    if label in {view.label for view in BUILT_IN}:
        raise BadValue(f"the view {label} is everybody's; give yours another name")
    return label


def _kept(visit: Visit, views: Iterable[View], answer: Response) -> Response:
    text = _written([*views])
    if len(text) > _MAX_COOKIE:
        raise BadValue("a browser does not keep so much; forget a view first")
    visit.remember(answer, COOKIE, text)
    return answer


def _written(views: Sequence[View]) -> str:
    pairs = [[view.label, urlencode(view.query)] for view in views]
    return urlsafe_b64encode(json.dumps(pairs, ensure_ascii=False, separators=(",", ":")).encode()).decode()
