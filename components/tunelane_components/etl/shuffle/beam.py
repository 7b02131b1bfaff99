"""Tasks as Apache Beam pipelines: on this machine, or on those of Dataflow or another Beam runner.

Beam carries no rows: tasks, plan, outcomes and all that tasks leave for one another stand in the workspace, and what
goes through a pipeline is the place of each task there. So the request that describes a job stays small, outcomes come
back alike from every runner, and a task that Beam performs again, or twice at the same time, changes nothing.
"""

import difflib
import io
import itertools
import logging
import textwrap
import traceback
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stderr, suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import msgspec

from tunelane_components.etl.shuffle.local import Runner
from tunelane_components.etl.shuffle.plan import Plan
from tunelane_components.etl.shuffle.tasks import Outcome, SourceTask, Task, perform
from tunelane_components.etl.shuffle.worker import Answer, Failure, outcome_of
from tunelane_components.etl.shuffle.workspace import Workspace
from tunelane_components.storage import local_path
from tunelane_serving.errors import InputError, TunelaneError

# Beam's DirectRunner asks first for a program that it downloads, and falls back to this one, which is part of Beam.
_DIRECT_RUNNER = "FnApiRunner"
_ALSO_DIRECT = ("direct", "directrunner", "switchingdirect", "switchingdirectrunner")
_DATAFLOW_RUNNER = "DataflowRunner"
# Outcomes are small: what takes time is waiting for an object store.
_READERS = 16
_REASON_CHARACTERS = 300

_encode = msgspec.msgpack.Encoder().encode
_decode_plan = msgspec.msgpack.Decoder(Plan).decode
_decode_task = msgspec.msgpack.Decoder(Task).decode
_decode_answer = msgspec.msgpack.Decoder(Answer).decode

_Place = tuple[int, int, int]
"""Of a task: its number, and where it starts and ends among the tasks of its pipeline."""


def beam_runner(options: Sequence[str] = ()) -> Callable[[Plan], Runner]:
    """Give what `build_dataset` takes as a runner.

    Args:
        options: Beam's own, each as on its command line: `--runner=DataflowRunner`, `--project=…`. Without `--runner`
            the tasks are performed in this process.

    Raises:
        InputError: Apache Beam is not installed, or does not understand an option.
    """
    _parsed(options)
    return partial(BeamRunner, options=tuple(options))


class BeamRunner:
    """Performs the tasks of each call in a pipeline of their own.

    An InputError of a task is raised here as it was raised there: Beam does not perform that task again. Any other
    error is left to Beam. Dataflow performs such a task four times before the pipeline fails.
    """

    def __init__(self, plan: Plan, options: Sequence[str] = ()) -> None:
        """Prepare for the tasks of one plan.

        Args:
            plan: its workspace and its tokenizer must be where the runner's workers see them.
            options: as in `beam_runner`.

        Raises:
            InputError: they are not; Apache Beam is not installed, or does not understand an option.
        """
        self._options, self._beam_runner = _parsed(options)
        self._name = type(self._beam_runner).__name__
        self._is_remote = _is_remote(self._name)
        if plan.workspace.startswith("memory://"):
            raise InputError(f"Beam's workers do not see {plan.workspace}. Pass a gs:// URI as the workspace.")
        if self._is_remote:
            self._refuse_local(plan.workspace, "the workspace")
            if _is_local_tokenizer(plan.tokenizer):
                self._refuse_local(plan.tokenizer, "the tokenizer")
        self._workspace = Workspace(plan.workspace)
        self._encoded_plan = _encode(plan)

    def run(self, tasks: Iterable[Task]) -> Iterator[Outcome]:
        """Perform the tasks; when all are done, yield their outcomes in the order of the tasks.

        Raises:
            InputError: a task cannot use what it was given, or the runner's workers do not see it.
            TunelaneError: the pipeline failed.
        """
        encoded = []
        for task in tasks:
            if isinstance(task, SourceTask) and self._is_remote:
                self._refuse_local(task.source.uri, "the data")
            encoded.append(_encode(task))
        if not encoded:
            return
        # A new name: what another call or an earlier build left is not taken for this one's.
        call = f"beam/{uuid.uuid4().hex}"
        self._workspace.write(_plan_name(call), self._encoded_plan)
        self._workspace.write(_tasks_name(call), b"".join(encoded))
        ends = itertools.pairwise(itertools.accumulate(map(len, encoded), initial=0))
        places = [(number, start, end) for number, (start, end) in enumerate(ends)]
        with _quiet_beam():
            self._run_pipeline(places, call)
        with ThreadPoolExecutor(_READERS) as readers:
            for answer in readers.map(self._workspace.read, [_answer_name(call, number) for number, _, _ in places]):
                if not answer:
                    raise TunelaneError(
                        f"The Beam pipeline left no outcome of a task in {self._workspace.root}. "
                        "Pass a workspace that its workers and this machine share."
                    )
                yield outcome_of(_decode_answer(answer))

    def _run_pipeline(self, places: list[_Place], call: str) -> None:
        """Run a pipeline to its end."""
        import apache_beam as beam

        try:
            pipeline = beam.Pipeline(runner=self._beam_runner, options=self._options)
        except Exception as error:
            # Here Beam checks that its options go together, and Google's libraries have errors of their own.
            raise InputError(f"Apache Beam cannot use its options: {_shown(str(error))}") from error
        (
            pipeline
            | "Tasks" >> beam.Create(places, reshuffle=False)
            | "Spread" >> beam.Reshuffle()
            | "Perform" >> beam.Map(_perform, self._workspace.root, call)
        )
        result: Any = None
        try:
            result = pipeline.run()
            state = result.wait_until_finish()
        except Exception as error:
            state = getattr(getattr(error, "result", None), "state", "FAILED")
            # What a worker raised comes as its whole traceback, whose last line says what it is about.
            reason = _shown("".join(traceback.format_exception_only(error)).strip().rpartition("\n")[2])
            raise TunelaneError(f"The Beam pipeline ended as {state} on {self._name}: {reason}") from error
        except BaseException:
            # Nobody waits for the machines any more, which would go on to the end.
            if result is not None:
                with suppress(Exception):
                    result.cancel()
            raise
        if state not in (None, "DONE"):
            raise TunelaneError(f"The Beam pipeline ended as {state} on {self._name}. See the log of its workers.")

    def _refuse_local(self, uri: str, what: str) -> None:
        if local_path(uri) is not None:
            raise InputError(f"The workers of {self._name} do not see {uri}. Pass a gs:// URI as {what}.")


