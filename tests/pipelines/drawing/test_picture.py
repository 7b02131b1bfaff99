"""The SVG of a DAG: read as XML, and looked at in a browser."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, get_args
from xml.etree import ElementTree

import pytest

from tunelane_components.report.templating import style
from tunelane_pipelines.dag import Dag, DagTask
from tunelane_pipelines.drawing import svg
from tunelane_pipelines.drawing.picture import COLOUR_BY_STATE, COLOURS
from tunelane_pipelines.runs.record import TaskState

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_SVG = "{http://www.w3.org/2000/svg}"
_STATES: tuple[TaskState, ...] = get_args(TaskState)
_HOSTILE = '<script>alert(1)</script> & "quoted" 🚀 ' + "long" * 40


@pytest.fixture
def every_state() -> tuple[Dag, dict[str, TaskState]]:
    """A chain with a task in each state."""
    tasks = tuple(
        DagTask(state, f"Task {state}", "component", (_STATES[number - 1],) if number else ())
        for number, state in enumerate(_STATES)
    )
    return Dag("states", "Every state", "", tasks), {state: state for state in _STATES}


def _parsed(drawn: str) -> ElementTree.Element:
    return ElementTree.fromstring(drawn)  # noqa: S314 - our own


def _texts(drawn: str) -> list[str]:
    return ["".join(text.itertext()) for text in _parsed(drawn).iter(f"{_SVG}text")]


def _luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _contrast(one: str, other: str) -> float:
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_every_task_is_named_with_its_component(catalog: dict[str, Dag]) -> None:
    for dag in catalog.values():
        texts = _texts(svg(dag))
        for task in dag.tasks:
            assert task.display_name in texts
            assert task.component in texts


def test_branches_are_labelled(catalog: dict[str, Dag]) -> None:
    assert {"promote", "otherwise"} <= set(_texts(svg(catalog["train-classifier"])))


def test_states_show_in_words_with_seconds(every_state: tuple[Dag, dict[str, TaskState]]) -> None:
    dag, states = every_state
    texts = _texts(svg(dag, states=states, seconds={"succeeded": 125.0, "failed": 2.5}))
    assert "2 min 05 s" in texts
    assert "failed, 2.5 s" in texts
    assert {"pending", "running", "skipped", "interrupted"} <= set(texts)


def test_states_differ_by_shape_and_not_only_by_colour(every_state: tuple[Dag, dict[str, TaskState]]) -> None:
    dag, states = every_state
    root = _parsed(svg(dag, states=states))
    shapes = set()
    for group in root.iter(f"{_SVG}g"):
        if group.get("transform"):
            shapes.add(tuple((part.tag, part.get("d"), part.get("r")) for part in group))
    assert len(shapes) == len(_STATES)


def test_a_task_of_unknown_state_is_pending(catalog: dict[str, Dag]) -> None:
    assert "pending" in _texts(svg(catalog["convert"], states={}))


def test_the_same_dag_gives_the_same_bytes(catalog: dict[str, Dag]) -> None:
    dag = catalog["train-classifier"]
    assert svg(dag) == svg(dag)


def test_readers_of_screens_hear_tasks_order_and_states(every_state: tuple[Dag, dict[str, TaskState]]) -> None:
    dag, states = every_state
    root = _parsed(svg(dag, states=states))
    assert root.get("role") == "img"
    assert root[0].tag == f"{_SVG}title"
    assert root[0].text == "Every state"
    assert "Task running after Task pending: running." in (root[1].text or "")


def test_hostile_names_are_text() -> None:
    dag = Dag("x", _HOSTILE, "", (DagTask("a", _HOSTILE, "</text><script>", (), '"><script>'),))
    drawn = svg(dag, states={"a": "failed"})
    assert "<script" not in drawn + svg(dag)
    assert not list(_parsed(drawn).iter("script"))
    assert any(text.endswith("…") for text in _texts(drawn))


def test_no_rule_reaches_out_of_the_drawing(catalog: dict[str, Dag]) -> None:
    drawn = svg(catalog["train-classifier"])
    style = re.search(r"<style>(.*)</style>", drawn, re.DOTALL)
    assert style is not None
    rules = re.sub(r"@media[^{]*\{", "", style[1])
    selectors = [part.strip() for rule in re.findall(r"([^{}]+)\{", rules) for part in rule.split(",")]
    assert len(selectors) > 10
    assert all(selector.startswith(".tunelane-dag") for selector in selectors)
    assert " id=" not in drawn


def test_text_is_at_least_12_units_high(catalog: dict[str, Dag]) -> None:
    sizes = re.findall(r"([\d.]+)px", svg(catalog["train-classifier"]))
    assert min(map(float, sizes)) >= 12


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_contrast_is_enough_to_read_and_to_tell_states(scheme: int) -> None:
    colours = {name: pair[scheme] for name, pair in COLOURS.items()}
    for ground in ("card", "ground"):
        for text in ("ink", "quiet"):
            assert _contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
        for state, name in COLOUR_BY_STATE.items():
            assert _contrast(colours[name], colours[ground]) >= 3, (state, ground)


def test_colours_are_those_of_the_pages() -> None:
    light, dark = style().split("@media screen", maxsplit=1)
    for name, (in_light, in_dark) in COLOURS.items():
        assert f"--{name}: {in_light};" in light
        assert f"--{name}: {in_dark};" in dark


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_draws_every_text_inside_its_box(
    browser: "Browser",
    catalog: dict[str, Dag],
    every_state: tuple[Dag, dict[str, TaskState]],
    scheme: str,
    tmp_path: Path,
) -> None:
    dag, states = every_state
    drawings = [svg(dag), svg(dag, states=states, seconds=dict.fromkeys(states, 3599.0)), *map(svg, catalog.values())]
    page = browser.new_page(color_scheme=scheme)
    for number, drawn in enumerate(drawings):
        path = tmp_path / f"{number}.svg"
        path.write_text(drawn, encoding="utf-8")
        page.goto(path.as_uri())
        outside = page.evaluate(
            """() => [...document.querySelectorAll(".dag-task")].flatMap((task) => {
                const box = task.querySelector("rect").getBBox();
                return [...task.querySelectorAll("text")].filter((text) => {
                    const {x, y, width, height} = text.getBBox();
                    return x < box.x || x + width > box.x + box.width || y < box.y || y + height > box.y + box.height;
                }).map((text) => text.textContent);
            })"""
        )
        assert outside == []
    page.close()


def test_an_image_follows_the_readers_scheme(browser: "Browser", catalog: dict[str, Dag], tmp_path: Path) -> None:
    (tmp_path / "dag.svg").write_text(svg(catalog["convert"]), encoding="utf-8")
    (tmp_path / "page.html").write_text('<body style="margin:0"><img src="dag.svg">', encoding="utf-8")
    shots = []
    for scheme in ("light", "dark"):
        page = browser.new_page(color_scheme=scheme)
        page.goto((tmp_path / "page.html").as_uri())
        shots.append(page.locator("img").screenshot())
        page.close()
    assert shots[0] != shots[1]
