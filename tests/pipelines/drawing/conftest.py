"""DAGs to draw: those of the catalog, and whatever hypothesis thinks of."""

import pytest
from hypothesis import strategies as st

from tunelane_pipelines.catalog import MODULE_BY_PIPELINE, load_pipeline
from tunelane_pipelines.dag import Dag, DagTask, read_dag

_BRANCHES = ("", "", "promote", "otherwise", "a branch with a rather long name")


@st.composite
def dags(draw: st.DrawFn) -> Dag:
    """A DAG of up to 14 tasks, each of which may need any earlier ones and stand in any branch."""
    tasks: list[DagTask] = []
    for number in range(draw(st.integers(1, 14))):
        names = [task.name for task in tasks]
        needs = draw(st.lists(st.sampled_from(names), unique=True, max_size=4)) if names else []
        title = draw(st.sampled_from(("Gate", "Fine-tune with LoRA", "A task whose name is far too long for one line")))
        branch = draw(st.sampled_from(_BRANCHES))
        tasks.append(DagTask(f"task-{number}", f"{title} {number}", "component", tuple(needs), branch))
    return Dag("made-up", "Made up", "", tuple(tasks))


@pytest.fixture(scope="session")
def any_dag() -> st.SearchStrategy[Dag]:
    return dags()


@pytest.fixture(scope="session")
def catalog() -> dict[str, Dag]:
    """The pipelines' DAGs, by name."""
    return {name: read_dag(load_pipeline(name)) for name in MODULE_BY_PIPELINE}
