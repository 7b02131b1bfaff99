"""Secrets read inside a task, from a fake Secret Manager, by the client that a task has."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cloud.bench.bench import Bench
from tunelane_components.registry.open import open_registry
from tunelane_components.secrets import is_secret_version, read_secret, revealed
from tunelane_serving.errors import InputError, TunelaneError

_SECRET = "projects/tunelane-test/secrets/registry/versions"  # noqa: S105 - a name


def test_a_version_gives_its_text_and_a_value_that_names_none_is_as_it_was(bench: Bench) -> None:
    bench.secrets.versions["registry"] = [b"first", "zweite für uns\n".encode()]
    assert revealed(f"{_SECRET}/1") == "first"
    assert revealed(f"{_SECRET}/latest") == "zweite für uns"
    assert revealed("sqlite:////registry.db") == "sqlite:////registry.db"
    assert len(bench.called("AccessSecretVersion")) == 2


@pytest.mark.parametrize(
    ("value", "is_one"),
    [
        ("projects/p/secrets/s/versions/1", True),
        ("projects/123/secrets/a_b-C/versions/latest", True),
        ("projects/p/secrets/s/versions/stable", True),
        ("projects/p/secrets/s", False),
        ("projects/p/secrets/s/versions/1/../../x", False),
        ("projects/p/secrets/s/versions/1?alt=x", False),
        ("x projects/p/secrets/s/versions/1", False),
        ("", False),
    ],
)
def test_only_the_full_name_of_a_version_is_one(value: str, is_one: bool) -> None:
    assert is_secret_version(value) == is_one


def test_what_cannot_be_read_says_why(bench: Bench) -> None:
    bench.secrets.versions["registry"] = [None, b"\xff\xfe"]
    with pytest.raises(InputError, match=r"versions/1 cannot be read: .* DISABLED state. Name a version"):
        read_secret(f"{_SECRET}/1")
    with pytest.raises(InputError, match="is no text") as caught:
        read_secret(f"{_SECRET}/2")
    assert caught.value.__cause__ is None and "xff" not in str(caught.value)
    with pytest.raises(InputError, match=r"versions/9 cannot be read: .* not found"):
        read_secret(f"{_SECRET}/9")
    bench.faults.add("AccessSecretVersion", "denied")
    with pytest.raises(InputError, match=r"Grant the task's service account roles/secretmanager.secretAccessor"):
        read_secret(f"{_SECRET}/1")


def test_a_service_that_is_away_for_a_moment_is_asked_again(bench: Bench) -> None:
    bench.secrets.versions["registry"] = [b"it"]
    bench.faults.add("AccessSecretVersion", "503")
    bench.faults.add("AccessSecretVersion", "dropped")
    assert read_secret(f"{_SECRET}/1") == "it"
    assert bench.faults.unused() == []


def test_a_service_that_stays_away_is_a_failure_and_not_the_user_s(bench: Bench) -> None:
    bench.faults.add("AccessSecretVersion", "500", times=99)
    with pytest.raises(TunelaneError, match="Secret Manager does not give") as caught:
        read_secret(f"{_SECRET}/1")
    assert not isinstance(caught.value, InputError)


# A task waits for half a minute each time.
@pytest.mark.timeout(80, func_only=True)
@pytest.mark.usefixtures("silent_token")
def test_who_never_answers_is_not_waited_for_longer_than_there_is_patience() -> None:
    for _ in range(3):
        with pytest.raises(TunelaneError, match=r"Secret Manager does not answer for .*/versions/1 \(TransportError\)"):
            read_secret(f"{_SECRET}/1", patience_s=0.8)


def test_a_registry_opens_by_the_name_of_its_secret_and_no_message_has_the_secret(bench: Bench, tmp_path: Path) -> None:
    bench.secrets.versions["registry"] = [
        f"sqlite:///{tmp_path}/registry/registry.db\n".encode(), b"postgresql://ann:s3cret@db.example/registry",
        b"gs://s3cret/a//b", b"sqlite:////s3cret%/registry.db",
    ]  # fmt: skip
    assert open_registry(f"{_SECRET}/1").champion("tickets") is None
    for version in ("2", "3", "4"):
        with pytest.raises(InputError) as caught:
            open_registry(f"{_SECRET}/{version}")
        assert str(caught.value).startswith(f"Registry '{_SECRET}/{version}' is not supported. Set ")
        assert "s3cret" not in str(caught.value) and caught.value.__context__ is None


def test_a_task_s_own_process_reads_it_and_prints_only_the_name(bench: Bench) -> None:
    bench.secrets.versions["registry"] = [b"s3cret"]
    script = (
        f"from tunelane_components.secrets import revealed; assert revealed('{_SECRET}/1') == 's3cret'; print('read')"
    )
    finished = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, **bench.environment}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert (finished.stdout, finished.returncode) == ("read\n", 0), finished.stderr
    assert "s3cret" not in finished.stderr
