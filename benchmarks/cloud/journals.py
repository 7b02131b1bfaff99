"""A journal of many runs, here and at a service, as it looks after months of work."""

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tunelane_pipelines.runs.journal import Journal, entry_of
from tunelane_pipelines.runs.record import Artifact, Remote, RunRecord, RunState, TaskRecord, write_record

_ENDED: tuple[RunState, ...] = ("succeeded", "succeeded", "succeeded", "failed", "cancelled")
_UNFINISHED: tuple[RunState, ...] = ("running", "pending", "needs-resume")
_DECISIONS = ("promote", "reject", "insufficient")
_MODELS = ("sentiment", "topics", "intents")


def fill_journal(root: Path, *, runs: int, unfinished: int, service: str, seed: int) -> None:
    """Write a journal below `root`, with the record of every run.

    Args:
        root: of the journal; a new directory.
        runs: in all. Of those that have ended every second was at the service.
        unfinished: of them, the newest ones, all at the service.
        service: as `RemoteTarget.service` gives it.
        seed: of what differs from run to run.
    """
    choose = random.Random(seed)  # noqa: S311 - no secret is made of it
    newest_at = datetime.now(UTC).replace(microsecond=0)
    entries = []
    for number in range(runs):
        started_at = newest_at - timedelta(minutes=20 * number)
        run_id = f"train-classifier-{started_at:%Y%m%d-%H%M%S}-{choose.randrange(16**4):04x}"
        state = choose.choice(_UNFINISHED if number < unfinished else _ENDED)
        is_remote = number < unfinished or number % 2 == 0
        record = _record(run_id, started_at, state, service if is_remote else "", choose)
        directory = root / "runs" / run_id
        directory.mkdir(parents=True)
        write_record(directory, record)
        entries.append(entry_of(record, str(directory)))
    Journal(root).put(entries)


def _record(run_id: str, started_at: datetime, state: RunState, service: str, choose: random.Random) -> RunRecord:
    model = choose.choice(_MODELS)
    is_judged = state == "succeeded"
    decision = {"decision": choose.choice(_DECISIONS)} if is_judged else {}
    tasks = (
        TaskRecord("evaluate-model", "Evaluate", "evaluate_model", metrics={"macro_f1": choose.uniform(0.7, 0.95)}),
        TaskRecord(
            "gate-model", "Gate", "gate_model", artifacts=(Artifact("verdict", "Artifact", "", "", metadata=decision),)
        ),
    )
    resource = f"projects/1/locations/europe-west4/pipelineJobs/{run_id}"
    return RunRecord(
        run_id=run_id,
        pipeline="train-classifier",
        display_name=f"Train classifier: {model}",
        target=service.partition(" ")[0] or "local",
        started_at=started_at,
        command="tunelane submit train-classifier" if service else "tunelane run train-classifier",
        parameters={"model_name": model},
        versions={},
        machine={},
        tasks=tasks if is_judged else (),
        state=state,
        wall_s=round(choose.uniform(100, 4000), 1),
        remote=Remote(resource) if service and state != "needs-resume" else None,
        service=service,
        sent_at=started_at if service else None,
    )
