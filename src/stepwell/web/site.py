"""What all pages share: the app they show, who looks at it, and how an answer is made of a template."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, lru_cache
from hashlib import sha256
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qsl, quote, unquote, urlencode
from zoneinfo import ZoneInfo

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Router

from stepwell.app import Stepwell
from stepwell.core.cron import in_words
from stepwell.core.records import instant
from stepwell.web import words
from stepwell.web.access import Access, NotAllowed, NotSignedIn, Role, User
from stepwell.web.addresses import prefix_of
from stepwell.web.batches import Batches
from stepwell.web.columns import columns
from stepwell.web.figures import Figures
from stepwell.web.live import Live
from stepwell.web.problems import EXPECTED, problem_of
from stepwell.web.redaction import Redactor
from stepwell.web.static import StaticFiles

log = logging.getLogger(__name__)

MAX_FORM: Final = 8 * 1024 * 1024
"""Bytes that a form may have."""

_SAID: Final = "stepwell_said"
"""The cookie with what the next page is to say."""

THEMES: Final = ("auto", "light", "dark")
ROWS: Final = ("roomy", "compact")

_YEAR: Final = 31_536_000
"""Seconds."""

_PASSING: Final = re.compile(r'(data-(?:ago|since)="[^"]*">)[^<]*|data-now="[^"]*"')
"""What is another text with each second that passes. Browsers tell it on by themselves, so a page is still the same."""

Fields: TypeAlias = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One request for a page, and who has made it."""

    site: Site
    request: Request
    user: User
    now: datetime

    @property
    def app(self) -> Stepwell:
        """Whose runs are shown."""
        return self.site.app

    @property
    def query(self) -> Mapping[str, str]:
        """The parameters of the address."""
        return self.request.query_params

    @property
    def zone(self) -> ZoneInfo:
        """In which times are shown: that of the address, else that of the browser."""
        for name in (self.query.get("tz"), self.request.cookies.get("stepwell_tz")):
            try:
                return ZoneInfo(name or "")
            except (KeyError, ValueError, OSError):
                continue
        return ZoneInfo("UTC")

    @property
    def theme(self) -> str:
        """`auto`, `light` or `dark`."""
        theme = self.request.cookies.get("stepwell_theme", "auto")
        return theme if theme in THEMES else "auto"

    @property
    def rows(self) -> str:
        """How high the rows of tables are: `roomy` or `compact`."""
        rows = self.request.cookies.get("stepwell_rows", ROWS[0])
        return rows if rows in ROWS else ROWS[0]

    @property
    def keys(self) -> bool:
        """Whether single keys do something."""
        return self.request.cookies.get("stepwell_keys", "on") != "off"

    def url(self, name: str, /, *, query: Mapping[str, object] | None = None, **params: object) -> str:
        """The path of a page, under whatever prefix the application is mounted. What is None is left out of the query."""
        path = self.prefix + quote(str(self.site.router.url_path_for(name, **params)))
        pairs = [(key, str(value)) for key, value in (query or {}).items() if value is not None]
        return f"{path}?{urlencode(pairs)}" if pairs else path

    def here(self, **changes: object) -> str:
        """The address of this page with other parameters; None takes one away.

        What is not changed stays as it is, also what is there several times, or empty.
        """
        path = self.prefix + quote(self.request.scope["path"].removeprefix(self.request.scope.get("root_path", "")))
        pairs = [pair for pair in self.request.query_params.multi_items() if pair[0] not in changes]
        pairs += [(key, str(value)) for key, value in changes.items() if value is not None]
        return f"{path}?{urlencode(pairs)}" if pairs else path

    @property
    def prefix(self) -> str:
        """Where the application is mounted, as addresses have it."""
        return prefix_of(self.request.scope)

    def static(self, name: str) -> str:
        """The address of a file."""
        return self.prefix + self.site.static.path(name)

    def need(self, role: Role) -> None:
        """Raises NotAllowed: the user has not this role."""
        if not self.user.may(role):
            raise NotAllowed(role)

    async def form(self) -> dict[str, str]:
        """The fields of the form that was sent, the last of each name. See `forms` for those that come several times."""
        return dict(await self.fields())

    async def fields(self) -> list[tuple[str, str]]:
        """All fields of the form that was sent, in order. Raises HTTPException: it is too large, or none."""
        body = bytearray()
        try:
            async for part in self.request.stream():  # a length that was told may be another one, or none
                body += part
                if len(body) > MAX_FORM:
                    raise HTTPException(413, "the form is too large")
        except ClientDisconnect:
            raise HTTPException(400, "the form has not come to its end") from None
        try:
            return parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=20_000)
        except ValueError as error:
            raise HTTPException(400, f"the form cannot be read: {error}") from error

    def page(self, template: str, /, *, status: int = 200, **context: Any) -> Response:
        """The page. A browser that has it already is told so."""
        # A page that a script fetches again in the background, maybe of another tab, would take it away from whoever is to read it.
        is_opened = self.request.headers.get("sec-fetch-dest") != "empty"
        said = unquote(self.request.cookies.get(_SAID, "")) if is_opened else ""
        text = self.site.templates.get_template(template).render(visit=self, user=self.user, now=self.now, said=said, **context)
        lasting = _PASSING.sub(r"\1", text)
        tag = f'"{sha256(lasting.encode()).hexdigest()[:20]}"'
        if status == 200 and self.request.headers.get("if-none-match") == tag:  # noqa: PLR2004
            return Response(status_code=304, headers={"etag": tag})
        answer = HTMLResponse(text, status_code=status, headers={"etag": tag, "cache-control": "no-store"})
        if said:
            self.remember(answer, _SAID, "", 0)
        return answer

    def go(self, to: str, said: str = "") -> Response:
        """On to another page of ours, which says so."""
        answer = RedirectResponse(self.own(to), status_code=303)
        if said:
            self.remember(answer, _SAID, quote(said[:500]), 60)
        return answer

    def back(self, fields: Fields, otherwise: str, said: str = "") -> Response:
        """To the page that the form was on."""
        return self.go(fields.get("next") or otherwise, said)

    def own(self, to: str) -> str:
        """The address, if it is one of ours, else that of Tasks: nobody is sent to another site, nor to another application of this one."""
        is_ours = to.startswith(f"{self.prefix}/") and not to.startswith(("//", "/\\")) and to.isprintable()
        leads_up = ".." in unquote(to.partition("?")[0]).replace("\\", "/").split("/")
        return to if is_ours and not leads_up else self.url("tasks")

    def remember(self, answer: Response, name: str, value: str, seconds: int = _YEAR) -> None:
        """Let the browser keep this for so long, for this application alone. No script needs to read it."""
        is_private = self.request.url.scheme == "https"
        answer.set_cookie(name, value, seconds, path=self.prefix or "/", secure=is_private, httponly=True, samesite="strict")


