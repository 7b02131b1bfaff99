"""The monitoring routes' own rules; what they measure is tested with the monitoring."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tunelane_serving.database.database import Database

Make = Callable[..., TestClient]


@pytest.fixture
def reviews(tiny_package: Callable[..., Path], tmp_path: Path) -> Path:
    return tiny_package(tmp_path / "reviews")


@pytest.mark.parametrize("route", ["/monitoring/drift", "/monitoring/metrics", "/monitoring/events"])
@pytest.mark.parametrize(
    "query",
    [
        {"until": "0001-01-01T00:00:00Z"},
        {"until": "0001-01-01T00:00:00+14:00"},
        {"since": "9999-12-31T23:59:59-14:00", "until": "9999-12-31T23:59:59.999-14:00"},
        {"since": "0001-01-01T00:00:00Z", "until": "9999-12-31T23:59:59Z"},
    ],
)
def test_a_range_may_begin_and_end_where_dates_do(
    make_client: Make, reviews: Path, route: str, query: dict[str, str]
) -> None:
    response = make_client("--package", reviews).get(route, params=query)
    assert response.status_code == 200, response.text


@pytest.mark.parametrize(("alpha", "status"), [("0.0009", 422), ("0.001", 200), ("0.999", 200), ("1", 422)])
def test_a_chance_of_false_alarm_is_one_that_the_threshold_can_be_simulated_for(
    make_client: Make, reviews: Path, alpha: str, status: int
) -> None:
    client = make_client("--package", reviews)
    assert client.get("/monitoring/drift", params={"alpha": alpha}).status_code == status


def test_feedback_to_a_database_that_takes_no_writes_is_a_503(
    make_client: Make, reviews: Path, postgres_database_url: str
) -> None:
    with closing(Database(postgres_database_url)) as database, database.transaction():
        pass
    # As every session on a standby is.
    url = f"{postgres_database_url}%20-cdefault_transaction_read_only%3Don"
    client = make_client("--package", reviews, "--database", url)
    answer = client.post("/feedback", json={"inferenceId": "1", "outcome": "positive"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "database_away"), answer.text
    assert "retry-after" in answer.headers


def test_a_database_that_cannot_be_used_is_a_503_that_says_so(make_client: Make, reviews: Path, tmp_path: Path) -> None:
    client = make_client("--package", reviews, "--database", f"sqlite:///{tmp_path}/missing/tunelane.db")
    for answer in (
        client.post("/feedback", json={"inferenceId": "1", "outcome": "positive"}),
        client.get("/features/a"),
    ):
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (503, "database_away"), answer.text
        assert "in a directory that is there" in error["message"]
        # Nobody mends it by asking again.
        assert "retry-after" not in answer.headers
    assert client.post("/predict", json={"text": "a film"}).status_code == 200


@pytest.mark.parametrize("parameter", ["status", "since", "until", "limit"])
@pytest.mark.parametrize("word", ["null", "NULL"])
def test_the_word_null_is_no_value_of_a_parameter_that_is_no_text(
    make_client: Make, reviews: Path, parameter: str, word: str
) -> None:
    client = make_client("--package", reviews)
    answer = client.get("/monitoring/events", params={parameter: word})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_request")
    assert client.get("/monitoring/events", params={"model": word}).status_code == 200


@pytest.mark.parametrize("route", ["/monitoring/events", "/monitoring/metrics", "/monitoring/drift"])
@pytest.mark.parametrize("since", ["0", "1e9", "2026-01-31", "now"])
def test_a_time_is_one_that_the_documentation_knows(make_client: Make, reviews: Path, route: str, since: str) -> None:
    answer = make_client("--package", reviews).get(route, params={"since": since})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_request")
