"""Tasks that launch a custom job: the launcher of google-cloud-pipeline-components, and the job that it asks for.

What the launcher reads: container/v1/custom_job and container/v1/gcp_launcher of google-cloud-pipeline-components,
https://github.com/kubeflow/pipelines/tree/master/components/google-cloud; it runs only on a service, so that here its
own code stands for it where it can. What Vertex AI puts in for placeholders: _placeholders.py there, and
https://www.kubeflow.org/docs/components/pipelines/reference/ir/.
"""

import json
import re
from typing import Any

from google.cloud import aiplatform_v1
from google.protobuf import json_format
from google_cloud_pipeline_components.container.v1.gcp_launcher.utils.json_util import recursive_remove_empty

from tests.cloud.bench.errors import invalid
from tests.cloud.bench.state import PROJECT

_IMAGE = re.compile(r"gcr\.io/ml-pipeline/google-cloud-pipeline-components:\d+\.\d+\.\d+")
_COMMAND = ["python3", "-u", "-m", "google_cloud_pipeline_components.container.v1.custom_job.launcher"]
_NEEDED = ("type", "project", "location", "payload", "gcp_resources")
_OUTPUT = "{{$.outputs.parameters['gcp_resources'].output_file}}"
_PLACEHOLDER = re.compile(r"\{\{\$.*?\}\}")
_INPUT = re.compile(r"\{\{\$\.inputs\.parameters\['(\w+)'\]\}\}")
_EXECUTOR_INPUT = json.dumps({"inputs": {}, "outputs": {}})


def is_launcher(container: dict[str, Any]) -> bool:
    """Whether a container runs the launcher of custom jobs."""
    return container.get("command") == _COMMAND


def launched_job(container: dict[str, Any], component: Any, task: Any, pipeline_job: Any, location: str) -> Any:
    """Give the `CustomJob` that a launcher would send. Raises INVALID_ARGUMENT for what it, or the service, refuses.

    Args:
        container: the launcher's, as JSON.
        component: the `ComponentSpec` of the task.
        task: its `PipelineTaskSpec`.
        pipeline_job: the run.
        location: where the run is.
    """
    if not _IMAGE.fullmatch(container["image"]) and "pkg.dev/" not in container["image"]:
        raise invalid(f"{container['image']} is no image of the launcher.")
    arguments = _arguments(container.get("args", []))
    if arguments["type"] != "CustomJob":
        raise invalid(f"The launcher makes a CustomJob, not a {arguments['type']}.")
    if arguments["gcp_resources"] != _OUTPUT or "gcp_resources" not in component.output_definitions.parameters:
        raise invalid("The launcher's gcp_resources must be the file of an output parameter of that name.")
    filled = {name: _filled(text, component, task, pipeline_job, location) for name, text in arguments.items()}
    if (filled["project"], filled["location"]) != (PROJECT, location):
        raise invalid(f"The custom job would go to {filled['project']}/{filled['location']}, and not with its run.")
    try:
        payload = recursive_remove_empty(json.loads(filled["payload"], strict=False))
        job = json_format.ParseDict(payload, aiplatform_v1.CustomJob.pb()())
    except (ValueError, json_format.ParseError) as error:
        raise invalid(f"The launcher's payload is no CustomJob: {error}") from error
    scheduling = job.job_spec.scheduling
    # The launcher takes it out, since the service takes it with one strategy alone: custom_job/remote_runner.py.
    if scheduling.strategy != aiplatform_v1.Scheduling.Strategy.FLEX_START:
        scheduling.ClearField("max_wait_duration")
    # The run's labels go along, and its own count more:
    # https://cloud.google.com/vertex-ai/docs/pipelines/gcpc-label-propagation
    for label, value in pipeline_job.labels.items():
        if label not in job.labels:
            job.labels[label] = value
    return job


def _arguments(args: list[str]) -> dict[str, str]:
    """Read `--name value` pairs; one that the launcher would pass over in silence is refused."""
    names, values = args[::2], args[1::2]
    arguments = {name.removeprefix("--"): value for name, value in zip(names, values, strict=False)}
    if len(args) % 2 or not all(name.startswith("--") for name in names) or len(arguments) != len(names):
        raise invalid("The launcher's arguments are pairs of --name and value.")
    if unknown := sorted(arguments.keys() - {*_NEEDED, "executor_input"}):
        raise invalid(f"The launcher has no argument --{unknown[0]}.")
    if missing := sorted(set(_NEEDED) - arguments.keys()):
        raise invalid(f"The launcher's argument --{missing[0]} is required.")
    return arguments


def _filled(text: str, component: Any, task: Any, pipeline_job: Any, location: str) -> str:
    """Put values in for placeholders, as they are before a container starts."""
    known = {
        "{{$.pipeline_google_cloud_project_id}}": PROJECT,
        "{{$.pipeline_google_cloud_location}}": location,
        "{{$.pipeline_service_account}}": pipeline_job.service_account,
        "{{$.pipeline_network}}": pipeline_job.network,
        "{{$.pipeline_encryption_key_name}}": pipeline_job.encryption_spec.kms_key_name,
        "{{$.pipeline_persistent_resource_id}}": "",
        "{{$}}": _EXECUTOR_INPUT,
        "{{$.json_escape[1]}}": json.dumps(_EXECUTOR_INPUT)[1:-1],
        _OUTPUT: "/gcs/gcp_resources",
    }

    def value(match: re.Match[str]) -> str:
        if match[0] in known:
            return known[match[0]]
        if wanted := _INPUT.fullmatch(match[0]):
            return _filled(_input(wanted[1], component, task, pipeline_job), component, task, pipeline_job, location)
        raise invalid(f"The placeholder {match[0]} is not known.")

    return _PLACEHOLDER.sub(value, text)


def _input(name: str, component: Any, task: Any, pipeline_job: Any) -> str:
    """Give an input as text: of the task, else the component's default; a text as it is, anything else as JSON."""
    definitions = component.input_definitions.parameters
    if name not in definitions:
        raise invalid(f"The launcher asks for an input {name}, which the component does not have.")
    given = task.inputs.parameters.get(name)
    value: Any = definitions[name].default_value
    if given is not None and given.HasField("runtime_value"):
        value = given.runtime_value.constant
    elif given is not None and given.component_input_parameter in pipeline_job.runtime_config.parameter_values:
        value = pipeline_job.runtime_config.parameter_values[given.component_input_parameter]
    plain = json_format.MessageToDict(value)
    return plain if isinstance(plain, str) else json.dumps(plain)
