"""The page at `/docs`: made from openapi.json, and tried out, in a real browser."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from playwright.sync_api import Locator, Page, expect

from tunelane_serving.server import wire

_STRUCTS = [wire.Prediction, wire.PredictRequest, wire.FeedbackReceipt, wire.FeedbackRequest, wire.ErrorBody]


@pytest.fixture(autouse=True)
def _document(api: Any) -> None:
    (prediction, predict, receipt, feedback, error), components = msgspec.json.schema_components(
        _STRUCTS, ref_template="#/components/schemas/{name}"
    )

    def answers(schema: Any) -> dict[str, Any]:
        described = {"200": ("It worked", schema), "422": ("`invalid_request`: wrong fields", error)}
        return {
            status: {"description": text, "content": {"application/json": {"schema": schema}}}
            for status, (text, schema) in described.items()
        }

    def body(schema: Any, example: Any) -> dict[str, Any]:
        return {"required": True, "content": {"application/json": {"schema": schema, "example": example}}}

    model_id = {"name": "model_id", "in": "path", "required": True, "schema": {"type": "string"}, "example": "reviews"}
    limit = {"name": "limit", "in": "query", "schema": {"type": "integer", "maximum": 1000, "default": 100}}
    api.openapi = {
        "openapi": "3.1.0",
        "info": {"title": "Tunelane", "version": "0.1.0", "description": "What the server does."},
        "paths": {
            "/predict": {
                "post": {
                    "operationId": "post_predict",
                    "tags": ["Predictions"],
                    "summary": "Answer one text",
                    "description": "A `text` or features.",
                    "requestBody": body(predict, {"text": "it's good"}),
                    "responses": answers(prediction),
                    "security": [{"Bearer": []}, {}],
                }
            },
            "/feedback": {
                "post": {
                    "operationId": "post_feedback",
                    "tags": ["Monitoring"],
                    "summary": "Say what was right",
                    "requestBody": body(feedback, {"inferenceId": "{{inferenceId}}", "outcome": "positive"}),
                    "responses": answers(receipt),
                }
            },
            "/model/{model_id}/versions": {
                "get": {
                    "operationId": "get_versions",
                    "tags": ["Models"],
                    "summary": "The versions of a model",
                    "parameters": [model_id, limit],
                    "responses": answers(prediction),
                }
            },
            "/model/upload": {
                "post": {
                    "operationId": "post_upload",
                    "tags": ["Models"],
                    "summary": "Add a package",
                    "requestBody": {
                        "content": {
                            "multipart/form-data": {
                                "schema": {
                                    "type": "object",
                                    "properties": {
                                        "package": {"type": "string", "format": "binary"},
                                        "modelId": {"type": "string"},
                                    },
                                    "required": ["package", "modelId"],
                                },
                                "example": {"modelId": "reviews"},
                            }
                        }
                    },
                    "responses": answers(prediction),
                }
            },
        },
        "components": {
            "schemas": components,
            "securitySchemes": {"Bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _unfold(page: Page, operation: str) -> Locator:
    card = page.locator(f"#{operation}")
    card.locator("> summary").click()
    expect(card.locator(".inside")).to_be_visible()
    return card


def test_operations_stand_under_their_tags(open_page: Callable[..., Any]) -> None:
    opened = open_page("docs")
    expect(opened.page.locator("h2")).to_have_text(["Predictions", "Monitoring", "Models"])
    expect(opened.page.locator(".operation")).to_have_count(4)
    expect(opened.page.locator("#post_predict > summary")).to_contain_text("POST/predictAnswer one text")
    assert opened.page.get_by_role("link", name="openapi.json").first.get_attribute("href") == "openapi.json"
    expect(opened.page.locator("#intro")).to_contain_text("Postman")
    assert opened.wrong == []


def test_a_body_is_a_table_of_its_fields(open_page: Callable[..., Any]) -> None:
    card = _unfold(open_page("docs").page, "post_feedback")
    rows = card.locator(".fields").first.locator("> li")
    assert rows.all_inner_texts()[0] == "inferenceId required\nstring\nnot empty · at most 128 characters"
    expect(rows.nth(2)).to_contain_text("boolean or null")


def test_answers_are_shown_by_status(open_page: Callable[..., Any]) -> None:
    card = _unfold(open_page("docs").page, "post_predict")
    statuses = card.locator(".status")
    expect(statuses).to_have_count(2)
    statuses.nth(0).locator("summary").click()
    expect(statuses.nth(0).locator(".fields")).to_contain_text("inferenceId")
    statuses.nth(1).locator("summary").click()
    expect(statuses.nth(1).locator(".fields .fields")).to_contain_text("message")


def test_an_answers_example_and_each_of_its_errors_stand_by_themselves(api: Any, open_page: Callable[..., Any]) -> None:
    responses = api.openapi["paths"]["/predict"]["post"]["responses"]
    responses["200"]["content"]["application/json"]["example"] = {"label": "positive"}
    responses["422"]["description"] = "`invalid_request`: wrong fields\n\n`bad_package`: no package"
    opened = open_page("docs")
    statuses = _unfold(opened.page, "post_predict").locator(".status")
    expect(statuses.nth(1).locator("summary > span > span")).to_have_text(
        ["invalid_request: wrong fields", "bad_package: no package"]
    )
    statuses.nth(0).locator("summary").click()
    expect(statuses.nth(0).get_by_label("Example of an answer")).to_have_text('{\n  "label": "positive"\n}')
    assert opened.wrong == []


def test_the_curl_command_is_quoted_for_a_shell_and_copied(api: Any, open_page: Callable[..., Any]) -> None:
    page = open_page("docs").page
    card = _unfold(page, "post_predict")
    card.get_by_role("button", name="Copy the curl command").click()
    expect(card.get_by_text("Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == (
        f"curl -X POST '{api.url}predict' \\\n  -H 'content-type: application/json' \\\n"
        """  -d '{"text":"it'\\''s good"}'"""
    )


