"""`tunelane doctor --target kubeflow` against a fake installation."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cloud.kubeflow.installation import FakeKubeflow
from tunelane_pipelines.doctor.check import Check
from tunelane_pipelines.doctor.checking import check_targets
from tunelane_pipelines.settings import Settings, load_settings
from tunelane_pipelines.settings.sections import KubeflowSettings

_TOKEN = "right"  # noqa: S105 - it opens nothing


@pytest.fixture
def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Check]]:
    from kfp import Client

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Client, "_LOCAL_KFP_CONTEXT", str(tmp_path / "context.json"))
    for name in ("KF_PIPELINES_ENDPOINT", "KF_PIPELINES_UI_ENDPOINT", "KF_PIPELINES_IAP_OAUTH2_CLIENT_ID"):
        monkeypatch.delenv(name, raising=False)

    def found(target: str = "kubeflow", **settings: Any) -> dict[str, Check]:
        kubeflow = KubeflowSettings(**settings)
        given = Settings().model_copy(update={"kubeflow": kubeflow})
        return {check.name: check for check in check_targets(given, target)}

    return found


def test_an_installation_that_answers_is_well_and_nothing_is_made(found: Callable[..., dict[str, Check]]) -> None:
    with FakeKubeflow(namespaces=("ann",), token=_TOKEN) as fake:
        checks = found(host=fake.host, namespace="ann", token=_TOKEN)
        assert {check.level for check in checks.values() if check.name != "kubeflow.token"} == {"ok"}
        assert checks["kubeflow API"].found == f"{fake.host}, with users"
        assert checks["experiment"].found == "Tunelane; the first run makes it"
        assert fake.experiments == {}
        assert checks["kubeflow.token"].level == "warning", "the fake has no TLS"
        assert _TOKEN not in str(checks).replace("experiment", "")


def test_a_wrong_token_says_what_to_renew(found: Callable[..., dict[str, Check]]) -> None:
    with FakeKubeflow(token=_TOKEN) as fake:
        checks = found(host=fake.host, token="stale")  # noqa: S106 - it opens nothing
    assert checks["kubeflow API"].level == "problem"
    assert "Renew kubeflow.token" in checks["kubeflow API"].advice
    assert "stale" not in str(checks)


def test_a_password_in_the_host_is_a_problem_and_is_not_shown(found: Callable[..., dict[str, Check]]) -> None:
    checks = found(host="http://ann:s3cret@127.0.0.1:1", token=_TOKEN)
    assert "Leave that out" in checks["kubeflow.host"].advice
    assert "s3cret" not in str(checks)


def test_a_host_that_does_not_answer_is_named(found: Callable[..., dict[str, Check]]) -> None:
    with FakeKubeflow() as fake:
        host = fake.host
    assert "Cannot connect to" in found(host=host)["kubeflow API"].advice


@pytest.mark.parametrize(
    ("namespaces", "namespace", "words"),
    [(("ann",), "", "Set kubeflow.namespace"), ((), "ann", "Leave kubeflow.namespace"), (("ann",), "bob", "role")],
)
def test_a_namespace_that_does_not_fit_is_a_problem(
    namespaces: tuple[str, ...], namespace: str, words: str, found: Callable[..., dict[str, Check]]
) -> None:
    with FakeKubeflow(namespaces=namespaces) as fake:
        check = found(host=fake.host, namespace=namespace)["namespace"]
    assert check.level == "problem"
    assert words in check.advice


@pytest.mark.parametrize(
    ("settings", "name", "words"),
    [
        ({}, "kubeflow.host", "Set kubeflow.host"),
        ({"host": "kubeflow.example"}, "kubeflow.host", "start it with https://"),
        ({"host": "https://kubeflow.example", "ca_file": Path("nowhere.pem")}, "kubeflow.host", "Cannot read"),
        (
            {"host": "https://kubeflow.example", "time_zone": "Europe/Berln"},
            "kubeflow.time_zone",
            "Did you mean 'Europe/Berlin'?",
        ),
        (
            {"host": "https://kubeflow.example", "time_zone": "Mars"},
            "kubeflow.time_zone",
            "No time zone 'Mars'. Set an IANA name",
        ),
        ({"host": "https://kubeflow.example", "time_zone": ""}, "kubeflow.time_zone", "Set an IANA name"),
        (
            {"host": "https://kubeflow.example", "gpu_tolerations": ("gpu",)},
            "kubeflow.gpu_tolerations",
            "'gpu' is not of its form. Write it as KEY:EFFECT",
        ),
        (
            {"host": "https://kubeflow.example", "secret_environment": {"HF_TOKEN": "hub"}},
            "kubeflow.secret_environment",
            "'hub' is not of its form. Write it as SECRET/KEY",
        ),
    ],
)
def test_a_setting_of_the_wrong_form_is_a_problem_before_anybody_is_asked(
    settings: dict[str, Any], name: str, words: str, found: Callable[..., dict[str, Check]]
) -> None:
    checks = found(**settings)
    assert list(checks) == [name]
    assert checks[name].level == "problem"
    assert words in checks[name].advice
    assert len(checks[name].advice) < 120, "one line"


def test_without_settings_and_without_a_target_nothing_is_said(found: Callable[..., dict[str, Check]]) -> None:
    assert found(target="") == {}
    assert load_settings().kubeflow == KubeflowSettings()
