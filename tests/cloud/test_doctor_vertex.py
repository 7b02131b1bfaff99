"""`tunelane doctor --target vertex`: each check against a service where that very thing is wrong."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cloud.bench.bench import Bench
from tunelane_components.images import EXTRA_BY_IMAGE
from tunelane_pipelines.cli import main as cli
from tunelane_pipelines.doctor.check import Check
from tunelane_pipelines.doctor.checking import check_targets
from tunelane_pipelines.doctor.images import short_name
from tunelane_pipelines.settings import Settings, load_settings
from tunelane_pipelines.settings.sections import DataSettings

Found = Callable[..., dict[str, Check]]

_GPUS = "aiplatform.googleapis.com/custom_model_training_nvidia_l4_gpus"


@pytest.fixture
def settings(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("TUNELANE_")]:
        monkeypatch.delenv(name)
    gcp = {
        "project": bench.project,
        "region": bench.region,
        "pipeline_root": f"gs://{bench.bucket}/runs",
        "service_account": bench.service_account,
        "template_repository": bench.repository,
    }
    bench.quotas.limits[_GPUS, bench.region] = 1
    return load_settings(gcp=gcp)


@pytest.fixture
def found(settings: Settings) -> Found:
    """Check, with some settings changed; gives the checks by what was looked at."""

    def found(**changed: str) -> dict[str, Check]:
        gcp = settings.gcp.model_copy(update=changed)
        checks = check_targets(settings.model_copy(update={"gcp": gcp}), "vertex")
        return {f"{check.name} {check.found}" if "is missing" in check.found else check.name: check for check in checks}

    return found


def test_where_all_is_well_every_check_says_so(bench: Bench, found: Found) -> None:
    checks = found()
    checks_and_levels = {name: check.level for name, check in checks.items()}
    assert checks_and_levels.pop("bucket permissions") == "info", "tasks run as another account, which alone can ask"
    assert checks_and_levels == dict.fromkeys(
        (
            "gcp.encryption_key", "credentials", "pipelines API", "schedules API", "logging API", "bucket", "templates",
            "permissions", "training machine",
        ),
        "ok",
    )  # fmt: skip
    assert checks["credentials"].found == "tester@tunelane-test.iam.gserviceaccount.com"
    assert not any(call.method.startswith(("Create", "Delete", "Update")) for call in bench.calls), "it only looks"


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("project", "", "No gcp.project. Set TUNELANE_GCP__PROJECT"),
        ("project", "My Project", "Write it like my-project"),
        ("region", "Amsterdam", "Write it like europe-west4"),
        ("pipeline_root", "my-bucket", "Write it like gs://my-bucket/runs"),
        ("service_account", "runner", "Write it like runner@"),
        ("network", "default", "Write it like projects/123456789012/global/networks"),
        ("encryption_key", "my-key", "Write it like projects/P/locations"),
        ("template_repository", "docker.io/me", "Write it like europe-west4-kfp.pkg.dev"),
        ("labels", {"Team": "x"}, "The label 'Team' cannot be used"),
    ],
)
def test_a_setting_of_the_wrong_form_is_a_problem_before_anybody_is_asked(
    setting: str, value: str, words: str, bench: Bench, found: Found
) -> None:
    checks = found(**{setting: value})
    assert [name for name, check in checks.items() if check.level == "problem"] == [f"gcp.{setting}"]
    assert words in checks[f"gcp.{setting}"].advice
    assert bench.calls == []


def test_every_wrong_setting_is_named_at_once(found: Found) -> None:
    checks = found(project="", region="", pipeline_root="")
    assert [name for name, check in checks.items() if check.level == "problem"] == [
        "gcp.project", "gcp.region", "gcp.pipeline_root"
    ]  # fmt: skip


def test_without_a_service_account_tasks_may_do_too_much(found: Found) -> None:
    assert found(service_account="")["gcp.service_account"].level == "warning"


def test_a_key_of_another_region_is_a_problem(found: Found) -> None:
    check = found(encryption_key="projects/p/locations/us-central1/keyRings/r/cryptoKeys/k")["gcp.encryption_key"]
    assert (check.level, "lies in us-central1" in check.advice) == ("problem", True)


@pytest.mark.parametrize(
    ("method", "name", "api"),
    [
        ("ListPipelineJobs", "pipelines API", "aiplatform.googleapis.com"),
        ("ListSchedules", "schedules API", "aiplatform.googleapis.com"),
        ("ListLogEntries", "logging API", "logging.googleapis.com"),
        ("registry.get", "templates", "artifactregistry.googleapis.com"),
    ],
)
def test_an_api_that_is_turned_off_comes_with_the_command_that_turns_it_on(
    method: str, name: str, api: str, bench: Bench, found: Found
) -> None:
    bench.faults.add(method, "disabled")
    checks = found()
    assert [other for other, check in checks.items() if check.level not in ("ok", "info")] == [name]
    assert f"gcloud services enable {api} --project=tunelane-test" in checks[name].advice
    assert bench.faults.unused() == []


@pytest.mark.parametrize("kind", ["503", "429", "dropped", "denied"])
def test_a_service_that_says_no_keeps_no_other_check_back(kind: str, bench: Bench, found: Found) -> None:
    bench.faults.add("ListPipelineJobs", kind)  # type: ignore[arg-type]
    checks = found()
    assert [name for name, check in checks.items() if check.level not in ("ok", "info")] == ["pipelines API"]
    assert "Cannot list the runs" in checks["pipelines API"].advice
    assert len(bench.called("ListPipelineJobs")) == 1


def test_a_bucket_elsewhere_or_missing_is_a_problem(bench: Bench, found: Found) -> None:
    bench.storage.add_bucket("far", "US-CENTRAL1")
    check = found(pipeline_root="gs://far/runs")["bucket"]
    assert (check.level, "lies in us-central1" in check.advice) == ("problem", True)
    check = found(pipeline_root="gs://nowhere/runs")["bucket"]
    assert "gcloud storage buckets create gs://nowhere" in check.advice


def test_a_missing_permission_is_named_with_the_role_that_has_it(bench: Bench, found: Found) -> None:
    bench.projects.missing_permissions.add("aiplatform.schedules.create")
    bench.storage.missing_permissions.add("storage.objects.create")
    as_task = "tester@tunelane-test.iam.gserviceaccount.com"
    assert found(service_account=as_task)["credentials"].found == as_task
    checks = found(service_account=as_task)
    problems = {name: check.advice for name, check in checks.items() if check.level == "problem"}
    assert set(problems) == {
        "permissions aiplatform.schedules.create is missing",
        "bucket permissions storage.objects.create is missing",
    }
    schedules, objects = sorted(problems.values(), key=lambda advice: "storage" in advice)
    assert "--role=roles/aiplatform.user" in schedules
    assert "--role=roles/storage.objectUser" in objects


def test_a_right_to_act_as_the_account_that_is_not_the_project_s_is_a_warning(bench: Bench, found: Found) -> None:
    bench.projects.missing_permissions.add("iam.serviceAccounts.actAs")
    check = found()["service account"]
    assert check.level == "warning"
    assert f"add-iam-policy-binding {bench.service_account}" in check.advice


def test_where_permissions_cannot_be_asked_for_that_is_only_a_warning(bench: Bench, found: Found) -> None:
    bench.faults.add("TestIamPermissions", "disabled")
    checks = found()
    assert [name for name, check in checks.items() if check.level not in ("ok", "info")] == ["permissions"]
    assert checks["permissions"].level == "warning"
    assert "gcloud services enable cloudresourcemanager.googleapis.com" in checks["permissions"].advice


@pytest.mark.parametrize("credentials", ["missing", "broken", "refused"])
def test_without_usable_credentials_nothing_else_is_asked(
    credentials: str, bench: Bench, found: Found, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = tmp_path / "key.json"
    if credentials == "broken":
        key.write_text("{}")
    if credentials == "refused":
        content = json.loads(Path(bench.environment["GOOGLE_APPLICATION_CREDENTIALS"]).read_text())
        key.write_text(json.dumps({**content, "client_email": "stranger@tunelane-test.iam.gserviceaccount.com"}))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key))
    checks = found()
    assert checks["credentials"].level == "problem"
    assert "gcloud auth application-default login" in checks["credentials"].advice
    assert list(checks)[-1] == "credentials"
    assert bench.calls == []


def test_the_command_ends_with_1_where_something_is_wrong(
    bench: Bench, settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("project", "region", "pipeline_root"):
        monkeypatch.setenv(f"TUNELANE_GCP__{name.upper()}", getattr(settings.gcp, name))
    Path("images.json").write_text(json.dumps({name: f"registry.example.org/{name}" for name in EXTRA_BY_IMAGE}))
    monkeypatch.setenv("TUNELANE_IMAGES", "images.json")
    monkeypatch.setattr(sys, "argv", ["tunelane", "doctor", "--target", "vertex", "--json"])
    bench.faults.add("ListLogEntries", "disabled")
    with pytest.raises(SystemExit) as caught:
        cli.main()
    checks = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert caught.value.code == 1
    assert [check["name"] for check in checks if check["level"] == "problem"] == ["logging API"]


_DIGEST = f"sha256:{'0' * 64}"


def _images(**changed: str) -> Path:
    """A file of images that are kept by Artifact Registry, by digest."""
    references = {
        name: f"europe-west4-docker.pkg.dev/tunelane-test/images/{short_name(name)}@{_DIGEST}"
        for name in EXTRA_BY_IMAGE
    }
    path = Path("images.json")
    path.write_text(json.dumps(references | {f"tunelane/{name}:python3.11": value for name, value in changed.items()}))
    return path


def test_an_image_that_the_registry_does_not_have_is_a_problem(bench: Bench, settings: Settings) -> None:
    kept = "https://europe-west4-docker.pkg.dev/tunelane-test/images"
    for name in ("pipelines", "server", "deep/trainer"):
        bench.registry.templates[kept, name, _DIGEST] = b""
    bench.registry.tags[kept, "pipelines", "v1"] = _DIGEST
    pipelines = "europe-west4-docker.pkg.dev/tunelane-test/images/pipelines:v1"
    path = _images(pipelines=pipelines, server="docker.io/me/server:1")
    checks = {check.name: check for check in check_targets(settings.model_copy(update={"images": path}), "vertex")}
    assert checks["image trainer"].level == "problem"
    assert "No image europe-west4-docker.pkg.dev/tunelane-test/images/trainer@sha256:" in checks["image trainer"].advice
    assert checks["image pipelines"].level == "ok"
    assert "image server" not in checks, "another registry is not asked"


def test_a_registry_that_may_not_be_read_from_here_is_a_warning(bench: Bench, settings: Settings) -> None:
    bench.faults.add("registry.get", "denied", skip=1)
    found = list(check_targets(settings.model_copy(update={"images": _images()}), "vertex"))
    levels = [check.level for check in found if check.name.startswith("image ")]
    assert levels == ["warning", "problem", "problem"]


@pytest.mark.parametrize(
    ("uri", "level"),
    [
        ("rows.csv", "ok"),
        ("folder", "ok"),
        ("folder/", "ok"),
        ("folder/*.csv", "ok"),
        ("", "ok"),
        ("rows", "problem"),
        ("fold", "problem"),
        ("other/*.csv", "problem"),
    ],
)
def test_data_in_a_bucket_is_looked_for(uri: str, level: str, bench: Bench, settings: Settings) -> None:
    for name in ("rows.csv", "folder/part.csv"):
        bench.storage.write(f"gs://{bench.bucket}/{name}", b"text,label\n")
    data = DataSettings(uri=f"gs://{bench.bucket}/{uri}")
    checks = {check.name: check for check in check_targets(settings.model_copy(update={"data": data}), "vertex")}
    assert checks["data.uri"].level == level
    assert level == "ok" or f"There is nothing at gs://{bench.bucket}/{uri}" in checks["data.uri"].advice


@pytest.mark.parametrize("name", ["registry_uri", "deployment_uri", "data.upload_root", "data.uri"])
def test_a_bucket_of_another_region_is_a_problem_unless_it_is_allowed(
    name: str, bench: Bench, settings: Settings
) -> None:
    bench.storage.add_bucket("far", "US-CENTRAL1")
    bench.storage.write("gs://far/rows.csv", b"text,label\n")
    uri = "gs://far/rows.csv"
    section, _, field = name.rpartition(".")
    update = {"data": DataSettings(**{field: uri})} if section else {field: uri}
    changed = settings.model_copy(update=update)
    check = {check.name: check for check in check_targets(changed, "vertex")}[name]
    assert (check.level, "lies in us-central1" in check.advice) == ("problem", True)
    allowed = settings.gcp.model_copy(update={"allow_other_regions": True})
    changed = changed.model_copy(update={"gcp": allowed})
    assert {check.name: check.level for check in check_targets(changed, "vertex")}[name] == "ok"


def test_a_registry_in_a_bucket_is_asked_once_google_is_reached(
    bench: Bench, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = settings.model_copy(update={"registry_uri": f"gs://{bench.bucket}/registry"})
    registry = {check.name: check for check in check_targets(changed, "vertex")}["registry"]
    assert (registry.level, registry.found) == ("info", "no models yet")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "nowhere.json")
    assert "registry" not in {check.name for check in check_targets(changed, "vertex")}


def test_data_that_may_not_be_seen_from_here_is_a_warning(bench: Bench, settings: Settings) -> None:
    bench.faults.add("storage.objects.list", "denied")
    data = DataSettings(uri=f"gs://{bench.bucket}/rows.csv")
    checks = {check.name: check for check in check_targets(settings.model_copy(update={"data": data}), "vertex")}
    assert checks["data.uri"].level == "warning"
    assert "--role=roles/storage.objectViewer" in checks["data.uri"].advice


@pytest.mark.parametrize(
    ("content", "level"), [(b"labels: [a, b]", "ok"), (b"labels: [a, a]", "problem"), (b"{", "problem")]
)
def test_a_taxonomy_in_a_bucket_is_read(content: bytes, level: str, bench: Bench, settings: Settings) -> None:
    uri = f"gs://{bench.bucket}/taxonomy.yaml"
    bench.storage.write(uri, content)
    data = DataSettings(taxonomy=uri)
    checks = {check.name: check for check in check_targets(settings.model_copy(update={"data": data}), "vertex")}
    assert checks["data.taxonomy"].level == level


@pytest.mark.parametrize(
    ("limit", "gcp", "gpu", "level"),
    [
        (1, {}, "l4", "ok"),
        (-1, {"training_replicas": 8}, "l4", "ok"),
        (0, {}, "l4", "problem"),
        (1, {"training_replicas": 2}, "l4", "problem"),
        (1, {"spot": True}, "l4", "problem"),
        (1, {"region": "us-central1"}, "l4", "problem"),
        (1, {}, "a100", "problem"),
        (0, {}, "none", "ok"),
    ],
)
def test_training_needs_a_quota_of_its_gpus_in_the_region(
    limit: int, gcp: dict[str, object], gpu: str, level: str, bench: Bench, settings: Settings
) -> None:
    bench.quotas.limits[_GPUS, bench.region] = limit
    changed = settings.model_copy(update={"gcp": settings.gcp.model_copy(update=gcp), "gpu": gpu})
    check = {check.name: check for check in check_targets(changed, "vertex")}["training machine"]
    assert check.level == level
    assert level == "ok" or "Ask for more: https://console.cloud.google.com/iam-admin/quotas" in check.advice


def test_a_disk_that_the_machine_does_not_boot_from_keeps_no_other_check_back(found: Found) -> None:
    checks = found(boot_disk_type="pd-standard")
    assert "training machine" not in checks, "the settings' own check names it"
    assert {check.level for check in checks.values()} == {"ok", "info"}


def test_without_a_target_only_the_form_is_looked_at(bench: Bench, settings: Settings) -> None:
    assert {check.name for check in check_targets(settings)} == {"gcp.encryption_key"}
    assert list(check_targets(load_settings())) == []
    assert bench.calls == []


def test_another_target_is_named_with_those_that_there_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["tunelane", "doctor", "--target", "vertx"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2
    assert "Did you mean 'vertex'?" in capsys.readouterr().err
