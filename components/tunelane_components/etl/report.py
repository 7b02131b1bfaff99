"""The dataset for people: what became of the rows, and which labels stand in which split."""

from tunelane_components.etl.dataset import DatasetSummary
from tunelane_components.etl.split import SPLITS
from tunelane_components.report.page import page
from tunelane_components.report.templating import fill


def section(summary: DatasetSummary) -> str:
    """Show the dataset as an HTML fragment: rows read and kept, splits, labels by split, sources, digests."""
    splits = [split for split in SPLITS if split in summary.labels]
    rows = {split: summary.rows_of(split) for split in splits}
    names = {name for split in splits for name in summary.labels[split]}
    counts = {name: [summary.labels[split].get(name, 0) for split in splits] for name in names}
    shares = {
        name: [count / max(rows[split], 1) for count, split in zip(counts[name], splits, strict=True)] for name in names
    }
    return fill(
        "data.html",
        summary=summary,
        fates=_fates(summary),
        rows=rows,
        # The largest first: the file of a summary keeps no order of labels.
        labels=[
            (name, counts[name], shares[name]) for name in sorted(names, key=lambda name: (-sum(counts[name]), name))
        ],
        largest_share=max((share for of_label in shares.values() for share in of_label), default=0) or 1,
    )


def render(summary: DatasetSummary) -> str:
    """Show the dataset as a whole page."""
    return page(summary.data_file, section(summary))


def _fates(summary: DatasetSummary) -> list[tuple[str, int]]:
    """Say what became of the rows that were read, in counts that add up to them."""
    fates = [
        ("Kept", summary.rows_kept),
        ("Merged: same text and label", summary.rows_merged),
        ("Cut: more than were asked for", summary.rows_cut),
    ]
    return fates + [(f"Quarantined: {reason.replace('_', ' ')}", n) for reason, n in summary.quarantined.items()]
