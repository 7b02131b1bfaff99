"""The target of a name, ready to be talked to."""

from tunelane_pipelines.compiling.resources import KUBEFLOW, TARGETS, VERTEX
from tunelane_pipelines.nearest import no_such
from tunelane_pipelines.settings import Settings
from tunelane_pipelines.targets.target import RemoteTarget
from tunelane_serving.errors import InputError


def open_target(name: str, settings: Settings) -> RemoteTarget:
    """Give the target called `name`. Nothing is talked to yet, and no client imported.

    Raises:
        InputError: there is no such target, or a setting that it needs is missing.
    """
    if name == VERTEX:
        from tunelane_pipelines.targets.vertex.target import VertexTarget

        return VertexTarget(settings.gcp)
    if name == KUBEFLOW:
        from tunelane_pipelines.targets.kubeflow.target import KubeflowTarget

        return KubeflowTarget(settings.kubeflow)
    raise InputError(no_such("target", name, TARGETS))
