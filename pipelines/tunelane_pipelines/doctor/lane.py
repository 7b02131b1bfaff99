"""What lies below the root: whether it can be used, and agrees with itself."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from tunelane_components.patience import PERSON_PATIENCE_S
from tunelane_components.registry.interface import RegisteredVersion
from tunelane_components.registry.open import open_registry
from tunelane_components.storage import local_path
from tunelane_pipelines.doctor.check import Check
from tunelane_pipelines.doctor.hardware import nearest_existing
from tunelane_pipelines.predicting.source import deployed_models
from tunelane_pipelines.runs.journal import Journal
from tunelane_pipelines.runs.masking import mask
from tunelane_pipelines.runs.record import LOCK
from tunelane_pipelines.samples import SAMPLES, is_fetched, sample_directory
from tunelane_pipelines.settings import LOCAL, Settings, local_deployment
from tunelane_serving.deployment import ACTIVE, ActiveRevision, read_active, revision_path
from tunelane_serving.errors import ContractError, TunelaneError
from tunelane_serving.files import locked_if_free
from tunelane_serving.package import verify

_MANGLED = "python3"
_HERE = "sqlite:"


def check_root(root: Path) -> Check:
    """Whether runs can be kept below the root; makes nothing that stays."""
    if _MANGLED in str(root):
        found = f'{root} has "{_MANGLED}" in its path, which kfp\'s local runner replaces'
        return Check("root usable", "problem", found, "Choose another with --root.")
    there = nearest_existing(root)
    try:
        root.exists()
    except OSError as error:
        return Check("root usable", "problem", f"{root}: {error.strerror}", "Choose another with --root.")
    try:
        with tempfile.TemporaryDirectory(dir=there, prefix=".tunelane-doctor."):
            pass
    except OSError as error:
        found = f"{there} cannot be written: {error.strerror}"
        return Check("root usable", "problem", found, "Choose another with --root, or set its permissions.")
    return Check("root usable", "ok", "can be written" if there == root else "not there yet; a run makes it")


def check_samples() -> Iterator[Check]:
    """Which samples are kept on this machine."""
    for name, sample in SAMPLES.items():
        if is_fetched(name):
            yield Check(f"sample {name}", "ok", f"fetched, at {sample_directory(name)}")
        else:
            yield Check(f"sample {name}", "info", f"not fetched ({sample.kind})", f"tunelane samples fetch {name}")


def check_runs(root: Path) -> Check:
    """Whether every run that is marked as running still has its command."""
    try:
        entries = Journal(root).entries()
    except TunelaneError as error:
        return Check("runs", "problem", "the journal cannot be read", str(error))
    dead = []
    for entry in entries:
        if entry.state == "running" and entry.target == "local":
            with locked_if_free(Path(entry.place) / LOCK) as is_free:
                if is_free or not Path(entry.place).exists():
                    dead.append(entry.run_id)
    if dead:
        found = f"marked as running, but the command is gone: {', '.join(dead)}"
        return Check("runs", "warning", found, "tunelane runs list marks them as interrupted.")
    return Check("runs", "ok", f"{len(entries):,} in the journal" if entries else "none yet")


def registry_lies_here(settings: Settings) -> bool:
    """Whether the registry is a file of this machine."""
    return settings.registry_uri.startswith(_HERE)


def check_models(settings: Settings, *, is_asked: bool) -> Iterator[Check]:
    """Whether the registry can be read, its champions' packages are whole, and they are what is deployed here.

    Args:
        settings: in force.
        is_asked: whether a registry that does not lie on this machine is asked, too.
    """
    if not is_asked and not registry_lies_here(settings):
        yield Check("registry", "info", "not on this machine, and not asked", "Pass --target vertex to have it asked.")
        return
    try:
        registry = open_registry(settings.registry_uri, patience_s=PERSON_PATIENCE_S)
        names = registry.names()
        champions = {
            name: next((version for version in registry.versions(name) if version.is_champion), None) for name in names
        }
    except TunelaneError as error:
        yield Check("registry", "problem", "cannot be read", mask(str(error)))
        return
    if not names:
        yield Check("registry", "info", "no models yet", "tunelane run train-classifier --set data=FILE")
    else:
        yield Check("registry", "ok", f"{len(names)} model{'s' if len(names) > 1 else ''}: {', '.join(names)}")
    for name, champion in champions.items():
        if champion is None:
            yield Check(f"model {name}", "info", "has no champion: no version of it was promoted")
        else:
            yield _check_package(champion)
    if settings.deployment_uri.startswith(LOCAL):
        yield from _check_deployments(settings, champions)


def _check_package(champion: RegisteredVersion) -> Check:
    name = f"model {champion.name}"
    if not champion.digest:
        found = f"version {champion.version} is champion, and was not registered by Tunelane"
        return Check(name, "problem", found, "Move the alias 'champion' to a version that was.")
    version = f"champion is version {champion.version}, {champion.digest[:12]}"
    package = local_path(champion.package)
    if package is None:
        return Check(name, "ok", f"{version}; its package lies at {champion.package}")
    try:
        verify(package, expected_digest=champion.digest)
    except ContractError as error:
        advice = "Copy the package back from where it was built (`tunelane models show` names the run), or run again."
        return Check(name, "problem", f"the champion's package is damaged: {error}", advice)
    return Check(name, "ok", f"{version}; its package is whole")


def _check_deployments(settings: Settings, champions: dict[str, RegisteredVersion | None]) -> Iterator[Check]:
    for model in sorted({*deployed_models(settings), *champions}):
        deployment = local_deployment(settings, model)
        champion = champions.get(model)
        try:
            active = read_active(deployment)
            if active is not None:
                verify(revision_path(deployment, active.digest), expected_digest=active.digest)
        except ContractError as error:
            advice = f"rm {deployment / ACTIVE}; then tunelane serve --model {model} brings the champion anew."
            yield Check(f"deployed {model}", "problem", f"cannot be served: {error}", advice)
            continue
        yield from _compare(model, active, champion)


def _compare(model: str, active: ActiveRevision | None, champion: RegisteredVersion | None) -> Iterator[Check]:
    """Is what serves the champion? The registry decides."""
    name, heal = f"deployed {model}", f"tunelane serve --model {model} brings the champion."
    if active is None:
        if champion is not None:
            yield Check(name, "problem", f"nothing; the champion is version {champion.version}", heal)
    elif champion is None:
        found = f"version {active.model_version} serves, and the registry has no champion"
        yield Check(name, "warning", found, "Is registry_uri the one that it came from?")
    elif active.digest != champion.digest:
        found = f"version {active.model_version} serves, and the champion is version {champion.version}"
        yield Check(name, "problem", found, heal)
    else:
        yield Check(name, "ok", f"the champion, version {active.model_version}")
