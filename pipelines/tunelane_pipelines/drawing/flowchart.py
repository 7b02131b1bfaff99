"""A DAG as a Mermaid flowchart, which GitHub and GitLab draw where Markdown has a block of it."""

import re

from tunelane_pipelines.dag import Dag, direct_needs

# All but letters, digits and what no Markdown or Mermaid reads as markup; "1. " and "- " would begin a list.
_MARKUP = re.compile(r"[^A-Za-z0-9 ,.:()/'-]|^-(?= )|(?<=^\d)\.(?= )")


def mermaid(dag: Dag) -> str:
    """Write `dag` as `flowchart TD`: an arrow for every direct need, a subgraph for every branch.

    Nodes are numbered, as "end" and the like cannot be a node's name in Mermaid.
    """
    ids = {task.name: f"t{number}" for number, task in enumerate(dag.tasks, start=1)}
    lines = ["flowchart TD"]
    branches = dict.fromkeys(task.branch for task in dag.tasks)
    for number, branch in enumerate(branches, start=1):
        inside = [f'{ids[task.name]}["{_escaped(task.display_name)}"]' for task in dag.tasks if task.branch == branch]
        if branch:
            lines += [f'  subgraph b{number}["{_escaped(branch)}"]', *(f"    {node}" for node in inside), "  end"]
        else:
            lines += [f"  {node}" for node in inside]
    for name, needs in direct_needs(dag.tasks).items():
        lines += [f"  {ids[need]} --> {ids[name]}" for need in needs if need in ids]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    """`text` for a quoted label: one line, markup as Mermaid's character codes (#35; is a number sign)."""
    return _MARKUP.sub(lambda match: f"#{ord(match[0])};", " ".join(text.split()))
