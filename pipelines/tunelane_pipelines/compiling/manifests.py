"""What tasks need of Kubernetes, as the second document of a file for Kubeflow; Vertex's client refuses such a file.

The fields are written by kfp-kubernetes: https://kfp-kubernetes.readthedocs.io/
"""

import re
from typing import Any

from tunelane_pipelines.compiling.resources import NEEDS_BY_COMPONENT
from tunelane_pipelines.settings.sections import KubeflowSettings
from tunelane_serving.errors import InputError

# A pod has this much more time than its component: to pull the image and to move artifacts.
_AROUND_S = 30 * 60

# https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/
_TAINT = re.compile(r"(?P<key>[^=:]+)(=(?P<value>[^=:]*))?:(?P<effect>NoSchedule|PreferNoSchedule|NoExecute)")
_SECRET = re.compile(r"(?P<name>[^/]+)/(?P<key>[^/]+)")


class _Task:
    """What of a task kfp-kubernetes' functions write to."""

    def __init__(self) -> None:
        self.platform_config: dict[str, Any] = {}


def kubernetes_manifest(spec: Any, settings: KubeflowSettings) -> dict[str, Any]:
    """Give the platform spec that belongs to a compiled pipeline, as JSON.

    Tasks with an accelerator get the nodes and taints of the settings; every task gets the pull secrets, the
    environment from Secrets, the volumes, and a deadline for its pod. The deadline ends what the time limit in the
    command cannot: a pod whose image cannot be pulled, which else would stay for ever
    (https://github.com/kubeflow/pipelines/issues/10964).

    Args:
        spec: a `PipelineSpec` for Kubeflow.
        settings: the installation's.

    Raises:
        InputError: a setting is not of its form.
    """
    from tunelane_pipelines.compiling.ir import component_name, deployment_of

    executors = {
        label: _config(executor, NEEDS_BY_COMPONENT[component_name(executor)].timeout_s, settings)
        for label, executor in sorted(deployment_of(spec).executors.items())
    }
    return {"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors}}}}


def _config(executor: Any, timeout_s: int, settings: KubeflowSettings) -> dict[str, Any]:
    from kfp import kubernetes

    task = _Task()
    kubernetes.set_timeout(task, timeout_s + _AROUND_S)
    if executor.container.resources.accelerator.count:
        for key, value in settings.gpu_node_selector.items():
            kubernetes.add_node_selector(task, key, value)
        for taint in settings.gpu_tolerations:
            kubernetes.add_toleration(task, **read_toleration(taint))
    if settings.image_pull_secrets:
        kubernetes.set_image_pull_secrets(task, list(settings.image_pull_secrets))
    for variable, place in settings.secret_environment.items():
        secret = read_secret(place)
        kubernetes.use_secret_as_env(task, secret["name"], {secret["key"]: variable})
    for path, claim in settings.volumes.items():
        kubernetes.mount_pvc(task, claim, path)
    return dict(task.platform_config["kubernetes"])


def read_toleration(taint: str) -> dict[str, str]:
    """Give the toleration of a taint as it is written in `gpu_tolerations`.

    Raises:
        InputError: it is not of its form.
    """
    parts = _matched(_TAINT, taint, "gpu_tolerations", "KEY:EFFECT or KEY=VALUE:EFFECT")
    if parts["value"] is None:
        return {"key": parts["key"], "operator": "Exists", "effect": parts["effect"]}
    return {"key": parts["key"], "operator": "Equal", "value": parts["value"], "effect": parts["effect"]}


def read_secret(place: str) -> dict[str, str]:
    """Give the name of a Secret and its key as they are written in `secret_environment`.

    Raises:
        InputError: they are not of their form.
    """
    return _matched(_SECRET, place, "secret_environment", "SECRET/KEY")


def _matched(form: re.Pattern[str], value: str, setting: str, words: str) -> dict[str, Any]:
    found = form.fullmatch(value)
    if found is None:
        raise InputError(f"kubeflow.{setting}: {value!r} is not of its form. Write it as {words}.")
    return found.groupdict()
