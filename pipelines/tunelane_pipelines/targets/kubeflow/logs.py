"""The logs of tasks: the API has none, kubectl does."""

from typing import NoReturn

from tunelane_pipelines.targets.errors import Refused

_DEFAULT_NAMESPACE = "kubeflow"


def log_command(run_id: str, namespace: str) -> str:
    """Give the command that prints what a run's tasks wrote.

    Every pod of a run has the label pipeline/runid:
    https://github.com/kubeflow/pipelines/blob/master/backend/src/common/util/consts.go
    """
    where = f"--namespace {namespace or _DEFAULT_NAMESPACE}"
    return f"kubectl logs {where} --selector pipeline/runid={run_id} --container main --prefix --tail -1"


def refuse_logs(run_id: str, namespace: str) -> NoReturn:
    """Say how to read the logs: v2beta1 has no call for them.

    https://www.kubeflow.org/docs/components/pipelines/reference/api/kubeflow-pipeline-api-spec/
    """
    raise Refused(f"Kubeflow's API has no logs. Read them with: {log_command(run_id, namespace)}")
