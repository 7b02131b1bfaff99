"""The page at `/`: tried, watched and told what was right, in a real browser."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from playwright.sync_api import Page, Response, expect

_SMALLEST_DRAWN_TEXT = """Math.min(99, ...[...document.querySelectorAll('svg text')].map(text =>
  parseFloat(getComputedStyle(text).fontSize) * text.getScreenCTM().a))"""
_NAME_IN_FOCUS = """(({ activeElement: element }) =>
  element.getAttribute("aria-label") ?? (element.textContent || element.value))(document)"""
_LABELS = {f"label {i:02}": 0.5 / 1.5**i for i in range(28)}


def _classify(page: Page, text: str = "a good film") -> None:
    page.get_by_label("Text", exact=True).fill(text)
    page.keyboard.press("Control+Enter")
    page.locator("#given, #error").locator("visible=true").wait_for()


def test_an_answer_is_drawn_with_its_bars_and_says_who_gave_it(api: Any, open_page: Callable[..., Any]) -> None:
    opened = open_page()
    _classify(opened.page)
    expect(opened.page.locator("#label")).to_have_text("positive")
    rows = opened.page.locator("#scores li")
    assert rows.all_inner_texts() == ["positive\n92.8 %", "negative\n5.1 %", "neutral\n2.1 %"]
    widths = [row.locator("i").evaluate("bar => parseFloat(bar.style.width)") for row in rows.all()]
    assert widths == pytest.approx([92.8, 5.1, 2.1])
    expect(opened.page.locator("#took")).to_have_text("3.4 ms")
    assert opened.page.locator("#marks span").all_inner_texts() == [
        "confidence 92.8 %",
        "reviews 12",
        "onnx",
        "int8",
        api.models[0].digest[:12],
    ]
    assert api.bodies("/predict") == [{"text": "a good film"}]
    assert opened.wrong == []


def test_of_many_labels_the_first_are_shown_and_all_on_demand(api: Any, open_page: Callable[..., Any]) -> None:
    api.labels = _LABELS
    page = open_page().page
    _classify(page)
    assert page.locator("#scores li").count() == 8
    page.get_by_role("button", name="Show all 28").first.click()
    assert page.locator("#scores li").count() == 28


def test_what_comes_from_the_cache_or_from_rules_is_marked(api: Any, open_page: Callable[..., Any]) -> None:
    api.answer = {"cached": True, "fallback": True, "framework": "rules", "variant": "rules"}
    page = open_page().page
    _classify(page)
    assert {"keyword rules, no model", "from the cache"} <= set(page.locator("#marks span").all_inner_texts())


def test_no_label_above_its_threshold_is_said(api: Any, open_page: Callable[..., Any]) -> None:
    api.answer = {"label": None, "labels": ()}
    page = open_page().page
    _classify(page)
    expect(page.locator("#label")).to_have_text("No label reaches its threshold")


def test_features_go_to_a_model_of_tensors(api: Any, open_page: Callable[..., Any], loaded_model: Any) -> None:
    api.models = (loaded_model("digits", "1", champion=True, task="tensors"),)
    api.answer = {"label": None, "labels": (), "confidence": None, "scores": {}, "outputs": {"logits": [0.25, 0.75]}}
    page = open_page().page
    page.get_by_label("Features (JSON)").fill('{"image": [[0, 1]]}')
    page.get_by_role("button", name="Run").click()
    expect(page.locator("#numbers")).to_have_text('{"logits":[0.25,0.75]}')
    assert api.bodies("/predict") == [{"features": {"image": [[0, 1]]}}]


def test_another_loaded_model_can_be_asked(api: Any, open_page: Callable[..., Any], loaded_model: Any) -> None:
    api.models = (*api.models, loaded_model("reviews-tf", "3", framework="tensorflow"))
    page = open_page().page
    page.get_by_label("Model that answers").select_option(label="reviews-tf 3")
    _classify(page)
    assert api.bodies("/predict") == [{"text": "a good film", "modelId": "reviews-tf", "version": "3"}]


def test_an_error_is_shown_in_the_servers_words(open_page: Callable[..., Any]) -> None:
    page = open_page().page
    _classify(page, "")
    expect(page.get_by_role("alert")).to_have_text("The text is empty")
    _classify(page)
    expect(page.get_by_role("alert")).to_be_hidden()


def test_feedback_that_the_answer_is_right_is_sent_and_confirmed(api: Any, open_page: Callable[..., Any]) -> None:
    opened = open_page()
    _classify(opened.page)
    opened.page.get_by_role("button", name="Right").click()
    expect(opened.page.locator("#receipt")).to_contain_text("Thank you. “positive” is kept as the answer")
    expect(opened.page.get_by_role("button", name="Right")).to_be_hidden()
    assert api.bodies("/feedback") == [{"inferenceId": "0192-abc", "outcome": "positive", "correct": True}]
    assert opened.wrong == []


@pytest.mark.parametrize(("choice", "outcome"), [("negative", "negative"), ("Something else…", "sarcasm")])
def test_feedback_that_it_is_wrong_says_what_it_is(
    api: Any, open_page: Callable[..., Any], choice: str, outcome: str
) -> None:
    page = open_page().page
    _classify(page)
    page.get_by_role("button", name="Wrong").click()
    options = page.get_by_label("What is it?").locator("option").all_inner_texts()
    assert options == ["negative", "neutral", "Something else…"]
    page.get_by_label("What is it?").select_option(label=choice)
    if choice != outcome:
        page.get_by_label("The right answer").fill(outcome)
    page.get_by_role("button", name="Send feedback").click()
    expect(page.locator("#receipt")).to_contain_text(f"“{outcome}” is kept as the right answer")
    assert api.bodies("/feedback") == [{"inferenceId": "0192-abc", "outcome": outcome, "correct": False}]


def test_the_right_labels_of_a_multi_label_answer_are_several(
    api: Any, open_page: Callable[..., Any], loaded_model: Any
) -> None:
    api.models = (loaded_model("reviews", "12", champion=True, task="multi_label"),)
    api.answer = {"label": None, "labels": ("positive", "negative")}
    page = open_page().page
    _classify(page)
    page.get_by_role("button", name="Wrong").click()
    page.get_by_role("checkbox", name="positive").uncheck(force=True)
    page.get_by_role("checkbox", name="neutral").check(force=True)
    page.get_by_role("button", name="Send feedback").click()
    expect(page.locator("#receipt")).to_contain_text("Thank you")
    assert api.bodies("/feedback")[0]["outcome"] == "negative, neutral"


def test_refused_feedback_says_why(api: Any, open_page: Callable[..., Any]) -> None:
    api.refusals["/feedback"] = (409, "not_kept", "This server has no database, so it keeps no feedback")
    page = open_page().page
    _classify(page)
    page.get_by_role("button", name="Right").click()
    expect(page.locator("#receipt")).to_have_text("This server has no database, so it keeps no feedback")
    expect(page.get_by_role("button", name="Right")).to_be_visible()


def test_charts_are_drawn_from_the_metrics(api: Any, open_page: Callable[..., Any]) -> None:
    api.load = lambda i: 0 if i in (10, 11) else 4
    opened = open_page()
    page = opened.page
    expect(page.locator("#traffic b")).to_have_text("232 requests")
    assert page.locator("#traffic rect.ok").count() == 58
    # Nothing was measured in the middle: two stretches, and nothing across the gap.
    assert page.locator("#latency path.first").count() == 2
    assert page.locator("#confidence path.line").count() == 2
    assert page.locator("#accuracy circle").count() + page.locator("#accuracy path.line").count() > 2
    assert page.locator("#mixed li").count() == 3
    expect(page.locator("#accuracy .figures span")).to_have_text("of 30 answers with feedback")
    assert opened.wrong == []


def test_one_bucket_is_read_out_under_the_pointer_and_by_keys(api: Any, open_page: Callable[..., Any]) -> None:
    api.load = lambda i: i
    page = open_page().page
    traffic = page.get_by_role("slider", name="Traffic over time")
    expect(page.locator("#traffic b")).to_have_text("1,770 requests")
    traffic.focus()
    page.keyboard.press("End")
    expect(page.locator("#traffic b")).to_have_text("59 requests")
    page.keyboard.press("ArrowLeft")
    assert traffic.get_attribute("aria-valuenow") == "58"
    assert "58 requests" in (traffic.get_attribute("aria-valuetext") or "")
    # The other charts show the same moment.
    assert page.locator("#latency line.cursor").count() == 1
    page.keyboard.press("Escape")
    expect(page.locator("#traffic b")).to_have_text("1,770 requests")
    page.get_by_role("slider", name="Mean latency over time").hover()
    expect(page.locator("#traffic b")).not_to_have_text("1,770 requests")


def test_the_chosen_range_is_asked_for(api: Any, open_page: Callable[..., Any]) -> None:
    page = open_page().page
    expect(page.locator("#traffic b")).to_contain_text("requests")
    # Not any: what is refreshed all the while may still be of the range before.
    with page.expect_response(_is_of_a_day):
        page.get_by_role("radio", name="24 h").check(force=True)


def _is_of_a_day(answer: Response) -> bool:
    """Whether an answer is that of the charts of 24 hours."""
    url = urlsplit(answer.url)
    query = dict(parse_qsl(url.query))
    if url.path != "/monitoring/metrics" or query["buckets"] != "60":
        return False
    return datetime.fromisoformat(query["until"]) - datetime.fromisoformat(query["since"]) == timedelta(hours=24)


def _charts_of(model: str, what: str) -> Callable[[Response], bool]:
    """Whether an answer is that of a chart of a model."""
    return lambda answer: (
        f"/monitoring/{what}?" in answer.url and f"model={model}" in answer.url.split("?")[1].split("&")
    )


def test_the_charts_of_one_model_are_asked_for_by_name(
    api: Any, open_page: Callable[..., Any], loaded_model: Any
) -> None:
    api.models = (*api.models, loaded_model("reviews-tf", "3"))
    page = open_page().page
    with (
        page.expect_response(_charts_of("reviews-tf", "metrics")),
        page.expect_response(_charts_of("reviews-tf", "drift")),
    ):
        page.get_by_label("Model in the charts").select_option(label="reviews-tf 3")
    for path in ("/monitoring/metrics", "/monitoring/drift"):
        query = api.bodies(path)[-1]
        assert (query["model"], query["modelVersion"]) == ("reviews-tf", "3")


def test_the_charts_of_a_model_without_a_version_are_not_those_of_its_versions(
    api: Any, open_page: Callable[..., Any], loaded_model: Any
) -> None:
    api.models = (*api.models, loaded_model("reviews", ""))
    page = open_page().page
    with (
        page.expect_response(_charts_of("reviews", "metrics")),
        page.expect_response(_charts_of("reviews", "drift")),
    ):
        page.get_by_label("Model in the charts").select_option(label="reviews")
    query = api.bodies("/monitoring/metrics")[-1]
    assert (query["model"], query["modelVersion"]) == ("reviews", "")
    # The drift of a model without a version is asked for by its name alone.
    query = api.bodies("/monitoring/drift")[-1]
    assert (query["model"], query.get("modelVersion")) == ("reviews", None)


def test_charts_refresh_until_they_are_paused(api: Any, open_page: Callable[..., Any], browser: Any) -> None:
    page = browser.new_page()
    page.clock.install()
    page.goto(api.url)
    expect(page.locator("#traffic b")).to_contain_text("requests")
    api.load = lambda _: 1
    page.clock.run_for(5100)
    expect(page.locator("#traffic b")).to_have_text("60 requests")
    begun: list[str] = []
    page.on("request", lambda request: begun.append(request.url))
    page.get_by_role("button", name="Pause").click()
    # What was begun before is told before the click is.
    begun.clear()
    page.clock.run_for(11_000)
    page.wait_for_timeout(100)
    assert not [url for url in begun if "/monitoring/metrics" in url]
    with page.expect_response("**/monitoring/metrics?*"):
        page.get_by_role("button", name="Resume").click()
    page.close()


def test_a_range_without_requests_says_so(api: Any, open_page: Callable[..., Any]) -> None:
    api.load = lambda _: 0
    opened = open_page()
    expect(opened.page.locator("#traffic .plot p")).to_be_visible()
    expect(opened.page.get_by_text("No requests in this range yet").first).to_be_visible()
    expect(opened.page.get_by_text("No feedback in this range yet")).to_be_visible()
    assert opened.wrong == []


def test_drift_is_worded_by_its_status(api: Any, open_page: Callable[..., Any]) -> None:
    page = open_page().page
    for status, words, drifted in (
        ("none", "look like what it was validated on", 0),
        ("drift", "1 of 3 distributions of reviews 12 moved further than chance explains", 1),
        ("too_few_events", "from 100 on there is enough to compare", 0),
        ("no_reference", "holds no reference histograms", 0),
    ):
        api.drift_status = status
        page.reload()
        expect(page.locator("#drift-says")).to_contain_text(words)
        expect(page.locator("#drifts li").filter(has_text="drifted")).to_have_count(drifted)
        if drifted:
            expect(page.locator("#drifts li").nth(1)).to_contain_text("PSI 0.204, drift above 0.100")


def test_a_server_with_keys_is_asked_with_one_kept_for_the_session(api: Any, open_page: Callable[..., Any]) -> None:
    api.key = "s3cret"
    page = open_page().page
    expect(page.get_by_text("Monitoring needs an API key of this server.")).to_be_visible()
    page.get_by_placeholder("API key").fill("s3cret")
    page.keyboard.press("Enter")
    expect(page.locator("#traffic b")).to_contain_text("requests")
    expect(page.get_by_placeholder("API key")).to_be_hidden()
    assert page.evaluate("[Object.values(sessionStorage), localStorage.length]") == [["s3cret"], 0]
    page.get_by_role("button", name="Forget the API key").click()
    expect(page.get_by_placeholder("API key")).to_be_visible()
    assert page.evaluate("sessionStorage.length") == 0


def test_a_key_that_is_not_known_is_asked_for_again(api: Any, open_page: Callable[..., Any]) -> None:
    api.key = "s3cret"
    page = open_page().page
    page.get_by_placeholder("API key").fill("other")
    page.get_by_role("button", name="Use this key").click()
    expect(page.locator("#asked")).to_contain_text("The server says: Send an API key of this server")


def test_a_server_without_a_database_has_no_charts_and_says_why(api: Any, open_page: Callable[..., Any]) -> None:
    for path in ("/monitoring/metrics", "/monitoring/drift"):
        api.refusals[path] = (409, "not_kept", "This server has no database")
    page = open_page().page
    expect(page.locator("#unwatched")).to_contain_text("keeps no events, because it has no database")
    expect(page.locator("#charts")).to_be_hidden()
    _classify(page)
    expect(page.locator("#label")).to_have_text("positive")


def test_the_state_stands_in_the_header_and_its_reason_below(api: Any, open_page: Callable[..., Any]) -> None:
    page = open_page().page
    for health, state, note in (
        ({}, "ready", ""),
        ({"fallback": True, "fallback_reason": "gs://m is away"}, "keyword rules answer", "gs://m is away"),
        ({"fallback_reason": "int8 misses its golden rows"}, "ready", "int8 misses its golden rows"),
        ({"reload_error": "version 13: wrong digest"}, "ready", "version 13: wrong digest"),
        ({"ready": False, "model": "", "reload_error": "no such file"}, "no model", "no such file"),
    ):
        api.health = health
        page.reload()
        expect(page.locator("#state")).to_have_text(state)
        expect(page.locator("#notes")).to_contain_text(note)


def test_a_server_that_is_gone_is_away(api: Any, open_page: Callable[..., Any]) -> None:
    page = open_page().page
    expect(page.locator("#state")).to_have_text("ready")
    page.route("**/*", lambda route: route.abort())
    page.get_by_role("radio", name="24 h").check(force=True)
    expect(page.locator("#state")).to_have_text("away")
    _classify(page)
    expect(page.locator("#error")).to_have_text("The server does not answer. Is it running?")


def test_loaded_models_are_listed_with_digests_to_copy(
    api: Any, open_page: Callable[..., Any], loaded_model: Any
) -> None:
    api.models = (*api.models, loaded_model("minilm", "3", task="embedding", variant="fp32"))
    api.ml = {"events_dropped": 7, "database": "away"}
    page = open_page().page
    expect(page.locator("#models li")).to_have_count(2)
    assert page.locator("#models li").first.inner_text().split("\n")[0] == "reviews"
    expect(page.locator("#models li").first).to_contain_text("champion")
    expect(page.locator("#models li").last).to_contain_text("embedding · 23.4 MB")
    page.get_by_role("button", name="Copy the digest of reviews 12").click()
    expect(page.locator("#models button").first).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == api.models[0].digest
    expect(page.locator("#facts .wrong")).to_have_text(["Events dropped7", "Databaseaway"])


def test_text_from_the_server_is_never_markup(api: Any, open_page: Callable[..., Any], loaded_model: Any) -> None:
    evil = "<img src=x onerror=alert(1)>"
    api.labels = {evil: 0.9, "fine": 0.1}
    api.health = {"reload_error": evil}
    api.models = (loaded_model(evil, "1", champion=True),)
    opened = open_page()
    _classify(opened.page)
    assert opened.page.locator("img").count() == 0
    expect(opened.page.locator("#label")).to_have_text(evil)
    assert opened.wrong == []


def test_everything_is_reached_by_keyboard(open_page: Callable[..., Any]) -> None:
    page = open_page().page
    expect(page.locator("#traffic b")).to_contain_text("requests")
    expect(page.get_by_label("Labels: reference and live by bin")).to_be_visible()
    expect(page.get_by_role("button", name="Copy the digest of reviews 12")).to_be_visible()
    _classify(page)
    reached: list[str] = []
    while len(reached) < 60 and "Prometheus metrics" not in reached:
        page.keyboard.press("Tab")
        reached.append(page.evaluate(_NAME_IN_FOCUS))
    wanted = ["Classify", "Right", "Wrong", "60", "Pause", "Traffic over time", "Accuracy from feedback over time"]
    wanted += ["Labels: reference and live by bin", "Copy the digest of reviews 12", "Prometheus metrics"]
    assert [name for name in reached if name in wanted] == wanted


def test_nothing_overflows_sideways_and_drawn_text_is_legible(
    api: Any, open_page: Callable[..., Any], loaded_model: Any
) -> None:
    api.labels = _LABELS | {"a-label-without-any-space-" * 5: 0.4}
    api.drift_status = "drift"
    api.health = {"reload_error": "x" * 300}
    api.models = (*api.models, loaded_model("a-model-with-a-long-name-" * 4, "2026-11-20.1-" * 4))
    opened = open_page()
    page = opened.page
    expect(page.locator("#drifts li")).to_have_count(3)
    _classify(page)
    page.get_by_role("button", name="Wrong").click()
    for width in (1280, 800, 360):
        page.set_viewport_size({"width": width, "height": 800})
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            wide, visible = page.evaluate(
                "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
            )
            assert wide <= visible, f"{wide} px wide on {width}"
            assert page.evaluate(_SMALLEST_DRAWN_TEXT) >= 11
    assert opened.wrong == []


def test_it_works_behind_a_path_prefix(api: Any, open_page: Callable[..., Any]) -> None:
    """Every address on the page is relative."""
    opened = open_page()
    hrefs = opened.page.eval_on_selector_all("a[href]", "links => links.map(link => link.getAttribute('href'))")
    assert set(hrefs) == {"docs", "openapi.json", "metrics"}
    opened.page.route(
        f"{api.url}prefix/**",
        lambda route: route.fulfill(response=route.fetch(url=route.request.url.replace("prefix/", ""))),
    )
    opened.page.goto(api.url + "prefix/")
    _classify(opened.page)
    expect(opened.page.locator("#label")).to_have_text("positive")
    expect(opened.page.locator("#traffic b")).to_contain_text("requests")
