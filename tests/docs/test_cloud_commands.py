"""The commands of docs/cloud.md that no test can run: of tools' verbs and flags that there are, and of one mind.

From https://cloud.google.com/sdk/gcloud/reference and https://kubernetes.io/docs/reference/kubectl/generated/.
"""

import json
import re
import shlex

import pytest
import yaml
from google.cloud.logging_v2.types import LogMetric

from tests.docs.pages import ROOT, blocks
from tunelane_pipelines.settings import Settings
from tunelane_pipelines.targets.vertex.request import check_settings

_PAGE = ROOT / "docs" / "cloud.md"
_BLOCKS = blocks(_PAGE)
_COMMANDS = [
    command
    for block in _BLOCKS
    if block.language == "sh" and "another test" not in block.note
    for command in block.commands
]

_BINDING = {"--member", "--role"}
# Each verb with the number of its arguments (None: any) and its flags.
_VERBS: dict[str, tuple[int | None, set[str]]] = {
    "gcloud auth login": (0, set()),
    "gcloud auth application-default login": (0, set()),
    "gcloud config set": (2, set()),
    "gcloud services enable": (None, {"--project"}),
    "gcloud storage buckets create": (1, {"--location", "--uniform-bucket-level-access", "--public-access-prevention"}),
    "gcloud storage buckets update": (1, {"--lifecycle-file", "--versioning"}),
    "gcloud storage cat": (1, set()),
    "gcloud storage cp": (2, set()),
    "gcloud storage rsync": (2, {"--recursive"}),
    "gcloud storage buckets add-iam-policy-binding": (1, _BINDING),
    "gcloud artifacts repositories create": (1, {"--repository-format", "--location"}),
    "gcloud artifacts repositories add-iam-policy-binding": (1, {"--location", *_BINDING}),
    "gcloud iam service-accounts create": (1, set()),
    "gcloud iam service-accounts add-iam-policy-binding": (1, _BINDING),
    "gcloud projects add-iam-policy-binding": (1, _BINDING),
    "gcloud builds submit": (0, {"--substitutions", "--gcs-source-staging-dir", "--service-account"}),
    "gcloud secrets create": (1, {"--replication-policy", "--locations"}),
    "gcloud secrets versions add": (1, {"--data-file"}),
    "gcloud secrets add-iam-policy-binding": (1, _BINDING),
    "gcloud billing budgets create": (
        0, {"--billing-account", "--display-name", "--filter-projects", "--budget-amount", "--threshold-rule"}
    ),
    "gcloud logging metrics create": (1, {"--description", "--log-filter"}),
    "gcloud beta monitoring channels create": (0, {"--display-name", "--type", "--channel-labels"}),
    "gcloud monitoring policies create": (0, {"--policy-from-file"}),
    "kubectl create serviceaccount": (1, {"--namespace"}),
    "kubectl create rolebinding": (1, {"--namespace", "--clusterrole", "--serviceaccount"}),
    "kubectl create token": (1, {"--namespace", "--audience", "--duration"}),
    # Its options stand before their values.
    "tunelane-serve": (2, {"--expected-digest", "--model"}),
}  # fmt: skip


def _parts(command: str) -> tuple[str, list[str], dict[str, str]]:
    """A command's verb, arguments and flags."""
    verb = max((verb for verb in _VERBS if f"{command} ".startswith(f"{verb} ")), key=len, default="")
    words = shlex.split(command.removeprefix(verb).partition(" > ")[0])
    flags = dict(word.partition("=")[::2] for word in words if word.startswith("--"))
    return verb, [word for word in words if not word.startswith("--")], flags


def _granted() -> set[tuple[str, str]]:
    """Account and role of every binding; a person is the submitter."""
    found = [_parts(command)[2] for command in _COMMANDS]
    bindings = [(flags["--member"], flags["--role"]) for flags in found if "--member" in flags]
    return {(re.sub(r"^(user:.*|serviceAccount:(.*?)@.*)$", r"\2", who) or "submitter", role) for who, role in bindings}


def _table() -> set[tuple[str, str]]:
    rows = re.findall(r"^\| `?([\w-]+)`?(?:: [^|]+)? \| `(roles/[\w.]+)` \|", _PAGE.read_text(), re.MULTILINE)
    assert len(rows) == 16
    return set(rows)


@pytest.mark.parametrize("command", _COMMANDS)
def test_a_command_has_a_verb_that_there_is_with_its_arguments_and_flags(command: str) -> None:
    verb, arguments, flags = _parts(command)
    assert verb, f"unknown: {command}"
    count, known = _VERBS[verb]
    assert count is None or len(arguments) == count, command
    assert set(flags) <= known
    if "add-iam-policy-binding" in verb:
        assert re.fullmatch(r"roles/[a-z]+\.[a-zA-Z]+", flags["--role"])
        assert re.fullmatch(
            r"user:\S+@\S+|serviceAccount:[a-z-]+@my-project\.iam\.gserviceaccount\.com", flags["--member"]
        )


def test_every_role_of_the_table_is_granted_and_no_other() -> None:
    # What the server may read is granted as the section on secrets has it for the tasks.
    said = {("tunelane-server", "roles/secretmanager.secretAccessor")}
    assert _granted() == _table() - said


def test_every_account_of_the_table_is_made() -> None:
    made = {
        arguments[0] for verb, arguments, _ in map(_parts, _COMMANDS) if verb == "gcloud iam service-accounts create"
    }
    assert made == {account for account, _ in _table()} - {"submitter"}


def test_the_profiles_are_settings_that_vertex_takes() -> None:
    vertex, kubeflow = [Settings(**yaml.safe_load(block.text)) for block in _BLOCKS if block.language == "yaml"]
    check_settings(vertex.gcp)
    assert kubeflow.kubeflow.namespace == "ann"
    buckets = {arguments[0] for verb, arguments, _ in map(_parts, _COMMANDS) if verb == "gcloud storage buckets create"}
    assert vertex.gcp.pipeline_root.rpartition("/")[0] in buckets


def test_the_files_say_what_their_services_understand() -> None:
    lifecycle, alert = [json.loads(block.text) for block in _BLOCKS if block.language == "json"]
    # https://cloud.google.com/storage/docs/json_api/v1/buckets#lifecycle
    assert all(rule.keys() == {"action", "condition"} for rule in lifecycle["rule"])
    assert {rule["action"]["type"] for rule in lifecycle["rule"]} == {"Delete"}
    # What it deletes is what runs leave below the profile's root, and nothing beside it.
    vertex = next(yaml.safe_load(block.text) for block in _BLOCKS if block.language == "yaml")
    prefixes = {prefix for rule in lifecycle["rule"] for prefix in rule["condition"]["matchesPrefix"]}
    assert prefixes == {f"{vertex['gcp']['pipeline_root'].rpartition('/')[2]}/"}
    (command,) = [command for command in _COMMANDS if "metrics create" in command]
    _, (name,), flags = _parts(command)
    metric = LogMetric(name=name, description=flags["--description"], filter=flags["--log-filter"])
    (condition,) = alert["conditions"]
    assert f'metric.type="logging.googleapis.com/user/{metric.name}"' in condition["conditionThreshold"]["filter"]
    assert 'jsonPayload.state="PIPELINE_STATE_FAILED"' in metric.filter


def test_the_page_says_what_was_not_proven() -> None:
    text = " ".join(_PAGE.read_text().split())
    assert "No part of this was run on Google's own services or on a Kubeflow cluster." in text
    assert not re.search(r"[$€]\s?\d|\d\s?(USD|cents)", text), "no prices: they change, and differ by region"
