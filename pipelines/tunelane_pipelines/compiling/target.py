"""What differs by target, applied to a pipeline's compiled form (its IR). The pipelines themselves know no target."""

from collections.abc import Mapping
from typing import Any

from tunelane_pipelines.compiling.custom_job import run_as_custom_job
from tunelane_pipelines.compiling.images import is_pinned
from tunelane_pipelines.compiling.ir import component_name, container_tasks, copied, deployment_of, set_deployment
from tunelane_pipelines.compiling.resources import VERTEX, Machine, Needs, Training, resources_of

_KILL_AFTER_S = 30
_MAX_BACKOFF_S = 3600


def for_target(spec: Any, target: str, images: Mapping[str, str], training: Training) -> Any:
    """Give a copy of a pipeline's IR with the images, machines, timeouts, retries and caching of a target.

    Machines and retries are written as kfp's own task methods write them (set_cpu_limit, set_accelerator_type,
    set_retry): each resource once as a number or an enumeration, which Vertex and older Kubeflow back ends read, and
    once as text, which newer Kubeflow back ends read first.

    The IR has no timeout, and the extension of Kubeflow that has one makes a second YAML document, which Vertex's
    client refuses. So `timeout` of the image's coreutils is the head of the command, and a task that takes too long
    ends with exit code 124. A CustomJob has a timeout of its own instead.

    Args:
        spec: a `PipelineSpec`; it is left as it is.
        target: one of `TARGETS`.
        images: image references by logical name; an image without one keeps its name.
        training: what users chose for training.

    Raises:
        InputError: what they chose is not to be had together.
    """
    changed = _with_images(spec, images)
    deployment = deployment_of(changed)
    resources_by_label = {
        label: resources_of(component_name(executor), target, training)
        for label, executor in deployment.executors.items()
    }
    for task, label in container_tasks(changed):
        needs = resources_by_label[label].needs
        _set_retry(task, needs)
        image = deployment.executors[label].container.image
        task.caching_options.enable_cache = _may_be_cached(needs, task, target, image)
    component_by_label = {component.executor_label: component for component in changed.components.values()}
    for label, resources in resources_by_label.items():
        executor = deployment.executors[label]
        if resources.custom_job_type:
            run_as_custom_job(component_by_label[label], executor, resources, training, images)
        else:
            _set_machine(executor.container.resources, resources.machine)
            _set_timeout(executor.container, resources.needs)
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


def _may_be_cached(needs: Needs, task: Any, target: str, image: str) -> bool:
    """Whether a back end may give an earlier result.

    The code behind a tag can change and the key would not see it: only images by digest. Nothing on Kubeflow: its key
    has the artifacts that go in by name, without URI or digest, and whether a name is unique is up to the version of
    the back end (kubeflow/pipelines, cacheutils/cache.go and pull request 12751). Vertex knows them by resource.
    """
    is_function = needs.cacheable and (not needs.cached_by or needs.cached_by in task.inputs.parameters)
    return is_function and is_pinned(image) and target == VERTEX


def _set_machine(resources: Any, machine: Machine) -> None:
    resources.cpu_limit = float(machine.cpu)
    resources.resource_cpu_limit = machine.cpu
    resources.memory_limit = float(machine.memory.removesuffix("G"))
    resources.resource_memory_limit = machine.memory
    if machine.accelerator:
        resources.accelerator.type = machine.accelerator
        resources.accelerator.resource_type = machine.accelerator
        resources.accelerator.count = machine.accelerator_count
        resources.accelerator.resource_count = str(machine.accelerator_count)


def _set_timeout(container: Any, needs: Needs) -> None:
    head = ["timeout", f"--kill-after={_KILL_AFTER_S}", str(needs.timeout_s)]
    container.command[:] = [*head, *container.command]


def _set_retry(task: Any, needs: Needs) -> None:
    if needs.retries:
        task.retry_policy.max_retry_count = needs.retries
        task.retry_policy.backoff_duration.seconds = needs.backoff_s
        task.retry_policy.backoff_factor = 2.0
        task.retry_policy.backoff_max_duration.seconds = _MAX_BACKOFF_S
