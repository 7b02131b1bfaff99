"""What of a run's time was no stage's own work."""

from tunelane_pipelines.runs.record import Overhead, RunRecord


def overhead(record: RunRecord) -> Overhead | None:
    """Measure it from the times in the record; None where no task started."""
    ran = [task for task in record.tasks if task.started_at is not None]
    if not ran:
        return None
    starts = [(task.started_at - record.started_at).total_seconds() for task in ran if task.started_at]
    ends = [start + task.wall_s for start, task in zip(starts, ran, strict=True)]
    done = [task for task in ran if task.state == "succeeded"]
    runner_s = [task.wall_s - task.stage_s - task.exit_s for task in done]
    exits_s = sum(task.exit_s for task in done)
    tasks_s = sum(task.wall_s for task in ran)
    return Overhead(
        start_s=round(min(starts), 3),
        tasks_s=round(sum(runner_s), 3),
        longest_task_s=round(max(runner_s, default=0.0), 3),
        exits_s=round(exits_s, 3),
        between_s=round(max(ends) - min(starts) - tasks_s, 3),
        end_s=round(record.wall_s - max(ends), 3),
        total_s=round(record.wall_s - tasks_s + sum(runner_s) + exits_s, 3),
    )
