"""Reports in headless Chromium; skipped where it is not installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from plugins.report.blocks import Part, Section, Text, Texts
from plugins.report.page import render
from tests.plugins.report.browser import CHROMIUM, opened
from tests.plugins.report.test_page import HOSTILE, hostile_parts

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")]


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    path = tmp_path / "hostile.html"
    path.write_bytes(render("A report", hostile_parts()))
    return path


@pytest.mark.parametrize("width", [360, 1200])
def test_a_page_full_of_hostile_texts_opens_without_a_fault_and_fits_its_window(
    hostile: Path, width: int
) -> None:
    with opened(hostile, width=width) as page:
        page.run("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
        assert page.run("document.title") == "A report"
        assert page.run("document.querySelectorAll('script, img, svg[onload]').length") == 1
        assert page.run("document.documentElement.scrollWidth") == width
        shown = page.run("document.querySelector('.words').textContent")
        assert HOSTILE[:60] in shown
        assert page.faults == []


def test_search_and_filters_choose_texts(tmp_path: Path) -> None:
    def text(name: str, stream: str, num_pairs: int, words: str) -> Text:
        return Text(
            name=name,
            stream=stream,
            increment=1,
            template="raw",
            num_pairs=num_pairs,
            passages=[("origin", ((words, False),), [])],
        )

    texts = [
        text("one", "domain", 2, "The Inguinal ligament"),
        text("two", "domain", 0, "A ligament of the knee"),
        text("three", "general", 0, "A bridge"),
    ]
    path = tmp_path / "report.html"
    path.write_bytes(
        render("A", [Part(title="A", sections=[Section(title="Texts", blocks=[Texts(texts=texts)])])])
    )
    names = "[...document.querySelectorAll('article')].filter((each) => each.offsetParent).map((each) => "
    names += "each.querySelector('.name').textContent)"

    def choose(**values: str) -> str:
        lines = [f"form.elements.{name}.value = {value!r};" for name, value in values.items()]
        send = "form.dispatchEvent(new Event('input'));"
        return f"(() => {{ const form = document.querySelector('form'); {''.join(lines)} {send} }})()"

    with opened(path) as page:
        assert page.run(names) == ["one", "two", "three"]
        page.run(choose(query="LIGAMENT the"))
        assert page.run(names) == ["one", "two"]
        assert page.run("document.querySelector('output').textContent") == "2 of 3 texts"
        page.run(choose(query="", pairs="without"))
        assert page.run(names) == ["two", "three"]
        page.run(choose(stream="general"))
        assert page.run(names) == ["three"]
        page.run(choose(stream="", pairs="", query="nowhere"))
        assert page.run(names) == []
        assert page.faults == []


@pytest.mark.parametrize(("theme", "other"), [("light", "Dark theme"), ("dark", "Light theme")])
def test_the_theme_follows_the_system_until_the_switch_is_used(hostile: Path, theme: str, other: str) -> None:
    with opened(hostile, theme=theme) as page:
        background = "getComputedStyle(document.body).backgroundColor"
        first = page.run(background)
        assert page.run("document.getElementById('theme').textContent") == other
        page.run("document.getElementById('theme').click()")
        second = page.run(background)
        assert {first, second} == {"rgb(253, 253, 252)", "rgb(21, 24, 27)"}
        assert page.run("document.getElementById('theme').textContent") != other


def test_keys_reach_everything(hostile: Path) -> None:
    """Tab stops on links, switch, search, tables that scroll, and texts to open."""
    with opened(hostile) as page:
        reached = set()
        for _ in range(25):
            for kind in ("keyDown", "keyUp"):
                page.send("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9)
            reached.add(page.run("document.activeElement.tagName + '.' + document.activeElement.className"))
        assert {
            "A.skip",
            "BUTTON.",
            "A.",
            "INPUT.",
            "SELECT.",
            "BUTTON.all",
            "SUMMARY.",
            "DIV.scroll",
        } <= reached
