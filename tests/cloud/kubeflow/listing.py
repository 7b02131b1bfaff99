"""Lists: filters, orders and pages, as apiserver/list/list.go and filter/filter.go make them."""

import base64
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from tests.cloud.kubeflow.contract import check
from tests.cloud.kubeflow.errors import ApiError
from tests.cloud.kubeflow.times import read

Kept = dict[str, dict[str, Any]]

_DEFAULT_PAGE, _MAX_PAGE = 20, 200

# apiserver/model/{run,experiment,job}.go: what filters and orders may name, and the field behind it.
_COMMON = {
    "name": "display_name",
    "display_name": "display_name",
    "created_at": "created_at",
    "description": "description",
}
_KEYS = {
    "runs": {
        **_COMMON,
        **{name: name for name in ("run_id", "experiment_id", "state", "storage_state", "finished_at", "scheduled_at")},
        **{name: name for name in ("namespace", "recurring_run_id")},
        "id": "run_id",
        "status": "state",
    },
    "experiments": {
        **_COMMON,
        **{name: name for name in ("experiment_id", "namespace", "storage_state", "last_run_created_at")},
        "id": "experiment_id",
    },
    "recurringRuns": {
        **_COMMON,
        "recurring_run_id": "recurring_run_id",
        "id": "recurring_run_id",
        "updated_at": "updated_at",
    },
}
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "EQUALS": lambda have, want: have == want,
    "NOT_EQUALS": lambda have, want: have != want,
    "GREATER_THAN": lambda have, want: have > want,
    "GREATER_THAN_EQUALS": lambda have, want: have >= want,
    "LESS_THAN": lambda have, want: have < want,
    "LESS_THAN_EQUALS": lambda have, want: have <= want,
    "IS_SUBSTRING": lambda have, want: want in have,
}
_BY_NUMBER = {
    1: "EQUALS",
    2: "NOT_EQUALS",
    3: "GREATER_THAN",
    5: "GREATER_THAN_EQUALS",
    6: "LESS_THAN",
    7: "LESS_THAN_EQUALS",
}


def page(kind: str, found: list[dict[str, Any]], query: dict[str, str]) -> Any:
    """Give the page of a list that is asked for."""
    tests = list(_tests(query.get("filter", ""), _KEYS[kind]))
    found = [one for one in found if all(test(one) for test in tests)]
    order = re.fullmatch(r"(\w+)( asc| desc)?", query.get("sort_by") or "created_at")
    if order is None or order[1] not in _KEYS[kind]:
        raise ApiError(3, f"Invalid sorting field: {query['sort_by']!r}")
    found.sort(key=lambda one: one[_KEYS[kind][order[1]]], reverse=order[2] == " desc")
    size = min(int(query.get("page_size") or _DEFAULT_PAGE), _MAX_PAGE)
    asked = [query.get("filter", ""), query.get("sort_by", "")]
    start = 0
    if query.get("page_token"):
        start, *asked_before = json.loads(base64.b64decode(query["page_token"]))
        if asked_before != asked:
            raise ApiError(3, "The page token does not belong to this filter and order")
    answer = {kind: found[start : start + size], "total_size": len(found)}
    if start + size < len(found):
        answer["next_page_token"] = base64.b64encode(json.dumps([start + size, *asked]).encode()).decode()
    return answer


def one_of(kept: Kept, resource: str, kind: str) -> dict[str, Any]:
    """Give what is kept under an id."""
    if resource not in kept:
        raise ApiError(5, f"{kind} {resource} not found")
    return kept[resource]


def _tests(given: str, keys: dict[str, str]) -> Iterator[Callable[[dict[str, Any]], bool]]:
    """The predicates of a filter, in the names of the fields or in the camel case and numbers that kfp.Client sends."""
    if not given:
        return
    content = json.loads(given)
    predicates = [
        {re.sub("([A-Z])", lambda found: f"_{found[0].lower()}", name): value for name, value in one.items()}
        for one in content.pop("predicates", [])
    ]
    for predicate in predicates:
        predicate["operation"] = _BY_NUMBER.get(predicate["operation"], predicate["operation"])
    check({**content, "predicates": predicates}, "V2beta1Filter", "filter")
    for predicate in predicates:
        if predicate["key"] not in keys or predicate["operation"] not in _COMPARE:
            raise ApiError(3, f"Invalid input error: no filter by {predicate['key']} {predicate['operation']}")
        yield _test(keys[predicate["key"]], _COMPARE[predicate["operation"]], predicate)


def _test(
    field: str, compare: Callable[[Any, Any], bool], predicate: dict[str, Any]
) -> Callable[[dict[str, Any]], bool]:
    if "timestamp_value" in predicate:
        want = read(predicate["timestamp_value"])
        return lambda one: compare(read(one[field]), want)
    return lambda one: compare(one.get(field, ""), predicate["string_value"])
