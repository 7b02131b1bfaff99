"""A dataset's figures, as a pipeline's metrics."""

from tunelane_components.etl.dataset import DatasetSummary


def dataset_metrics(summary: DatasetSummary) -> dict[str, int]:
    """Give what became of the rows: the figures add up to `rows_read`; and the rows of each split."""
    return {
        "rows_read": summary.rows_read,
        "rows_kept": summary.rows_kept,
        "rows_merged": summary.rows_merged,
        "rows_cut": summary.rows_cut,
        "rows_leaked": summary.rows_leaked,
        "rows_near_duplicate": summary.rows_near_duplicate,
        "rows_over_cap": summary.rows_over_cap,
        "rows_quarantined": summary.rows_quarantined,
        **{f"quarantined_{reason}": count for reason, count in summary.quarantined.items()},
        **{f"rows_{split}": summary.rows_of(split) for split in summary.labels},
    }
