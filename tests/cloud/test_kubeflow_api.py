"""The fake refuses what breaks Kubeflow's rules, and answers kfp.Client's own verbs."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from kfp import Client
from kfp_server_api import ApiException
from urllib3.exceptions import HTTPError

from tests.cloud.kubeflow.contract import operations
from tests.cloud.kubeflow.installation import FakeKubeflow

_SPEC: dict[str, Any] = {
    "pipelineInfo": {"name": "small"},
    "root": {
        "dag": {"tasks": {"a": {"componentRef": {"name": "comp-a"}, "taskInfo": {"name": "a"}}}},
        "inputDefinitions": {"parameters": {"text": {"parameterType": "STRING"}}},
    },
    "components": {"comp-a": {"executorLabel": "exec-a"}},
    "deploymentSpec": {"executors": {"exec-a": {"container": {"image": "i"}}}},
    "schemaVersion": "2.1.0",
}
_TOKEN = "open-sesame"  # noqa: S105 - the fake's
_RUN = {"display_name": "run", "pipeline_spec": _SPEC, "runtime_config": {"parameters": {"text": "x"}}}
_SCHEDULE = {**_RUN, "max_concurrency": "1", "mode": "ENABLE", "trigger": {"cron_schedule": {"cron": "0 30 3 * * *"}}}


@pytest.fixture
def fake() -> Iterator[FakeKubeflow]:
    with FakeKubeflow() as fake:
        yield fake


@pytest.fixture
def client(fake: FakeKubeflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Client:
    monkeypatch.setattr(Client, "_LOCAL_KFP_CONTEXT", str(tmp_path / "context.json"))
    return Client(host=fake.host, namespace="any")


def _refusal(call: Callable[[], Any]) -> tuple[int, str]:
    with pytest.raises(ApiException) as raised:
        call()
    return raised.value.status, json.loads(raised.value.body)["message"]


def test_kfp_s_own_verbs_are_answered(client: Client, fake: FakeKubeflow, tmp_path: Path) -> None:
    package = tmp_path / "small.yaml"
    package.write_text(yaml.safe_dump(_SPEC))
    client.set_user_namespace("")
    experiment = client.create_experiment("trials")
    assert client.get_experiment(experiment_name="trials").experiment_id == experiment.experiment_id
    run = client.create_run_from_pipeline_package(
        str(package), arguments={"text": "x"}, run_name="mine", experiment_name="trials"
    ).run_info
    assert [found.run_id for found in client.list_runs(experiment_id=experiment.experiment_id).runs] == [run.run_id]
    schedule = client.create_recurring_run(
        experiment.experiment_id, "nightly", cron_expression="0 0 3 * * *", pipeline_package_path=str(package),
        params={"text": "x"}, no_catchup=True,
    )  # fmt: skip
    client.disable_recurring_run(schedule.recurring_run_id)
    assert client.get_recurring_run(schedule.recurring_run_id).status == "DISABLED"
    client.delete_recurring_run(schedule.recurring_run_id)
    client.terminate_run(run.run_id)
    assert client.get_run(run.run_id).state == "CANCELING"
    assert fake.recurring_runs == {}


def test_every_method_of_the_generated_client_is_known_to_the_contract() -> None:
    known = list(operations())
    assert len(known) > 35
    assert {"create_run", "list_runs", "create_recurring_run", "create_experiment"} <= {one.name for one in known}
    assert next(one for one in known if one.name == "create_run").body == "V2beta1Run"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({**_RUN, "name": "run"}, 'unknown field "V2beta1Run.name"'),
        ({**_RUN, "display_name": 3}, "display_name"),
        ({**_RUN, "display_name": ""}, "name is empty"),
        ({**_RUN, "state": "DONE"}, "enum field"),
        ({**_RUN, "created_at": "yesterday"}, "Timestamp"),
        ({**_RUN, "runtime_config": {"parameters": {"text": "x"}, "root": "gs://b"}}, 'unknown field'),
        ({**_RUN, "runtime_config": {"parameters": {"text": 3}}}, "no STRING"),
        ({**_RUN, "runtime_config": {"parameters": {}}}, "text is missing"),
        ({**_RUN, "runtime_config": {"parameters": {"text": "x", "more": "y"}}}, "more is not one"),
        ({**_RUN, "pipeline_spec": {**_SPEC, "labels": {}}}, "labels"),
        ({**_RUN, "pipeline_spec": {"pipeline_spec": _SPEC, "platform_spec": {"platforms": {"v": {}}}}}, "no platform"),
        ({"display_name": "run"}, "pipeline_spec"),
        ({**_RUN, "experiment_id": "none"}, "Experiment none not found"),
    ],
)  # fmt: skip
def test_a_run_that_breaks_a_rule_is_refused(client: Client, body: dict[str, Any], words: str) -> None:
    status, message = _refusal(lambda: client.runs.run_service_create_run(run=body))
    assert status == (404 if "not found" in words else 400)
    assert words in message


def test_the_settings_of_kubernetes_are_checked(client: Client) -> None:
    def with_config(label: str, config: dict[str, Any]) -> Any:
        platform = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": {label: config}}}}}
        body = {**_RUN, "pipeline_spec": {"pipeline_spec": _SPEC, "platform_spec": platform}}
        return client.runs.run_service_create_run(run=body)

    with_config("exec-a", {"activeDeadlineSeconds": "60"})
    assert "nodeSelectors" in _refusal(lambda: with_config("exec-a", {"nodeSelectors": {}}))[1]
    assert "no executor exec-b" in _refusal(lambda: with_config("exec-b", {}))[1]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"max_concurrency": "0"}, "at least 1"),
        ({"max_concurrency": "11"}, "at most 10"),
        ({"max_concurrency": "many"}, "max_concurrency"),
        ({"trigger": {"cron_schedule": {"cron": "0 30 3 * * 7"}}}, "not a supported format"),
        ({"trigger": {"cron_schedule": {"cron": "CRON_TZ=UTC 0 30 3 * * *"}}}, "not a supported format"),
        ({"trigger": {"cron_schedule": {"cron": "often"}}}, "not a supported format"),
        ({"trigger": {"cron_schedule": {"crontab": "0 30 3 * * *"}}}, "unknown field"),
        ({"mode": "ON"}, "enum field"),
    ],
)
def test_a_recurring_run_that_breaks_a_rule_is_refused(client: Client, changes: dict[str, Any], words: str) -> None:
    create = client.recurring_runs.recurring_run_service_create_recurring_run
    status, message = _refusal(lambda: create(recurring_run={**_SCHEDULE, **changes}))
    assert status == 400
    assert words in message


def test_of_five_fields_the_first_is_taken_for_the_second(client: Client, fake: FakeKubeflow) -> None:
    trigger = {"cron_schedule": {"cron": "30 3 * * 1"}}
    body = {**_SCHEDULE, "trigger": trigger, "max_concurrency": "10"}
    fake.clock.set(datetime(2026, 12, 31, tzinfo=UTC))
    client.recurring_runs.recurring_run_service_create_recurring_run(recurring_run=body)
    fake.clock.advance(timedelta(days=1, hours=2))
    times = [run["scheduled_at"] for run in fake.runs.values()]
    assert times[0] == "2027-01-01T00:03:30Z"


def test_a_recurring_run_takes_what_goes_on_with_it_unless_that_is_orphaned(client: Client, fake: FakeKubeflow) -> None:
    for policy, state in ((None, "FAILED"), ("ORPHAN", "PENDING")):
        api = client.recurring_runs
        made = api.recurring_run_service_create_recurring_run(recurring_run=_SCHEDULE)
        fake.clock.advance(timedelta(days=1))
        more = {"propagation_policy": policy} if policy else {}
        api.recurring_run_service_delete_recurring_run(made.recurring_run_id, **more)
        (run,) = fake.runs.values()
        assert run["state"] == state
        fake.runs.clear()


def test_a_name_is_given_to_one_experiment(client: Client) -> None:
    create = client.experiments.experiment_service_create_experiment
    create(experiment={"display_name": "trials"})
    assert _refusal(lambda: create(experiment={"display_name": "trials"}))[0] == 409


def test_what_has_ended_cannot_be_terminated(client: Client, fake: FakeKubeflow) -> None:
    run = client.runs.run_service_create_run(run=_RUN)
    fake.end(run.run_id, "SUCCEEDED")
    assert _refusal(lambda: client.terminate_run(run.run_id))[0] == 400


@pytest.mark.parametrize(
    "query",
    [
        {"filter": json.dumps({"predicates": [{"operation": "EQUALS", "key": "label", "string_value": "x"}]})},
        {"filter": json.dumps({"predicates": [{"operation": "LIKE", "key": "name", "string_value": "x"}]})},
        {"filter": json.dumps({"predicate": []})},
        {"sort_by": "label"},
        {"namespace": "team"},
    ],
)
def test_a_list_that_cannot_be_made_is_refused(client: Client, query: dict[str, str]) -> None:
    assert _refusal(lambda: client.runs.run_service_list_runs(**query))[0] == 400


def test_a_page_token_belongs_to_its_filter(client: Client) -> None:
    for _ in range(3):
        client.runs.run_service_create_run(run=_RUN)
    page = client.runs.run_service_list_runs(page_size=2)
    assert (len(page.runs), page.total_size) == (2, 3)
    token = page.next_page_token
    assert len(client.runs.run_service_list_runs(page_size=2, page_token=token).runs) == 1
    more = {"page_token": token, "sort_by": "created_at desc"}
    assert _refusal(lambda: client.runs.run_service_list_runs(**more))[0] == 400


def test_an_installation_with_users_lists_by_namespace(client: Client) -> None:
    with FakeKubeflow(namespaces=("team",)) as fake:
        there = Client(host=fake.host, namespace="team")
        there.runs.run_service_list_runs(namespace="team")
        assert _refusal(lambda: there.runs.run_service_list_runs())[0] == 400
        assert _refusal(lambda: there.runs.run_service_list_runs(namespace="other"))[0] == 403


def test_what_the_fake_does_not_know_is_not_pretended(client: Client, fake: FakeKubeflow) -> None:
    run = client.runs.run_service_create_run(run=_RUN)
    assert _refusal(lambda: client.archive_run(run.run_id))[0] == 501
    assert [call.operation for call in fake.calls] == ["create_run", "archive_run"]
    assert fake.calls[-1].status == 501


def test_a_start_in_the_past_has_missed_runs_which_start_at_once(client: Client, fake: FakeKubeflow) -> None:
    create = client.recurring_runs.recurring_run_service_create_recurring_run
    start = (fake.clock.now() - timedelta(days=4)).isoformat()
    trigger = {"cron_schedule": {"cron": "0 30 3 * * *", "start_time": start}}
    for no_catchup, started in ((False, 4), (True, 1)):
        create(recurring_run={**_SCHEDULE, "trigger": trigger, "max_concurrency": "10", "no_catchup": no_catchup})
        assert len(fake.runs) == started
        fake.reset()


def test_a_name_may_be_given_to_two_runs(client: Client, fake: FakeKubeflow) -> None:
    for _ in range(2):
        client.runs.run_service_create_run(run=_RUN)
        client.recurring_runs.recurring_run_service_create_recurring_run(recurring_run=_SCHEDULE)
    assert (len(fake.runs), len(fake.recurring_runs)) == (2, 2)


def test_a_call_may_arrive_when_its_caller_has_given_up(client: Client, fake: FakeKubeflow) -> None:
    fake.faults = {0: "late"}
    client.runs.api_client.rest_client.pool_manager.connection_pool_kw["retries"] = False
    with pytest.raises(HTTPError):
        client.runs.run_service_create_run(run=_RUN)
    seen = [len(client.runs.run_service_list_runs().runs or []) for _ in range(3)]
    assert seen == [0, 0, 1]
    fake.calls.clear()
    with pytest.raises(HTTPError):
        client.runs.run_service_create_run(run=_RUN)
    fake.clock.advance(timedelta(minutes=1))
    assert len(client.runs.run_service_list_runs().runs) == 2


def test_an_answer_may_not_say_what_was_made(client: Client, fake: FakeKubeflow) -> None:
    fake.faults = {0: "nameless", 1: "nameless"}
    assert client.runs.run_service_create_run(run=_RUN).run_id is None
    assert len(client.runs.run_service_list_runs().runs) == 1


def test_a_log_is_asked_for_by_the_pod_s_name(client: Client, fake: FakeKubeflow) -> None:
    run = client.runs.run_service_create_run(run=_RUN).run_id
    fake.workflows.logs[run, "pod"] = "line\n"

    def read(pod: str) -> requests.Response:
        return requests.get(f"{fake.host}/apis/v1alpha1/runs/{run}/nodes/{pod}/log", timeout=20)

    assert (read("pod").text, read("pod").headers["content-type"]) == ("line\n", "text/plain")
    assert read("other").status_code == 500
    assert read("other").json()["error_message"] == f"Failed to read logs for run {run}"
    fake.token = _TOKEN
    assert read("pod").status_code == 403
    fake.log_version = ""
    assert read("pod").status_code == 404
