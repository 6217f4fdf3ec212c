"""Starting a run, and doing one again: the form of its input, made from the workflow's schema, and what is done with what was sent."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from stepwell.core.records import Definition, version_label
from stepwell.core.starting import checked_target
from stepwell.errors import BadValue, DefinitionError, InvalidInput, NotSerializable, PayloadTooLarge, WorkflowNotFound
from stepwell.web.access import Role
from stepwell.web.checking import Misfit
from stepwell.web.fields import MISSING
from stepwell.web.forms import Form, form_of
from stepwell.web.masking import without_hidden
from stepwell.web.paging import SIZE, asked, part_of
from stepwell.web.start_options import OPTIONS, StartOptions, options_of, read_options
from stepwell.web.turning import turned

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from starlette.responses import Response

    from stepwell.core.records import Run
    from stepwell.web.site import Visit

_LISTED: Final = 200
"""Steps to choose from. In a run with more, the step is written."""

_ATTEMPTS: Final = 2_000
"""Of steps, that are looked at for that."""

_REFUSED: Final = (InvalidInput, NotSerializable, PayloadTooLarge, DefinitionError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A start that is being made."""

    workflow: str
    version: str | None
    """As it is asked for; None: none, else the newest."""
    definition: Definition | None
    """None: nobody has the workflow."""
    known: tuple[Definition, ...]
    """All versions, the newest first."""
    form: Form
    options: StartOptions
    run: Run | None = None
    """The one that is done again."""
    from_step: str | None = None
    """What comes before it, the new run has already."""
    steps: tuple[str, ...] = ()
    """Keys to choose from."""

    @property
    def label(self) -> str:
        """The workflow and its version."""
        version = self.version if self.definition is None else self.definition.version
        return version_label(self.workflow, version)

    @property
    def is_wrong(self) -> bool:
        """Whether something has to be corrected."""
        return bool(self.form.errors or self.form.general or self.options.errors)

    def refused(self, sent: Mapping[str, str], problems: Iterable[Misfit]) -> Start:
        """With what was typed, and what is wrong with it. A value that nobody is shown is not told by the words of a validator either."""
        first = None if self.run is None else self.run.input
        told = [each._replace(message=without_hidden(each.message, first, self.form.hides)) for each in problems]
        return replace(self, form=self.form.answered(sent, told))


# -- a new run


async def show(visit: Visit) -> Response:
    """The form; where no workflow is named, those to choose from."""
    visit.need(Role.OPERATOR)
    if not visit.query.get("workflow"):
        wanted = asked(visit.query)
        page = await visit.app.workflows.page(find=wanted.find, limit=SIZE, cursor=wanted.cursor)
        return visit.page("choose.html", tab="tasks", part=part_of(page, wanted))
    return _page(visit, await _new(visit))


async def start(visit: Visit) -> Response:
    """Start the run, or show what is wrong."""
    if not visit.query.get("workflow"):
        raise BadValue("the address names no workflow; choose one first")
    return await _begin(visit, await _new(visit))


async def _new(visit: Visit) -> Start:
    workflow, version = checked_target(visit.query["workflow"], _version(visit, None))
    return await _start(visit, workflow, version)


# -- one that there was


async def show_again(visit: Visit) -> Response:
    """The form, with the input of a run in it."""
    visit.need(Role.OPERATOR)
    return _page(visit, await _again(visit))


async def start_again(visit: Visit) -> Response:
    """Start another run like it, or show what is wrong."""
    return await _begin(visit, await _again(visit))


async def _again(visit: Visit) -> Start:
    run_id = visit.request.path_params["run_id"]
    run = await visit.app.runs.get(run_id)
    steps = dict.fromkeys(step.key for step in await visit.app.overview.steps(run_id, _ATTEMPTS))
    begun = await _start(visit, run.workflow, _version(visit, run.version), run)
    return replace(begun, from_step=visit.query.get("from_step") or None, steps=tuple(steps) if len(steps) <= _LISTED else ())


