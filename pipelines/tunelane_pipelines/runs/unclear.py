"""What to say of a run where it is not known whether it started."""

from pathlib import Path

from tunelane_pipelines.runs.advice import again


def unclear(why: str) -> str:
    """Say why it is not known whether a run started."""
    return f"{why.rstrip('.')}. Whether the run started is not known."


def and_how_to_go_on(words: str, run_id: str, root: Path, profile: Path | None = None) -> str:
    """Add how to go on with a run to what is to be said of it.

    Records have `words` alone: what is to be typed is different from another directory.
    """
    return f"{words.rstrip('.')}; go on with: {again(f'runs resume {run_id}', root, profile)}"
