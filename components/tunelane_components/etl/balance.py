"""How the labels of a dataset are balanced: weights for the trainer, and what is too little to judge by."""

from collections.abc import Mapping, Sequence

from tunelane_components.etl.split import Split

# As many test rows of a label as the gate wants by default.
FEW_ROWS = 5
_SHOWN_LABELS = 6


def class_weights(train: Mapping[str, int], rows: int, *, multi_label: bool) -> dict[str, float]:
    """Give the weight of each label that has training rows.

    One label a row: rows / (labels * rows_of_label), the "balanced" weights of scikit-learn's compute_class_weight.
    Several: (rows - rows_of_label) / rows_of_label, the pos_weight of PyTorch's BCEWithLogitsLoss.

    Args:
        train: training rows by label.
        rows: training rows in all.
        multi_label: whether a row can have several.
    """
    present = {label: count for label, count in train.items() if count}
    if multi_label:
        return {label: (rows - count) / count for label, count in present.items()}
    return {label: rows / (len(present) * count) for label, count in present.items()}


def few_rows(labels: Mapping[Split, Mapping[str, int]], *, exempt: Sequence[str] = ()) -> list[str]:
    """Say, in a sentence a split, which labels have fewer than `FEW_ROWS` rows there."""
    warnings = []
    for split, by_label in labels.items():
        few = [(label, count) for label, count in by_label.items() if count < FEW_ROWS and label not in exempt]
        if few:
            shown = ", ".join(f"{label} ({count})" for label, count in few[:_SHOWN_LABELS])
            more = f" and {len(few) - _SHOWN_LABELS} more" if len(few) > _SHOWN_LABELS else ""
            noun = "label has" if len(few) == 1 else "labels have"
            warnings.append(f"{len(few)} {noun} fewer than {FEW_ROWS} rows in {split}: {shown}{more}.")
    return warnings
