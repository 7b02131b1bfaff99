"""Kubeflow Pipelines: whether the settings are of their form, and whether the installation answers and knows us."""

from collections.abc import Iterator
from zoneinfo import available_timezones

from tunelane_pipelines.doctor.check import Check
from tunelane_pipelines.nearest import no_such_zone
from tunelane_pipelines.settings.sections import KubeflowSettings
from tunelane_serving.errors import TunelaneError


def check_kubeflow_forms(settings: KubeflowSettings) -> Iterator[Check]:
    """Whether the host, the files and the time zone can be used; asks nobody."""
    from tunelane_pipelines.targets.kubeflow.client import Api

    try:
        Api(settings)
    except TunelaneError as error:
        yield Check("kubeflow.host", "problem", settings.host or "none", str(error))
    if settings.time_zone not in available_timezones():
        advice = f"{no_such_zone(settings.time_zone)} Set an IANA name, for instance Europe/Berlin."
        yield Check("kubeflow.time_zone", "problem", settings.time_zone or "none", advice)
    if settings.host.startswith("http://") and (settings.token.get_secret_value() or settings.token_file):
        yield Check(
            "kubeflow.token",
            "warning",
            f"goes to {settings.host} unencrypted",
            "Use https:// unless the host is a port-forward of this machine.",
        )


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
