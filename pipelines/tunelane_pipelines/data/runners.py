"""What performs the tasks of a build: this machine, or Apache Beam."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tunelane_pipelines.nearest import no_such
from tunelane_serving.errors import InputError

if TYPE_CHECKING:
    from tunelane_components.etl.shuffle.local import Runner
    from tunelane_components.etl.shuffle.plan import Plan

LOCAL = "local"
RUNNERS = (LOCAL, "beam")


def load_runner(name: str, beam_options: Sequence[str]) -> "Callable[[Plan], Runner] | None":
    """Give what makes the runner of that name; None for this machine, which the build knows itself.

    Raises:
        InputError: there is no such runner; Apache Beam is not installed or refuses its options; or there are options
            and no Beam.
    """
    if name not in RUNNERS:
        raise InputError(no_such("runner", name, RUNNERS))
    if name == LOCAL:
        if beam_options:
            raise InputError("--beam-option is for Apache Beam. Pass --runner beam, too.")
        return None
    from tunelane_components.etl.shuffle.beam import beam_runner

    return beam_runner(beam_options)