def test_send_tries_it_and_shows_the_answer(api: Any, open_page: Callable[..., Any]) -> None:
    opened = open_page("docs")
    card = _unfold(opened.page, "post_predict")
    card.get_by_label("Body").fill('{"text": "another"}')
    expect(card.locator(".code pre")).to_contain_text('{"text":"another"}')
    card.get_by_role("button", name="Send").click()
    expect(card.locator(".send")).to_contain_text("200")
    shown = json.loads(card.get_by_label("Answer").inner_text())
    assert shown["label"] == "positive"
    assert api.bodies("/predict") == [{"text": "another"}]
    assert opened.wrong == []


def test_an_error_is_shown_with_its_status(open_page: Callable[..., Any]) -> None:
    card = _unfold(open_page("docs").page, "post_predict")
    card.get_by_label("Body").fill("{}")
    card.get_by_role("button", name="Send").click()
    expect(card.locator(".send")).to_contain_text("422")
    expect(card.get_by_label("Answer")).to_contain_text("The text is empty")


def test_an_answers_values_go_into_the_next_example(api: Any, open_page: Callable[..., Any]) -> None:
    page = open_page("docs").page
    feedback = _unfold(page, "post_feedback")
    predict = _unfold(page, "post_predict")
    predict.get_by_role("button", name="Send").click()
    expect(feedback.locator(".code pre")).to_contain_text('"inferenceId":"0192-abc"')
    feedback.get_by_role("button", name="Send").click()
    expect(feedback.locator(".send")).to_contain_text("200")
    assert api.bodies("/feedback") == [{"inferenceId": "0192-abc", "outcome": "positive"}]


def test_parameters_go_into_the_address(api: Any, open_page: Callable[..., Any]) -> None:
    card = _unfold(open_page("docs").page, "get_versions")
    expect(card.locator(".code pre")).to_have_text(f"curl '{api.url}model/reviews/versions'")
    card.locator("input").nth(0).fill("a b")
    card.locator("input").nth(1).fill("5")
    expect(card.locator(".code pre")).to_have_text(f"curl '{api.url}model/a%20b/versions?limit=5'")


def test_an_upload_is_shown_as_a_command_only(open_page: Callable[..., Any]) -> None:
    card = _unfold(open_page("docs").page, "post_upload")
    expect(card.locator(".code pre")).to_contain_text("-F package=@package.tar.gz")
    expect(card.locator(".code pre")).to_contain_text("-F 'modelId=reviews'")
    expect(card.get_by_role("button", name="Send")).to_have_count(0)


def test_a_key_is_sent_and_kept_out_of_the_command(api: Any, open_page: Callable[..., Any]) -> None:
    page = open_page("docs").page
    card = _unfold(page, "post_predict")
    page.get_by_placeholder("API key").fill("s3cret")
    expect(card.locator(".code pre")).to_contain_text('-H "Authorization: Bearer $TUNELANE_API_KEY"')
    assert "s3cret" not in card.locator(".code pre").inner_text()
    with page.expect_request("**/predict") as sent:
        card.get_by_role("button", name="Send").click()
    assert sent.value.headers["authorization"] == "Bearer s3cret"


def test_a_link_to_an_operation_opens_it(open_page: Callable[..., Any]) -> None:
    page = open_page("docs#post_feedback").page
    expect(page.locator("#post_feedback .inside")).to_be_visible()
    page.locator("#contents").get_by_role("link", name="/predict").click()
    expect(page.locator("#post_predict .inside")).to_be_visible()


def test_operations_are_filtered_by_words(open_page: Callable[..., Any]) -> None:
    page = open_page("docs").page
    page.get_by_label("Filter operations").fill("versions")
    expect(page.locator(".operation:visible")).to_have_count(1)
    expect(page.locator("h2:visible")).to_have_text(["Models"])


def test_the_documentation_fits_a_phone(open_page: Callable[..., Any]) -> None:
    opened = open_page("docs")
    page = opened.page
    for operation in ("post_predict", "post_feedback", "get_versions", "post_upload"):
        for status in _unfold(page, operation).locator(".status > summary").all():
            status.click()
    for width in (1280, 360):
        page.set_viewport_size({"width": width, "height": 800})
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width, f"{wide} px wide on {width}"
    assert opened.wrong == []
