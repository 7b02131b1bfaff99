"""The Mermaid flowchart of a DAG."""

import re

from tunelane_pipelines.dag import Dag, DagTask, direct_needs
from tunelane_pipelines.drawing import mermaid

_CONVERT = """\
flowchart TD
  t1["Import checkpoint"]
  t2["Build dataset"]
  t3["Export to ONNX"]
  t4["Validate parity"]
  t1 --> t2
  t1 --> t3
  t2 --> t4
  t3 --> t4
"""


def test_a_dag_is_written_as_it_reads(catalog: dict[str, Dag]) -> None:
    assert mermaid(catalog["convert"]) == _CONVERT


def test_branches_are_subgraphs_that_end(catalog: dict[str, Dag]) -> None:
    drawn = mermaid(catalog["train-classifier"])
    assert '["promote"]' in drawn
    assert '["otherwise"]' in drawn
    assert (
        len(re.findall(r"^  subgraph ", drawn, re.MULTILINE)) == len(re.findall(r"^  end$", drawn, re.MULTILINE)) == 2
    )


def test_there_are_as_many_arrows_as_direct_needs(catalog: dict[str, Dag]) -> None:
    for dag in catalog.values():
        assert mermaid(dag).count(" --> ") == sum(map(len, direct_needs(dag.tasks).values()))


def test_labels_cannot_break_out() -> None:
    names = ('end"] --> x["', "<b>`*bold*`</b> #1\nsecond line", "1. one", "- item", "🚀 launch")
    dag = Dag("x", "x", "", tuple(DagTask(f"end {name}", name, "c", (), name) for name in names))
    drawn = mermaid(dag)
    for line in drawn.splitlines()[1:]:
        assert re.fullmatch(r'  end|  subgraph b\d+\["[^"<>`*]*"\]|    t\d+\["[^"<>`*]*"\]', line), line
    assert 't3["1#46; one"]' in drawn
    assert 't4["#45; item"]' in drawn
    assert 't5["#128640; launch"]' in drawn
