"""What Vertex AI refuses in a request: labels, keys, networks, accounts, and the values of parameters.

Rules: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.pipelineJobs and the comments of
https://github.com/googleapis/googleapis/blob/master/google/cloud/aiplatform/v1/pipeline_job.proto
"""

import re
from collections.abc import Mapping
from typing import Any

from tests.cloud.bench.errors import ApiError, invalid
from tests.cloud.bench.state import PROJECT

_KEY = re.compile(r"projects/[^/]+/locations/([^/]+)/keyRings/[^/]+/cryptoKeys/[^/]+")
_NETWORK = re.compile(r"projects/[^/]+/global/networks/[^/]+")


def check_labels(labels: Mapping[str, str]) -> None:
    """Refuse labels that no service takes: https://cloud.google.com/resource-manager/docs/labels-overview#requirements."""
    if len(labels) > 64:
        raise invalid(f"{len(labels)} labels: at most 64.")
    for key, value in labels.items():
        if not re.fullmatch(r"[a-z][-_a-z0-9]{0,62}", key) or not re.fullmatch(r"[-_a-z0-9]{0,63}", value):
            raise invalid(f"Invalid label {key}={value}: lowercase letters, digits, _ and -, at most 63 of them.")


def check_key(key: str, location: str) -> None:
    """Refuse a key of another form or region: https://cloud.google.com/vertex-ai/docs/general/cmek."""
    match = _KEY.fullmatch(key)
    if key and (match is None or match[1] != location):
        raise invalid(f"Invalid kms_key_name {key}: it must be a key of {location}.")


def check_network(network: str) -> None:
    """Refuse a network of another form: https://cloud.google.com/vertex-ai/docs/general/vpc-peering."""
    if network and not _NETWORK.fullmatch(network):
        raise invalid(f"Invalid network {network}: projects/NUMBER/global/networks/NAME.")


def check_account(account: str) -> None:
    """Refuse an account to run as that is none, or is another project's."""
    if account and not re.fullmatch(r"[^@\s]+@[^@\s]+\.gserviceaccount\.com", account):
        raise invalid(f"Service account {account} is not valid.")
    if account and f"@{PROJECT}." not in account:
        raise ApiError(
            "PERMISSION_DENIED",
            f"You do not have permission to act as service_account: {account}. (or it may not exist).",
        )


def check_job(job: Any, location: str) -> None:
    """Refuse a `PipelineJob` that the service would not take, whatever its pipeline."""
    if len(job.display_name) > 128:
        raise invalid("display_name: at most 128 characters.")
    check_labels(job.labels)
    check_key(job.encryption_spec.kms_key_name, location)
    check_network(job.network)
    check_account(job.service_account)
    if not re.fullmatch(r"gs://[a-z0-9][-_.a-z0-9]+(/.*)?", job.runtime_config.gcs_output_directory):
        raise invalid(
            f"Invalid runtime_config.gcs_output_directory {job.runtime_config.gcs_output_directory!r}: gs://BUCKET/…"
        )


_KINDS = {
    "NUMBER_INTEGER": "number_value",
    "NUMBER_DOUBLE": "number_value",
    "STRING": "string_value",
    "BOOLEAN": "bool_value",
    "LIST": "list_value",
    "STRUCT": "struct_value",
}


def check_parameters(config: Any, spec: Any) -> None:
    """Hold the values against the pipeline's inputs: https://www.kubeflow.org/docs/components/pipelines/reference/ir/."""
    if config.parameters and spec.schema_version.startswith("2.1"):
        raise invalid("runtime_config.parameters is for schema 2.0.0 and below. Use parameter_values.")
    definitions = spec.root.input_definitions.parameters
    for name, value in config.parameter_values.items():
        if name not in definitions:
            raise invalid(f"The input parameter {name} is not found in the pipeline's inputs.")
        kind = type(definitions[name]).DESCRIPTOR.fields_by_name["parameter_type"].enum_type
        wanted = _KINDS.get(kind.values_by_number[definitions[name].parameter_type].name)
        is_whole = wanted != "number_value" or float(value.number_value).is_integer()
        if wanted is not None and value.WhichOneof("kind") != wanted:
            raise invalid(f"The input parameter {name} must be a {wanted.removesuffix('_value')}.")
        if definitions[name].parameter_type == kind.values_by_name["NUMBER_INTEGER"].number and not is_whole:
            raise invalid(f"The input parameter {name} must be a whole number.")
    for name, definition in definitions.items():
        has_default = definition.HasField("default_value") or definition.is_optional
        if name not in config.parameter_values and not has_default:
            raise invalid(f"The input parameter {name} is required and has no value.")
