"""How far a build is, where somebody looks and where nobody does."""

import pytest

from tunelane_components.etl.progress import BuildProgress
from tunelane_pipelines.data.progress import Bars, shown_progress


def test_there_is_a_bar_a_phase_and_the_one_before_is_full() -> None:
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(quiet=True)) as progress:
        bars = Bars(progress)
        bars(BuildProgress("Reading", 5, 20, "rows"))
        bars(BuildProgress("Reading", 19, 20, "rows"))
        bars(BuildProgress("Listing", 3, 0, "files"))
        bars(BuildProgress("Writing", 1, 4, "parts"))
    assert [(task.description, task.completed, task.total, task.fields["said"]) for task in progress.tasks] == [
        ("Reading", 20, 20, "19 of 20 rows"),
        ("Listing", 1, 1, "3 files"),
        ("Writing", 1, 4, "1 of 4 parts"),
    ]


@pytest.mark.parametrize("is_plain", [True, False])
def test_without_a_terminal_nothing_is_drawn(is_plain: bool, capsys: pytest.CaptureFixture[str]) -> None:
    with shown_progress(is_plain=is_plain) as show:
        show(BuildProgress("Reading", 1, 2, "rows"))
    assert not isinstance(show, Bars)
    assert capsys.readouterr() == ("", "")
