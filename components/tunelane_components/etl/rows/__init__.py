"""One row: where its parts stand, what it may not be, and what it becomes."""
