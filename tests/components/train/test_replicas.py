"""Several machines train one model."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tunelane_components.train.checkpoint import read_card
from tunelane_components.train.lora import LoraOptions, train_lora
from tunelane_components.train.replicas import CLUSTER_SPEC, Replicas, find_replicas, replicas_of, torch_variables
from tunelane_serving.errors import ContractError, InputError

# As the service shows it: https://docs.cloud.google.com/vertex-ai/docs/training/distributed-training#cluster-variables
_CLUSTER = {
    "workerpool0": ["job-workerpool0-0:2222"],
    "workerpool1": ["job-workerpool1-0:2222", "job-workerpool1-1:2222"],
}


def _spec(pool: str, index: int, cluster: dict[str, list[str]] = _CLUSTER) -> str:
    return json.dumps({"cluster": cluster, "environment": "cloud", "task": {"type": pool, "index": index}})


def test_without_a_cluster_one_trains_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CLUSTER_SPEC, raising=False)
    assert find_replicas() == Replicas(0, 1) and find_replicas().is_chief
    assert torch_variables(find_replicas()) == {}


def test_each_replica_has_a_rank_of_its_own_and_the_first_is_chief(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for pool, index in (("workerpool0", 0), ("workerpool1", 0), ("workerpool1", 1)):
        monkeypatch.setenv(CLUSTER_SPEC, _spec(pool, index))
        found.append(find_replicas())
    assert [replicas.rank for replicas in found] == [0, 1, 2]
    assert [replicas.is_chief for replicas in found] == [True, False, False]
    assert {(it.count, it.chief_host, it.chief_port) for it in found} == {(3, "job-workerpool0-0", "2222")}
    assert torch_variables(found[2])["RANK"] == "2" and torch_variables(found[2])["WORLD_SIZE"] == "3"


@pytest.mark.parametrize(
    "written", ["", "{", "[]", '{"cluster": {}}', _spec("workerpool2", 0), _spec("workerpool1", 2), _spec("chief", 0)]
)
def test_what_names_no_replica_is_refused(written: str) -> None:
    with pytest.raises(ContractError, match="names no replica"):
        replicas_of(written)


def test_rows_that_cannot_be_shared_evenly_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CLUSTER_SPEC, _spec("workerpool0", 0))
    with pytest.raises(InputError, match="batch_size 32 cannot be shared by 3 replicas"):
        train_lora(tmp_path, "anything", tmp_path / "out", LoraOptions(batch_size=32))


_TRAIN = """
import json
import sys
from pathlib import Path
from tunelane_components.train.lora import LoraOptions, train_lora

dataset, base_model, output, options = sys.argv[1:]
train_lora(Path(dataset), base_model, Path(output), LoraOptions(**json.loads(options)))
"""


@pytest.fixture
def chief_port() -> Iterator[int]:
    """Give a port that nobody else gets: it stays bound without listening, and the chief may bind it all the same.

    https://man7.org/linux/man-pages/man7/socket.7.html, SO_REUSEADDR
    """
    with socket.socket() as kept:
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        kept.bind(("127.0.0.1", 0))
        yield kept.getsockname()[1]


def test_two_replicas_train_one_model_and_the_chief_alone_writes_it(
    tiny_encoder: Path, toy_dataset: Path, toy_options: LoraOptions, chief_port: int, tmp_path: Path
) -> None:
    options = replace(toy_options, epochs=2, batch_size=16)
    cluster = {"workerpool0": [f"127.0.0.1:{chief_port}"], "workerpool1": ["127.0.0.1:1"]}
    with (tmp_path / "said").open("w+") as log:
        processes = [
            subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    _TRAIN,
                    str(toy_dataset),
                    str(tiny_encoder),
                    str(tmp_path / "out" / pool),
                    json.dumps(asdict(options)),
                ],
                env=os.environ | {CLUSTER_SPEC: _spec(pool, 0, cluster), "OMP_WAIT_POLICY": "PASSIVE"},
                stderr=log,
            )
            for pool in cluster
        ]
        try:
            codes = [process.wait(timeout=500) for process in processes]
        finally:
            for process in processes:
                process.kill()
        log.seek(0)
        assert codes == [0, 0], log.read()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["workerpool0"]
    both = read_card(tmp_path / "out" / "workerpool0")

    alone = train_lora(toy_dataset, str(tiny_encoder), tmp_path / "alone", options)
    # As many steps as one alone: a step has the same number of rows, whoever computes them.
    assert [epoch.step for epoch in both.history] == [epoch.step for epoch in alone.history]
    assert both.history[-1].train_loss < both.history[0].train_loss
    weights = load_file(tmp_path / "out" / "workerpool0" / "model.safetensors")
    assert all(np.isfinite(weight).all() for weight in weights.values())
