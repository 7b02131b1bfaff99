"""The report of a run: one HTML file in its directory."""

from tunelane_pipelines.report.run_report import write_report

__all__ = ["write_report"]
