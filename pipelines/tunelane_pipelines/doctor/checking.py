"""Which checks there are, and in which order."""

from collections.abc import Iterator
from pathlib import Path

from tunelane_pipelines.compiling.resources import KUBEFLOW, VERTEX
from tunelane_pipelines.doctor.check import Check
from tunelane_pipelines.doctor.configured import check_settings
from tunelane_pipelines.doctor.hardware import check_cores, check_disk, check_int8, check_memory
from tunelane_pipelines.doctor.images import check_images
from tunelane_pipelines.doctor.installed import check_extras, check_python, check_tools, check_torch
from tunelane_pipelines.doctor.kubeflow import check_kubeflow, check_kubeflow_forms
from tunelane_pipelines.doctor.lane import check_models, check_root, check_runs, check_samples, registry_lies_here
from tunelane_pipelines.doctor.places import check_places, check_reach
from tunelane_pipelines.doctor.training import check_bounds
from tunelane_pipelines.doctor.vertex import check_gcp_forms, check_vertex
from tunelane_pipelines.settings import Settings
from tunelane_pipelines.settings.sections import GcpSettings, KubeflowSettings


def all_checks(root: Path | None, profile: Path | None, target: str = "") -> Iterator[Check]:
    """Every check. Only where a target is named is anything asked that does not lie on this machine."""
    yield check_python()
    yield from check_extras()
    yield check_int8()
    yield check_cores()
    yield check_memory()
    yield from check_tools()
    yield from check_samples()
    settings, found = check_settings(root, profile)
    yield from found
    if settings is not None:
        yield from check_bounds(settings)
        yield from check_places(settings, target)
        if target:
            yield from check_reach(settings)
        yield from check_images(settings, target)
        yield check_root(settings.root)
        yield from check_disk(settings.root)
        yield check_runs(settings.root)
        # One elsewhere waits until it is known that Google is reached.
        if target != VERTEX or registry_lies_here(settings):
            yield from check_models(settings, is_asked=False)
        yield from check_targets(settings, target)
    # The slowest: it imports torch.
    yield check_torch()


def check_targets(settings: Settings, target: str = "") -> Iterator[Check]:
    """The form of what is set for each cluster; and of the named one whether it takes runs from here."""
    if target == VERTEX or settings.gcp != GcpSettings():
        forms = list(check_gcp_forms(settings.gcp))
        yield from forms
        if target == VERTEX and not _has_problem(forms):
            yield from check_vertex(settings)
    if target == KUBEFLOW or settings.kubeflow != KubeflowSettings():
        forms = list(check_kubeflow_forms(settings.kubeflow))
        yield from forms
        if target == KUBEFLOW and not _has_problem(forms):
            yield from check_kubeflow(settings.kubeflow)


def _has_problem(checks: list[Check]) -> bool:
    return any(check.level == "problem" for check in checks)
