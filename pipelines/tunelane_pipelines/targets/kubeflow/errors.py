"""What the client of Kubeflow Pipelines raises, in words that say what to do."""

import json
from typing import Any

import urllib3.exceptions
from kfp_server_api.exceptions import ApiException

from tunelane_pipelines.targets.errors import NoSuchResource, NotAllowed, Refused, ServiceAway
from tunelane_serving.errors import InputError, TunelaneError

_MAX_WORDS = 400
_AWAY = {429, 500, 502, 503, 504}
_SURELY_NOT_DONE = {429, 503}
_LOG_ERROR = "error_message"

RAISED = (
    ApiException,
    urllib3.exceptions.HTTPError,
    # The client cannot read the body of an error without one, or of one that is not UTF-8, and raises these instead.
    AttributeError,
    UnicodeDecodeError,
    # What it cannot read of an answer.
    TypeError,
    ValueError,
    OSError,
)
"""What a call of the client can raise."""


def in_words(error: Exception, host: str, namespace: str, doing: str, *, creates: bool = False) -> TunelaneError:
    """Give what to raise instead of an error of the client.

    Args:
        error: one of `RAISED`.
        host: URL of the installation.
        namespace: the user's; empty for an installation without users.
        doing: what was asked for, as in "list runs".
        creates: whether something new is made each time, so that it matters that an answer was lost.
    """
    if isinstance(error, AttributeError | UnicodeDecodeError) and isinstance(error.__context__, ApiException):
        error = error.__context__
    if isinstance(error, ApiException):
        return _of_answer(error, host, namespace, doing, creates=creates)
    if isinstance(error, urllib3.exceptions.HTTPError):
        return _of_connection(error, host, creates=creates)
    if isinstance(error, OSError):
        return InputError(f"Cannot read {error.filename}: {error.strerror}. Check kubeflow.token_file.")
    if creates:
        return unclear(host, doing)
    return Refused(f"{host} gave an answer to '{doing}' that is not understood ({_line(error)}). Check its version.")


def unclear(host: str, doing: str) -> ServiceAway:
    """Give what to raise where something may have been made, and the answer does not say what."""
    return ServiceAway(
        f"{host} gave an answer to '{doing}' that does not name what it made. Try again.", is_reply_lost=True
    )


def is_gone_log(error: Exception) -> bool:
    """Whether the route for logs says that it can read neither a pod nor an archive: it has one status for all.

    Its errors have fields of their own. A run that it does not know is said in the same way.
    https://github.com/kubeflow/pipelines/blob/master/backend/src/apiserver/server/run_log_server.go
    """
    return isinstance(error, ApiException) and error.status == 500 and _is_log_route(error)


def is_gone_text(text: str) -> bool:
    """Whether a log is that same error, which earlier releases give with the status of a log."""
    return _LOG_ERROR in text and _LOG_ERROR in _read(text)


def is_no_route(error: Exception) -> bool:
    """Whether nobody serves the route for logs."""
    return isinstance(error, ApiException) and error.status in (404, 405, 501)


def web_page(host: str) -> NotAllowed:
    """Give what to raise where a page for people came instead of JSON: a proxy asks to sign in."""
    return NotAllowed(f"{host} asks to sign in, or is no Kubeflow Pipelines API. Check kubeflow.host and the token.")


def _of_answer(error: ApiException, host: str, namespace: str, doing: str, *, creates: bool) -> TunelaneError:
    status, words = error.status or 0, _words(error)
    if status in _AWAY:
        return ServiceAway(
            f"Kubeflow at {host} could not {doing} ({status}: {words}). Try again.",
            is_reply_lost=creates and status not in _SURELY_NOT_DONE,
            retry_after_s=_retry_after_s(error),
        )
    if status == 0:
        return InputError(f"No safe connection to {host}: {words}. Set kubeflow.ca_file to its authority's file.")
    if 300 <= status < 400:
        return web_page(host)
    if status == 401:
        return NotAllowed(f"{host} does not know you ({words}). Renew kubeflow.token or kubeflow.token_file.")
    if status == 403:
        where = f" in namespace {namespace}" if namespace else ""
        return NotAllowed(f"No right to {doing}{where}: {words}. Ask for the role kubeflow-pipelines-edit there.")
    if status == 404 and _is_api(error):
        return NoSuchResource(f"Kubeflow at {host} could not {doing}: {words}. Check the name and the namespace.")
    if status == 404:
        return web_page(host)
    return Refused(f"Kubeflow refuses to {doing}: {words}. Correct what it names.")


def _of_connection(error: urllib3.exceptions.HTTPError, host: str, *, creates: bool) -> TunelaneError:
    if isinstance(error, urllib3.exceptions.LocationValueError):
        return InputError(f"{host} is no URL: {_line(error)}. Set kubeflow.host, as in https://HOST/pipeline.")
    if isinstance(error, urllib3.exceptions.NewConnectionError | urllib3.exceptions.ConnectTimeoutError):
        return ServiceAway(f"Cannot connect to {host}. Check kubeflow.host and the network.")
    return ServiceAway(f"The connection to {host} broke before the answer. Try again.", is_reply_lost=creates)


def _words(error: ApiException) -> str:
    """The service's own words, in one line without a full stop."""
    body = _body(error)
    return _line(body.get("message") or body.get(_LOG_ERROR) or error.reason or "no reason given")


def _is_log_route(error: ApiException) -> bool:
    return _LOG_ERROR in _body(error)


def _is_api(error: ApiException) -> bool:
    """Whether the answer is the API's own: its errors have a gRPC code (https://google.aip.dev/193)."""
    return "code" in _body(error)


def _body(error: ApiException) -> dict[str, Any]:
    return _read(error.body)


def _read(text: str | None) -> dict[str, Any]:
    try:
        body = json.loads(text or "")
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _retry_after_s(error: ApiException) -> float | None:
    """What the header asks for in seconds; a date is not understood, and growing pauses serve as well."""
    given = (error.headers or {}).get("Retry-After", "")
    return float(given) if given.isdecimal() else None


def _line(words: object) -> str:
    text = " ".join(str(words).split())
    return (text if len(text) <= _MAX_WORDS else text[:_MAX_WORDS] + "…").rstrip(".")
