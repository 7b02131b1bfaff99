"""Kubeflow Pipelines: whether the settings are of their form, and whether the installation answers and knows us."""

from collections.abc import Callable, Iterable, Iterator
from zoneinfo import available_timezones

from tunelane_pipelines.compiling.manifests import read_secret, read_toleration
from tunelane_pipelines.doctor.check import Check
from tunelane_pipelines.nearest import no_such_zone
from tunelane_pipelines.runs.masking import mask
from tunelane_pipelines.settings.sections import KubeflowSettings
from tunelane_serving.errors import InputError, TunelaneError


def check_kubeflow_forms(settings: KubeflowSettings) -> Iterator[Check]:
    """Whether the host, the files, the time zone and what tasks are given can be used; asks nobody."""
    from tunelane_pipelines.targets.kubeflow.client import Api

    host = mask(settings.host)
    try:
        Api(settings)
    except TunelaneError as error:
        yield Check("kubeflow.host", "problem", host or "none", str(error))
    if settings.time_zone not in available_timezones():
        advice = f"{no_such_zone(settings.time_zone)} Set an IANA name, for instance Europe/Berlin."
        yield Check("kubeflow.time_zone", "problem", settings.time_zone or "none", advice)
    yield from _check_read("gpu_tolerations", settings.gpu_tolerations, read_toleration)
    yield from _check_read("secret_environment", settings.secret_environment.values(), read_secret)
    if settings.host.startswith("http://") and (settings.token.get_secret_value() or settings.token_file):
        yield Check(
            "kubeflow.token",
            "warning",
            f"goes to {host} unencrypted",
            "Use https:// unless the host is a port-forward of this machine.",
        )


def _check_read(name: str, values: Iterable[str], read: Callable[[str], object]) -> Iterator[Check]:
    for value in values:
        try:
            read(value)
        except InputError as error:
            yield Check(f"kubeflow.{name}", "problem", value, str(error))


def check_kubeflow(settings: KubeflowSettings) -> Iterator[Check]:
    """Whether the installation answers, has the users that the settings expect, and takes the token."""
    from tunelane_pipelines.targets.kubeflow.client import Api
    from tunelane_pipelines.targets.kubeflow.runs import find_experiment

    api = Api(settings)
    try:
        has_users = bool(api.call("healthz", "get_healthz").multi_user)
    except TunelaneError as error:
        yield Check("kubeflow API", "problem", settings.host, str(error))
        return
    yield Check("kubeflow API", "ok", f"{api.host}, {'with' if has_users else 'without'} users")
    if has_users != bool(settings.namespace):
        advice = "Set kubeflow.namespace to yours." if has_users else "Leave kubeflow.namespace empty."
        yield Check("namespace", "problem", settings.namespace or "none", advice)
        return
    place = settings.namespace or "the installation's own"
    try:
        found = find_experiment(api, settings.experiment, settings.namespace)
    except TunelaneError as error:
        yield Check("namespace", "problem", place, str(error))
        return
    yield Check("namespace", "ok", place)
    yield Check("experiment", "ok", settings.experiment if found else f"{settings.experiment}; the first run makes it")
