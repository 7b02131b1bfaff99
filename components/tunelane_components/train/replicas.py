"""The replicas of one training, where a service runs the same command on several machines."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from tunelane_serving.errors import ContractError

CLUSTER_SPEC = "CLUSTER_SPEC"
"""Variable in which Vertex AI tells each replica of all of them."""

# Pools 2 and 3 are for parameter servers and evaluators, which this training has none of.
_POOLS = ("workerpool0", "workerpool1")


@dataclass(frozen=True)
class Replicas:
    """Who trains together, and which of them this process is. The chief has rank 0, and alone writes what comes out."""

    rank: int = 0
    count: int = 1
    chief_host: str = ""
    chief_port: str = ""

    @property
    def is_chief(self) -> bool:
        """Whether this process writes what comes out."""
        return self.rank == 0


class _Task(msgspec.Struct, frozen=True):
    type: str
    index: int


class _ClusterSpec(msgspec.Struct, frozen=True):
    cluster: dict[str, list[str]]
    task: _Task


def find_replicas() -> Replicas:
    """Read from the environment who trains together: one alone, unless Vertex AI says otherwise.

    https://docs.cloud.google.com/vertex-ai/docs/training/distributed-training#cluster-variables

    Raises:
        ContractError: the variable is not what Vertex AI writes.
    """
    written = os.environ.get(CLUSTER_SPEC, "")
    return replicas_of(written) if written else Replicas()


def replicas_of(cluster_spec: str) -> Replicas:
    """Read the value of `CLUSTER_SPEC`: `{"cluster": {"workerpool0": ["HOST:PORT"], ...}, "task": {"type", "index"}}`.

    Raises:
        ContractError: it is not what Vertex AI writes.
    """
    try:
        spec = msgspec.json.decode(cluster_spec, type=_ClusterSpec)
        addresses = [address for pool in _POOLS for address in spec.cluster.get(pool, [])]
        mine = spec.cluster[spec.task.type][spec.task.index]
        rank = addresses.index(mine)
        host, _, port = addresses[0].rpartition(":")
    except (msgspec.MsgspecError, LookupError, ValueError) as error:
        raise ContractError(f"{CLUSTER_SPEC} names no replica of a training: {cluster_spec[:200]!r}") from error
    return Replicas(rank, len(addresses), host, port)


def torch_variables(replicas: Replicas) -> Mapping[str, str]:
    """Give the variables by which PyTorch's processes find one another; none for one alone.

    https://docs.pytorch.org/docs/stable/distributed.html#environment-variable-initialization
    """
    if replicas.count == 1:
        return {}
    return {
        "MASTER_ADDR": replicas.chief_host,
        "MASTER_PORT": replicas.chief_port,
        "WORLD_SIZE": str(replicas.count),
        "RANK": str(replicas.rank),
        # One process a machine: it has one accelerator.
        "LOCAL_RANK": "0",
        "LOCAL_WORLD_SIZE": "1",
    }
