from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files
from xml.etree import ElementTree as ET

import pytest

from stepwell.core.status import RunStatus
from stepwell.web.timeline import Timeline
from tests.web.timelines import EXAMPLES, a_run, a_step, concurrent, drawn, markup, retried, running_now, thousands

HOSTILE = "<script>alert(1)</script>\"'&x"
CSS = (files("stepwell.web") / "static" / "timeline.css").read_text()
TOKENS = {
    "canvas", "surface", "sunk", "text", "muted", "accent", "border", "pending", "running", "sleeping", "paused", "completed", "failed",
    "canceled", "radius", "mono",
}  # fmt: skip
VOID = {"input"}


class Tags(HTMLParser):
    """The tags of a page, each with its attributes; and that each that is opened is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), attrs
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def of(self, *tags: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.found if tag in tags]


def pictures(text: str) -> list[ET.Element]:
    """The outermost SVGs, read as XML."""
    found, depth, begin = [], 0, 0
    for match in re.finditer(r"<svg\b|</svg>", text):
        if match[0] == "<svg":
            begin = begin if depth else match.start()
            depth += 1
        else:
            depth -= 1
            if not depth:
                found.append(ET.fromstring(text[begin : match.end()]))
    assert depth == 0
    return found


def hostile() -> Timeline:
    steps = [
        a_step(HOSTILE, 0, 1, "failed"),
        a_step(HOSTILE, 2, 3, attempt=2),
        a_step(f"@0.1/{HOSTILE}", 3, 4, kind="child", child=HOSTILE),
        a_step("sleep", 4, 90_000, kind="sleep"),
        a_step("end", 90_000, 90_001),
    ]
    run = replace(a_run(over=90_001.0), workflow=HOSTILE)
    return drawn(run, steps, find=HOSTILE[:8], opened=(HOSTILE,), step=HOSTILE, others=((HOSTILE, HOSTILE),))


TIMELINES = {
    **{name: example().timeline() for name, example in EXAMPLES.items()},
    "hostile": hostile(),
    "empty": drawn(a_run(RunStatus.PENDING, begun=None)),
}


@pytest.mark.parametrize("name", TIMELINES)
def test_nothing_in_the_markup_is_style_or_script(name: str) -> None:
    tags = Tags(markup(TIMELINES[name]))

    assert tags.of("script", "style", "iframe", "object", "foreignobject") == []
    for tag, attributes in tags.found:
        assert not [each for each in attributes if each == "style" or each.startswith("on")], (tag, attributes)
        assert (attributes.get("href") or "?").startswith(("?", "./", "#"))


@pytest.mark.parametrize("name", TIMELINES)
def test_each_svg_is_well_formed_and_its_bars_lie_within_it(name: str) -> None:
    found = pictures(markup(TIMELINES[name]))

    assert len(found) == len(TIMELINES[name].rows) + 2
    for picture in found:
        for bar in picture.iter("rect"):
            if (bar.get("x") or "").endswith("%"):
                left, width = (float(bar.attrib[each].removesuffix("%")) for each in ("x", "width"))
                assert 0 <= left < left + width <= 100.01


@pytest.mark.parametrize("name", TIMELINES)
def test_each_id_is_there_once_and_what_is_referred_to_is_there(name: str) -> None:
    text = markup(TIMELINES[name])
    tags = Tags(text)

    ids = [attributes["id"] for _, attributes in tags.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {use["href"] for use in tags.of("use")} <= {f"#{each}" for each in ids}
    assert set(re.findall(r"url\(#([a-z-]+)\)", text + CSS)) <= set(ids)


def test_names_are_text_whatever_is_in_them() -> None:
    text = markup(hostile())

    assert "<script" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&#34;&#39;&amp;x" in text


def test_rows_are_items_of_an_ordered_list_each_with_a_link_that_reads_as_its_sentence() -> None:
    tags = Tags(markup(retried().timeline()))

    assert len(tags.of("ol")) == 1
    assert [item["id"] for item in tags.of("li")] == ["step-0", "step-1", "step-2"]
    assert [link["aria-label"] for link in tags.of("a") if link.get("class") == "tl-link"] == [
        "create_order, completed, 120 milliseconds",
        "charge_card, failed, attempt 3 of 3, 310 milliseconds",
        "tell_customer, completed, 110 milliseconds",
    ]


def test_nothing_that_can_be_reached_by_keys_is_hidden_from_screen_readers() -> None:
    for picture in pictures(markup(retried().timeline())):
        if picture.get("aria-hidden") == "true":
            assert {link.get("tabindex") for link in picture.iter("a")} <= {"-1"}
        else:
            assert all(link.get("aria-label") for link in picture.iter("a"))


def test_a_failed_attempt_has_a_cross_and_a_running_one_an_open_end() -> None:
    assert markup(retried().timeline()).count('class="tl-sign tl-cross"') == 3
    assert markup(running_now().timeline()).count("tl-end running") == 2


def test_status_is_said_by_a_glyph_too() -> None:
    assert re.findall(r'tl-glyph" aria-hidden="true">(.)<', markup(retried().timeline())) == ["✓", "✕", "✓"]


def test_the_form_keeps_what_else_is_asked_for() -> None:
    tags = Tags(markup(concurrent().timeline(only="loud", step="plan", others=(("tab", "logs"),))))

    assert [(field.get("name"), field.get("value")) for field in tags.of("input")] == [
        ("tab", "logs"), ("only", "loud"), ("step", "plan"), ("find", ""),
    ]  # fmt: skip


def test_a_group_says_whether_it_is_open_and_leads_to_its_failures() -> None:
    tags = Tags(markup(thousands().timeline()))

    assert [link["aria-expanded"] for link in tags.of("a") if "aria-expanded" in link] == ["false", "false"]
    assert "?only=failed&find=send_email_" in [link["href"] for link in tags.of("a")]


def test_children_are_linked_beside_the_page_or_where_the_caller_says() -> None:
    assert 'href="./0197ec00-0000-7000-8000-00000000beef"' in markup(EXAMPLES["asleep"]().timeline())
    assert 'href="/ops/runs/0197ec00-' in markup(EXAMPLES["asleep"]().timeline(), runs="/ops/runs")


def test_a_full_page_stays_small() -> None:
    text = markup(thousands().timeline(opened=("send_email_*",)))

    assert len(text.encode()) / 500 < 1_200


def test_the_styles_take_all_colours_from_the_tokens_of_the_page() -> None:
    assert set(re.findall(r"var\(--([a-z]+)", CSS)) - {"tl"} <= TOKENS
    assert not re.search(r"#[0-9a-f]{3,8}\b(?!\))", CSS)
    assert CSS.count("{") == CSS.count("}")
    for feature in ("prefers-reduced-motion", "forced-colors", "container"):
        assert feature in CSS
