import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from tunelane_components.deploy import trial
from tunelane_components.deploy.interface import Revision, SmokeTestFailed
from tunelane_components.deploy.local import LocalDeployer
from tunelane_components.deploy.smoke import ask_goldens
from tunelane_components.deploy.trial import running_server
from tunelane_serving.deployment import ActiveRevision, read_active, revision_path
from tunelane_serving.errors import ContractError, DigestMismatch, InputError
from tunelane_serving.package import package_digest, read_manifest, verify


def test_a_deployed_revision_is_whole_and_gets_no_traffic(
    deployer: LocalDeployer, deployment: Path, revision: Revision, package: Path
) -> None:
    deployer.deploy(revision, package)
    verify(revision_path(deployment, revision.digest), expected_digest=revision.digest)
    assert read_active(deployment) is None


def test_deploying_again_changes_nothing(
    deployer: LocalDeployer, deployment: Path, revision: Revision, package: Path
) -> None:
    deployer.deploy(revision, package)
    before = {path: path.stat().st_ino for path in deployment.rglob("*")}
    deployer.deploy(revision, package)
    assert {path: path.stat().st_ino for path in deployment.rglob("*")} == before


def test_a_damaged_revision_is_replaced_by_deploying_again(
    deployer: LocalDeployer, deployment: Path, revision: Revision, package: Path, damage: Callable[[Revision], None]
) -> None:
    deployer.deploy(revision, package)
    damage(revision)
    deployer.deploy(revision, package)
    verify(revision_path(deployment, revision.digest), expected_digest=revision.digest)


def test_another_package_than_the_revision_s_is_not_deployed(
    deployer: LocalDeployer, deployment: Path, revision: Revision, challenger: Path
) -> None:
    with pytest.raises(DigestMismatch):
        deployer.deploy(revision, challenger)
    assert not list(deployment.glob("revisions/*"))


@pytest.mark.parametrize("model", ["..", "a/b", ""])
def test_a_model_s_name_cannot_leave_the_directory(deployer: LocalDeployer, package: Path, model: str) -> None:
    with pytest.raises(InputError, match="cannot be used"):
        deployer.deploy(Revision(model, "1", package_digest(package)), package)


