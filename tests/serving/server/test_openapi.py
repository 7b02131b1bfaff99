"""The OpenAPI document is true: what it says is what the server does, whatever it is asked."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import schemathesis
from schemathesis.engine.errors import is_inconsistent_replay
from schemathesis.specs.openapi.checks import positive_data_acceptance
from starlette.testclient import TestClient

from tunelane_serving.server.app import create_app
from tunelane_serving.server.assembly import assemble
from tunelane_serving.server.openapi import operation_id
from tunelane_serving.server.operation import Operation
from tunelane_serving.server.options import parse
from tunelane_serving.server.routes.all import OPERATIONS

_HEADERS = {"X-API-Key": "secret"}
# A schema cannot say everything that a request must be: one of text and features, this server's limits.
_EXCLUDED = [positive_data_acceptance]
# Operations between which links lead, and the one they lead to: those that need no archive of a model.
_LINKED = [("^/(predict|feedback)$", "POST /feedback"), ("^/features/", "GET /features/{entity}")]


@pytest.fixture(scope="module")
def served(
    tiny_package: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory, api_keys: Path
) -> Iterator[TestClient]:
    """An application with everything that a server can have, and a version in its repository."""
    place = tmp_path_factory.mktemp("served")
    package = tiny_package(place / "sentiment")
    given = ["--package", package, "--home", place / "home", "--api-keys", api_keys]
    assembly = assemble(parse(list(map(str, given)), {}), {})
    assert assembly.services.repository is not None
    assembly.services.repository.add("encoder", "1", package, {})
    yield TestClient(create_app(assembly.services), raise_server_exceptions=False)
    assembly.close()


@pytest.fixture(scope="module")
def api_schema(served: TestClient) -> Any:
    return schemathesis.openapi.from_asgi("/openapi.json", served.app)


def _examples(count: int) -> hypothesis.settings:
    return hypothesis.settings(max_examples=count, suppress_health_check=list(hypothesis.HealthCheck), database=None)


@pytest.mark.parametrize("operation", OPERATIONS, ids=operation_id)
def test_no_request_gets_a_5xx_or_an_answer_that_is_not_documented(operation: Operation, api_schema: Any) -> None:
    _hold(operation, api_schema, examples=8)


@pytest.mark.slow
@pytest.mark.parametrize("operation", OPERATIONS, ids=operation_id)
def test_nor_do_many_more(operation: Operation, api_schema: Any) -> None:
    _hold(operation, api_schema, examples=120)


@pytest.mark.parametrize(("paths", "end"), _LINKED)
def test_what_an_answer_leads_to_is_documented_as_well(paths: str, end: str, api_schema: Any) -> None:
    _follow_links(paths, end, api_schema, examples=8)


@pytest.mark.slow
@pytest.mark.parametrize(("paths", "end"), _LINKED)
def test_so_is_what_many_more_lead_to(paths: str, end: str, api_schema: Any) -> None:
    _follow_links(paths, end, api_schema, examples=80)


def _follow_links(paths: str, end: str, api_schema: Any, *, examples: int) -> None:
    """Go on from answers by the document's links: feedback to a prediction, an entity's features."""
    machine: Any = api_schema.include(path_regex=paths).as_state_machine()
    answered = set()
    failures: list[Exception] = []

    class Linked(machine):  # type: ignore[misc]
        def setup(self) -> None:
            nonlocal examples
            examples -= 1

        def get_call_kwargs(self, _: schemathesis.Case) -> dict[str, Any]:
            return {"headers": _HEADERS}

        def validate_response(self, response: Any, case: schemathesis.Case, **_: Any) -> None:
            answered.add((case.operation.label, response.status_code))
            try:
                case.validate_response(response, excluded_checks=_EXCLUDED)
            except Exception as failure:
                failures.append(failure)
                raise

    while examples > 0:
        try:
            Linked.run(settings=hypothesis.settings(_examples(examples), stateful_step_count=5))
        except (hypothesis.errors.Flaky, AssertionError) as error:
            if failures:
                raise failures[0] from error
            # The server keeps what it is told, so what is drawn next may be another thing where the same was drawn
            # before. hypothesis stops there; schemathesis' own runner goes on, too.
            if not isinstance(error, hypothesis.errors.Flaky) and not is_inconsistent_replay(error):
                raise
        else:
            break
    assert (end, 200) in answered


def _hold(operation: Operation, api_schema: Any, *, examples: int) -> None:
    """Ask for an operation in ways that its description allows, and in ways that it does not."""
    has_input = operation.body or operation.form or operation.query or operation.path_types
    for mode in schemathesis.GenerationMode if has_input else [schemathesis.GenerationMode.POSITIVE]:
        strategy = api_schema[operation.path][operation.method].as_strategy(generation_mode=mode)

        @_examples(examples)
        @hypothesis.given(case=strategy)
        def ask(case: schemathesis.Case) -> None:
            case.call_and_validate(headers=_HEADERS, excluded_checks=_EXCLUDED)

        ask()