_TOLD: Final[tuple[type[Exception], ...]] = (*EXPECTED, HTTPException)

Handler: TypeAlias = Callable[[Visit], Awaitable[Response]]


class Site:
    """An app, as pages show it."""

    def __init__(self, app: Stepwell, access: Access, redact: Redactor) -> None:
        self.app = app
        self.access = access
        self.redact = redact
        self.static = StaticFiles()
        self.batches = Batches()
        self.figures = Figures(app)
        self.live = Live(app.overview.pulse)
        self.router = Router()
        """Of all pages, by which their addresses are made."""

    @cached_property
    def templates(self) -> Environment:
        """What pages are made of. Whatever is put into them is text, unless it was made by a template."""
        templates = Environment(
            loader=PackageLoader("stepwell.web"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        templates.filters |= {
            "duration": words.duration,
            "count": words.count,
            "compact": words.compact,
            "iso": words.iso,
            "json": words.in_json,
            "retries": words.retries,
            "tries": words.tries,
        }
        templates.filters |= {"redacted": self.redact}
        templates.globals |= {
            "ago": words.ago,
            "clock": words.clock,
            "zone_name": words.zone_name,
            "percent": words.percent,
            "rate": words.rate,
            "step_name": words.step_name,
            "reason": words.reason,
            "columns": columns,
            "in_words": lru_cache(maxsize=1_000)(in_words),  # of few expressions, for many rows
            "Role": Role,
        }
        return templates

    def page(self, handler: Handler, role: Role = Role.VIEWER) -> Callable[[Request], Awaitable[Response]]:
        """An endpoint of a page, or of a form on one, for those who have this role."""

        async def endpoint(request: Request) -> Response:
            user = User(role=Role.VIEWER)
            try:
                user = await self.access.user(request)
                visit = Visit(site=self, request=request, user=user, now=instant(self.app.now()))
                visit.need(role)
                return await handler(visit)
            except _TOLD as error:
                return self.problem_page(request, user, error)

        return endpoint

    async def refused(self, request: Request, error: Exception) -> Response:
        """The answer to a request for which there is no handler: an address that there is not, or not with this method."""

        async def refuse(_: Visit) -> Response:
            raise error

        return await self.page(refuse)(request)

    def problem_page(self, request: Request, user: User, error: Exception) -> Response:
        """A page that tells of an error."""
        problem = problem_of(error, is_read=request.method in {"GET", "HEAD"})
        now = instant(self.app.now()) if self.app.is_open else instant(0)  # it shows no time
        visit = Visit(site=self, request=request, user=user, now=now)
        if isinstance(error, NotSignedIn):
            answer = Response("Sign in to see this.\n", status_code=401, media_type="text/plain")
            if self.access.asks_for_password:
                answer.headers["www-authenticate"] = 'Basic realm="Stepwell: any name, and a token as the password", charset="UTF-8"'
            return answer
        answer = visit.page("problem.html", status=problem.status, problem=problem)
        answer.headers.update(getattr(error, "headers", None) or {})
        return answer