def test_the_real_server_answers_the_golden_rows_and_is_gone_afterwards(
    deployer: LocalDeployer, revision: Revision, package: Path
) -> None:
    goldens = read_manifest(package).goldens
    deployer.deploy(revision, package)
    before = _children()
    report = deployer.smoke(revision)
    assert report.requests == len(goldens)
    assert (report.text, report.label) == (goldens[len(goldens) // 2].text, "negative")
    assert report.confidence == pytest.approx(max(goldens[len(goldens) // 2].scores["fp32"]), abs=1e-5)
    assert 0 < report.max_latency_ms < 30_000
    assert _children() <= before


def _children() -> set[str]:
    """Give the processes that this one started and that are not gone; other tests' fixtures have some, too."""
    children: set[str] = set()
    for thread in Path("/proc/self/task").iterdir():
        # A thread of such a fixture may end meanwhile.
        with contextlib.suppress(OSError):
            children.update((thread / "children").read_text().split())
    return children


def test_a_proxy_in_the_environment_is_not_asked(
    deployer: LocalDeployer, revision: Revision, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("all_proxy", "http://127.0.0.1:9")
    deployer.deploy(revision, package)
    deployer.smoke(revision)


def test_a_revision_that_the_server_refuses_fails_with_the_server_s_own_words(
    deployer: LocalDeployer, revision: Revision, package: Path, damage: Callable[[Revision], None]
) -> None:
    deployer.deploy(revision, package)
    damage(revision)
    with pytest.raises(SmokeTestFailed) as caught:
        deployer.smoke(revision)
    message = str(caught.value)
    assert message.startswith("The server did not start. The server said: tunelane-serve: ")
    assert "model.onnx" in message and "the manifest says" in message
    assert "\n" not in message


def test_a_revision_that_is_not_there_fails(deployer: LocalDeployer, revision: Revision) -> None:
    with pytest.raises(SmokeTestFailed, match="The deployed revision is broken"):
        deployer.smoke(revision)


def test_a_server_that_answers_wrongly_fails(package: Path) -> None:
    manifest, digest = read_manifest(package), package_digest(package)
    first = manifest.goldens[0]
    wrong = msgspec.structs.replace(first, scores={"fp32": tuple(reversed(first.scores["fp32"]))})
    deadline_s = time.monotonic() + 300
    with Path(os.devnull).open("wb") as log, running_server(package, digest, log.fileno(), deadline_s) as url:
        assert ask_goldens(url, manifest, digest, deadline_s=deadline_s).requests == len(manifest.goldens)
        for golden, problem in ((wrong, "negative has"), (msgspec.structs.replace(first, text=" "), "422")):
            told = msgspec.structs.replace(manifest, goldens=(*manifest.goldens[1:], golden))
            with pytest.raises(SmokeTestFailed, match=problem):
                ask_goldens(url, told, digest, deadline_s=deadline_s)
        with pytest.raises(SmokeTestFailed, match=f"has {digest[:12]} ready, expected 000000000000"):
            ask_goldens(url, manifest, "0" * 64, deadline_s=deadline_s)
        with pytest.raises(SmokeTestFailed, match="no golden rows"):
            ask_goldens(url, msgspec.structs.replace(manifest, goldens=()), digest, deadline_s=deadline_s)
    with pytest.raises(SmokeTestFailed, match="GET /health got no answer"):
        ask_goldens(url, manifest, digest, deadline_s=deadline_s)


def test_a_server_that_never_gets_ready_fails_in_time_and_is_gone(
    root: Path,
    revision: Revision,
    package: Path,
    replace_server: Callable[[str], Path],
    is_alive: Callable[[Path], bool],
) -> None:
    pid = replace_server("print('loading, wait', file=sys.stderr, flush=True); ready(); time.sleep(600)")
    deployer = LocalDeployer(root, smoke_timeout_s=0.3)
    deployer.deploy(revision, package)
    with pytest.raises(SmokeTestFailed, match=r"^The server was not ready in time\. The server said: loading, wait$"):
        deployer.smoke(revision)
    assert not is_alive(pid)


def test_a_server_that_listens_and_never_answers_fails_in_time_and_is_gone_even_if_it_ignores_sigterm(
    root: Path,
    revision: Revision,
    package: Path,
    replace_server: Callable[[str], Path],
    is_alive: Callable[[Path], bool],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trial, "_STOP_TIMEOUT_S", 0.3)
    pid = replace_server(
        "import socket; signal.signal(signal.SIGTERM, signal.SIG_IGN); s = socket.create_server(('127.0.0.1', 0))\n"
        "print(f'listening on http://127.0.0.1:{s.getsockname()[1]}', flush=True); ready(); time.sleep(600)"
    )
    deployer = LocalDeployer(root, smoke_timeout_s=0.3)
    deployer.deploy(revision, package)
    with pytest.raises(SmokeTestFailed, match="GET /health got no answer: timed out"):
        deployer.smoke(revision)
    assert not is_alive(pid)


def test_the_server_stays_in_the_process_group_of_who_started_it(
    deployer: LocalDeployer, revision: Revision, package: Path, replace_server: Callable[[str], Path]
) -> None:
    replace_server("sys.exit(f'group {os.getpgrp()}')")
    deployer.deploy(revision, package)
    with pytest.raises(SmokeTestFailed, match=f"group {os.getpgrp()}$"):
        deployer.smoke(revision)


def test_a_confirmed_revision_serves_and_the_one_before_is_kept(
    deployer: LocalDeployer, deployment: Path, revision: Revision, package: Path, challenger: Path
) -> None:
    second = Revision("sentiment", "2", package_digest(challenger))
    for each, source in ((revision, package), (second, challenger)):
        deployer.deploy(each, source)
        deployer.confirm(each)
        assert read_active(deployment) == ActiveRevision("sentiment", each.model_version, each.digest)
    verify(revision_path(deployment, revision.digest), expected_digest=revision.digest)


def test_a_revision_that_is_damaged_or_missing_is_not_confirmed(
    deployer: LocalDeployer,
    deployment: Path,
    revision: Revision,
    package: Path,
    challenger: Path,
    damage: Callable[[Revision], None],
) -> None:
    deployer.deploy(revision, package)
    deployer.confirm(revision)
    second = Revision("sentiment", "2", package_digest(challenger))
    with pytest.raises(ContractError, match="not a model package"):
        deployer.confirm(second)
    deployer.deploy(second, challenger)
    damage(second)
    with pytest.raises(DigestMismatch):
        deployer.confirm(second)
    active = read_active(deployment)
    assert active is not None and active.digest == revision.digest


def test_rolling_back_takes_an_unconfirmed_revision_away_and_never_the_active_one(
    deployer: LocalDeployer, deployment: Path, revision: Revision, package: Path, challenger: Path
) -> None:
    deployer.deploy(revision, package)
    deployer.confirm(revision)
    second = Revision("sentiment", "2", package_digest(challenger))
    deployer.deploy(second, challenger)
    for each in (second, second, revision):
        deployer.roll_back(each)
    assert not revision_path(deployment, second.digest).exists()
    verify(revision_path(deployment, revision.digest), expected_digest=revision.digest)
    verify(challenger)
