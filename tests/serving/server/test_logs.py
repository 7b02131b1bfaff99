import json
import logging

import pytest

from tunelane_serving.server.logs import AccessLog, JsonLines


def _line(record: logging.LogRecord) -> dict[str, object]:
    content = JsonLines().format(record)
    assert "\n" not in content
    found = json.loads(content)
    assert isinstance(found, dict)
    return found


def test_a_record_is_one_line_of_json_with_what_was_given_beside_it() -> None:
    record = logging.makeLogRecord(
        {"name": "tunelane", "levelname": "WARNING", "msg": "two\nlines of %s", "args": ("it",), "digest": "abc"}
    )
    line = _line(record)
    assert (line["severity"], line["message"], line["digest"]) == ("WARNING", "two\nlines of it", "abc")
    assert str(line["time"]).endswith("+00:00")


def test_a_failure_carries_its_traceback_in_the_same_line() -> None:
    try:
        raise ValueError("broken")
    except ValueError as error:
        record = logging.makeLogRecord({"msg": "failed", "exc_info": (ValueError, error, error.__traceback__)})
    assert "ValueError: broken" in str(_line(record)["traceback"])


def test_what_json_cannot_say_is_said_as_text() -> None:
    assert _line(logging.makeLogRecord({"msg": "x", "thing": object()}))["thing"]


def test_an_access_line_has_the_request_id_and_nothing_that_was_sent(capfd: pytest.CaptureFixture[str]) -> None:
    AccessLog().write(request_id="r-1", method="POST", route="/predict", status=200, duration_s=0.0123)
    line = json.loads(capfd.readouterr().err)
    assert (line["requestId"], line["route"], line["status"], line["durationMs"]) == ("r-1", "/predict", 200, 12.3)
    assert line["severity"] == "INFO"
