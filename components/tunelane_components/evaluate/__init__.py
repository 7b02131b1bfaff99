"""A package's predictions on a split, and what they say: F1 with intervals, by label and by slice."""
