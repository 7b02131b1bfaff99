"""A DAG drawn: as SVG for the report and the README, and as Mermaid for Markdown."""

from tunelane_pipelines.drawing.flowchart import mermaid
from tunelane_pipelines.drawing.picture import svg

__all__ = ["mermaid", "svg"]