def _version(visit: Visit, otherwise: str | None) -> str | None:
    return None if "unversioned" in visit.query else visit.query.get("version") or otherwise


# -- what both do


async def _start(visit: Visit, workflow: str, version: str | None, run: Run | None = None) -> Start:
    workflows = visit.app.workflows
    try:
        definition = await workflows.definition(workflow, version)
    except WorkflowNotFound:
        definition = None
    return Start(
        workflow=workflow,
        version=version,
        definition=definition,
        known=tuple(await workflows.definitions(workflow)),
        form=_form(visit, definition, run, as_json=visit.query.get("as") == "json"),
        options=options_of(definition, run),
        run=run,
    )


def _form(visit: Visit, definition: Definition | None, run: Run | None, *, as_json: bool) -> Form:
    schema = "{}" if definition is None else definition.input_schema
    return form_of(schema, visit.site.redact.hides, initial=MISSING if run is None else run.input, as_json=as_json)


async def _begin(visit: Visit, asked: Start) -> Response:
    sent = await visit.form()
    if "turn" in sent:
        return _page(visit, _turned(visit, asked, sent))
    value, problems = asked.form.read(sent)
    asked = replace(asked, options=read_options(sent, asked.workflow, asked.options, asked.run))
    value = None if value is MISSING else value
    problems = problems or _misfits(visit, asked, value)
    if problems or asked.options.errors:
        return _page(visit, asked.refused(sent, problems))
    try:
        if asked.run is not None and asked.from_step is not None:
            return await _forked(visit, asked, value, asked.run, asked.from_step)
        return await _started(visit, asked, value)
    except _REFUSED as error:
        return _page(visit, asked.refused(sent, _problems(error)))


def _misfits(visit: Visit, asked: Start, value: Any) -> list[Misfit]:
    """What a start would find wrong with the input: together with what is wrong elsewhere it is said at once."""
    if not visit.app.workflows.is_here(asked.workflow, asked.version):
        # Whether the body has a default for its input is not published.
        return [] if value is None else asked.form.misfits(value)
    try:
        visit.app.workflows.read_input(asked.workflow, asked.version, json.dumps(value))
    except InvalidInput as error:
        return _problems(error)
    return []


def _turned(visit: Visit, asked: Start, sent: Mapping[str, str]) -> Start:
    """The form that the address is of, with what was typed into the other one."""
    source = _form(visit, asked.definition, asked.run, as_json=not asked.form.is_json)
    options = read_options(sent, asked.workflow, asked.options, asked.run)
    return replace(asked, form=turned(source, asked.form, sent), options=replace(options, errors={}))


async def _started(visit: Visit, asked: Start, value: Any) -> Response:
    typed = visit.app.workflows.read_input(asked.workflow, asked.version, json.dumps(value))
    handle = await visit.app.start(asked.workflow, typed, version=asked.version, actor=visit.user.actor, **asked.options.given)
    said = "the run was started" if handle.created else "there is a run with this key already: this is it"
    return visit.go(visit.url("run", run_id=handle.run_id), said)


async def _forked(visit: Visit, asked: Start, value: Any, run: Run, from_step: str) -> Response:
    # What was not changed stays as it is stored.
    same = json.dumps(value, sort_keys=True) == json.dumps(run.input, sort_keys=True)
    handle = await visit.app.runs.fork(
        run.id,
        from_step=from_step,
        input=... if same else visit.app.workflows.read_input(asked.workflow, asked.version, json.dumps(value)),
        version=... if asked.version == run.version else asked.version,
        actor=visit.user.actor,
    )
    return visit.go(visit.url("run", run_id=handle.run_id), f"this run goes on from {from_step}, with the results before it")


def _problems(error: Exception) -> list[Misfit]:
    fields = error.errors if isinstance(error, InvalidInput) else []
    return [Misfit(tuple(each["loc"]), each["msg"]) for each in fields] or [Misfit((), str(error))]


def _page(visit: Visit, asked: Start) -> Response:
    return visit.page("start.html", tab="tasks", status=422 if asked.is_wrong else 200, start=asked, all_options=OPTIONS)