def _perform(place: _Place, root: str, call: str) -> None:
    """Perform a task where a worker runs; leave its outcome, or its error where trying again would not help."""
    number, start, end = place
    workspace = Workspace(root)
    answer: Answer
    try:
        answer = perform(_decode_task(workspace.read(_tasks_name(call), start, end)), _plan(root, call))
    except InputError as error:
        answer = Failure(str(error), is_input_error=True)
    workspace.write(_answer_name(call, number), _encode(answer))


@lru_cache(maxsize=1)
def _plan(root: str, call: str) -> Plan:
    """Read the plan once a process."""
    return _decode_plan(Workspace(root).read(_plan_name(call)))


def _plan_name(call: str) -> str:
    return f"{call}/plan.bin"


def _tasks_name(call: str) -> str:
    return f"{call}/tasks.bin"


def _answer_name(call: str, number: int) -> str:
    return f"{call}/outcomes/{number:07d}.bin"


def _parsed(options: Sequence[str]) -> tuple[Any, Any]:
    """Give Beam's options, and the runner that they name.

    Raises:
        InputError: Apache Beam is not installed, or does not understand an option.
    """
    try:
        from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
        from apache_beam.runners.runner import create_runner
    except ImportError as error:
        raise InputError("Apache Beam is not installed. Install it: pip install 'tunelane[beam]'") from error

    for option in options:
        if not option.startswith("--"):
            raise InputError(f"{option!r} is no option of Apache Beam. Write it as --name=value.")
    usage = io.StringIO()
    try:
        with _quiet_beam(), redirect_stderr(usage):
            parsed = PipelineOptions(list(options))
            name = parsed.view_as(StandardOptions).runner or StandardOptions.DEFAULT_RUNNER
            # First, since a runner's module may bring options.
            runner = create_runner(_DIRECT_RUNNER if name.lower() in _ALSO_DIRECT else name)
            known = parsed.get_all_options()
            given = parsed.get_all_options(retain_unknown_options=True)
    except Exception as error:
        raise InputError(f"Apache Beam cannot use its options: {_shown(str(error))}") from error
    except SystemExit as error:
        reason = _shown(usage.getvalue().rpartition("error: ")[2])
        raise InputError(f"Apache Beam cannot use its options: {reason}") from error
    for option in given:
        if option not in known:
            near = difflib.get_close_matches(option, known, 1)
            advice = f"Did you mean --{near[0]}?" if near else "Leave it out."
            raise InputError(f"Apache Beam has no option --{option}. {advice}")
    if type(runner).__name__ == _DATAFLOW_RUNNER and not given["sdk_container_image"]:
        raise InputError(
            f"{_DATAFLOW_RUNNER} needs an image for its workers that holds Tunelane. Pass --sdk_container_image=IMAGE."
        )
    return parsed, runner


def _is_remote(runner_name: str) -> bool:
    from apache_beam.options.pipeline_options import StandardOptions

    return runner_name not in StandardOptions.LOCAL_RUNNERS


def _is_local_tokenizer(uri: str) -> bool:
    """Whether it is a path rather than a URI or a hub id."""
    return bool(uri) and (uri.startswith((".", "/", "~", "file://")) or Path(uri).exists())


def _shown(reason: str) -> str:
    """Put a reason on one line of bounded length."""
    return textwrap.shorten(reason, _REASON_CHARACTERS, placeholder=" …") or "it does not say why."


@contextmanager
def _quiet_beam() -> Iterator[None]:
    """Leave Beam's warnings to the handlers that logging has; where it has none, Beam would set one up for good."""
    root, logger = logging.getLogger(), logging.getLogger("apache_beam")
    level, nowhere = logger.level, logging.NullHandler()
    root.addHandler(nowhere)
    logger.setLevel(max(level, logging.WARNING))
    try:
        yield
    finally:
        logger.setLevel(level)
        root.removeHandler(nowhere)
