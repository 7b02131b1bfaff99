import re
from collections.abc import Callable
from typing import Any

import pytest
from jinja2 import UndefinedError

from tunelane_components.report.page import page
from tunelane_components.report.templating import fill, style

# WCAG 2.2, success criteria 1.4.3 (text, 4.5) and 1.4.11 (what is drawn, 3): https://www.w3.org/TR/WCAG22/
_TEXT = [
    *((text, ground) for text in ("ink", "quiet") for ground in ("card", "ground")),
    *((kind, f"{kind}-soft") for kind in ("good", "bad", "doubt")),
]
_DRAWN = [
    *((mark, "card") for mark in ("accent", "second", "third", "doubt", "bad", "quiet")),
    *((mark, "track") for mark in ("accent", "second", "third", "doubt", "ink")),
]
_LARGEST_SHADE = {"right": 0.5, "wrong": 0.55}


def _colours(dark: bool) -> dict[str, tuple[float, ...]]:
    """Read the colour variables of a mode as red, green and blue from 0 to 255."""
    light, night, *_ = re.findall(r":root \{(.*?)\}", style(), flags=re.DOTALL)
    declared = dict(re.findall(r"--([\w-]+): ([^;]+);", light))
    if dark:
        lighter = dict(re.findall(r"--([\w-]+): ([^;]+);", night))
        assert set(lighter) == set(declared)
        declared = lighter
    return {
        name: tuple(int(value[at : at + 2], 16) for at in (1, 3, 5))
        if value.startswith("#")
        else tuple(map(float, value.split()))
        for name, value in declared.items()
    }


def _contrast(first: tuple[float, ...], second: tuple[float, ...]) -> float:
    """Give the contrast ratio of WCAG 2.2, from 1 to 21."""

    def luminance(colour: tuple[float, ...]) -> float:
        linear = [
            part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
            for part in (channel / 255 for channel in colour)
        ]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_colours_can_be_told_apart_in_both_modes(dark: bool) -> None:
    colours = _colours(dark)
    for text, ground in _TEXT:
        assert _contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    for mark, ground in _DRAWN:
        assert _contrast(colours[mark], colours[ground]) >= 3, (mark, ground)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_counts_are_readable_on_the_deepest_shade(dark: bool) -> None:
    colours = _colours(dark)
    for name, share in _LARGEST_SHADE.items():
        cell = tuple(
            share * shade + (1 - share) * card for shade, card in zip(colours[name], colours["card"], strict=True)
        )
        assert _contrast(colours["ink"], cell) >= 4.5, name


def test_the_frame_is_whole_and_escapes_its_title(read_page: Callable[[str], Any]) -> None:
    read = read_page(page("<b>&", "<p>body</p>", head="<style>p { color: red }</style>"))
    assert read.html.startswith("<!doctype html>")
    assert read.text == "<b>& body"
    assert "b" not in read.tags
    assert read.html.index("color: red") < read.html.index("</head>")


def test_a_page_may_load_nothing_and_run_nothing(read_page: Callable[[str], Any]) -> None:
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    read = read_page(page("Title", ""))
    assert ("content", policy) in read.attributes
    assert not {"script", "link", "img", "iframe"} & set(read.tags)
    assert not {"src", "href"} & {name for name, _ in read.attributes}
    assert "url(" not in style()


def test_a_value_that_a_template_lacks_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        fill("page.html", title="Title")


def test_on_paper_it_is_light_and_nothing_stays_closed(browser: Any) -> None:
    opened = browser.new_page(color_scheme="dark")
    opened.set_content(page("Title", "<section><details><summary>More</summary><p>Figures</p></details></section>"))
    assert opened.get_by_text("Figures").is_visible() is False
    opened.emulate_media(media="print", color_scheme="dark")
    assert opened.get_by_text("Figures").is_visible() is True
    assert opened.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert opened.evaluate("getComputedStyle(document.body).color") == "rgb(26, 29, 35)"
    opened.close()
