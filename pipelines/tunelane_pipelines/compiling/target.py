"""What differs by target, applied to a pipeline's compiled form (its IR). The pipelines themselves know no target."""

from collections.abc import Mapping
from typing import Any

from tunelane_pipelines.compiling.images import is_pinned
from tunelane_pipelines.compiling.ir import component_name, container_tasks, copied, deployment_of, set_deployment
from tunelane_pipelines.compiling.resources import NEEDS_BY_COMPONENT, VERTEX, Machine, Needs, machine_for

_KILL_AFTER_S = 30
_MAX_BACKOFF_S = 3600


def for_target(spec: Any, target: str, images: Mapping[str, str], gpu: str) -> Any:
    """Give a copy of a pipeline's IR with the images, machines, timeouts, retries and caching of a target.

    Machines and retries are written as kfp's own task methods write them (set_cpu_limit, set_accelerator_type,
    set_retry): each resource once as a number or an enumeration, which Vertex and older Kubeflow back ends read, and
    once as text, which newer Kubeflow back ends read first.

    The IR has no timeout, and the extension of Kubeflow that has one makes a second YAML document, which Vertex's
    client refuses. So `timeout` of the image's coreutils is the head of the command, and a task that takes too long
    ends with exit code 124.

    Args:
        spec: a `PipelineSpec`; it is left as it is.
        target: one of `TARGETS`.
        images: image references by logical name; an image without one keeps its name.
        gpu: one of `GPUS`, for the components that can use one.
    """
    changed = _with_images(spec, images)
    deployment = deployment_of(changed)
    for executor in deployment.executors.values():
        needs = NEEDS_BY_COMPONENT[component_name(executor)]
        _set_machine(executor.container.resources, machine_for(needs, target, gpu))
        head = ["timeout", f"--kill-after={_KILL_AFTER_S}", str(needs.timeout_s)]
        executor.container.command[:] = [*head, *executor.container.command]
    for task, label in container_tasks(changed):
        executor = deployment.executors[label]
        needs = NEEDS_BY_COMPONENT[component_name(executor)]
        _set_retry(task, needs)
        task.caching_options.enable_cache = _may_be_cached(needs, target, executor.container.image)
    set_deployment(changed, deployment)
    return changed


def for_component(spec: Any, images: Mapping[str, str]) -> Any:
    """Give a copy of one component's IR with the image replaced, and without the caching that kfp turns on by itself.

    Nothing else: the file runs on any machine, and a pipeline that loads it sets its own machine, tries and time.
    """
    changed = _with_images(spec, images)
    for task, _ in container_tasks(changed):
        task.caching_options.enable_cache = False
    return changed


def _with_images(spec: Any, images: Mapping[str, str]) -> Any:
    """Give a copy of an IR with its logical image names replaced; one that is not in `images` stays."""
    changed = copied(spec)
    deployment = deployment_of(changed)
    for executor in deployment.executors.values():
        executor.container.image = images.get(executor.container.image, executor.container.image)
    set_deployment(changed, deployment)
    return changed


def _may_be_cached(needs: Needs, target: str, image: str) -> bool:
    """Whether a back end may give an earlier result.

    The code behind a tag can change and the key would not see it: only images by digest. Nothing on Kubeflow: its key
    has the artifacts that go in by name, without URI or digest, and whether a name is unique is up to the version of
    the back end (kubeflow/pipelines, cacheutils/cache.go and pull request 12751). Vertex knows them by resource.
    """
    return needs.cacheable and is_pinned(image) and target == VERTEX


def _set_machine(resources: Any, machine: Machine) -> None:
    resources.cpu_limit = float(machine.cpu)
    resources.resource_cpu_limit = machine.cpu
    resources.memory_limit = float(machine.memory.removesuffix("G"))
    resources.resource_memory_limit = machine.memory
    if machine.accelerator:
        resources.accelerator.type = machine.accelerator
        resources.accelerator.resource_type = machine.accelerator
        resources.accelerator.count = 1
        resources.accelerator.resource_count = "1"


def _set_retry(task: Any, needs: Needs) -> None:
    if needs.retries:
        task.retry_policy.max_retry_count = needs.retries
        task.retry_policy.backoff_duration.seconds = needs.backoff_s
        task.retry_policy.backoff_factor = 2.0
        task.retry_policy.backoff_max_duration.seconds = _MAX_BACKOFF_S
