"""`tunelane schedule …` as a user types it, for schedules of this machine."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from tunelane_pipelines.scheduling.store import ScheduleStore

Here = Callable[..., tuple[object, str, str]]

_ROWS = "text,label\n" + "".join(f"number {number} of them,{'ab'[number % 2]}\n" for number in range(60))


@pytest.fixture
def store(place: Path) -> ScheduleStore:
    """The journal below `.tunelane`; beside it lies what `convert` needs."""
    (place / "good.csv").write_text(_ROWS)
    (place / "checkpoint").mkdir()
    return ScheduleStore(place / ".tunelane")


@pytest.fixture
def create(store: ScheduleStore, here: Here) -> Callable[..., tuple[object, str, str]]:
    """Create a schedule of `convert`, kept by the daemon unless something else is said."""

    def create(*options: str, cron: str = "0 3 * * MON", starter: str = "daemon") -> tuple[object, str, str]:
        parameters = ("--set", "checkpoint=checkpoint", "--set", "data=good.csv")
        return here("schedule", "create", "convert", "--cron", cron, "--with", starter, *parameters, *options)

    return create


def _row(said: str, name: str) -> str:
    return next(line for line in said.splitlines() if line.startswith(f"{name} ")).removeprefix(name).strip()


def test_a_schedule_shows_its_next_three_runs_in_its_zone(create: Here, store: ScheduleStore, place: Path) -> None:
    code, said, _ = create("--time-zone", "Europe/Berlin", "--name", "weekly", "--starts-at", "2090-10-23")
    assert code == 0, said
    assert "tunelane schedule daemon" in said
    begin = said.splitlines().index(next(line for line in said.splitlines() if line.startswith("Next")))
    times = [line.removeprefix("Next").strip() for line in said.splitlines()[begin : begin + 3]]
    assert times == ["Mon 2090-10-23 03:00 CEST", "Mon 2090-10-30 03:00 CET", "Mon 2090-11-06 03:00 CET"]
    record = store.record("weekly")
    assert record.command[:3] == ("run", "convert", "--plain")
    assert (record.directory, record.starter) == (str(place), "daemon")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--gpu", "a100"], "--gpu is for runs on a cluster. Leave it out"),
        (["--label", "team=care"], "--label is for runs on a cluster"),
        (
            ["--images", "images.json", "--experiment", "reviews", "--no-cache", "--fail-slow"],
            "--images, --experiment, --no-cache, --fail-slow are for runs on a cluster. Leave them out",
        ),
    ],
)
def test_what_only_a_cluster_can_do_is_refused_here(
    options: list[str], words: str, create: Here, store: ScheduleStore
) -> None:
    code, _, complaint = create(*options)
    assert code == 2 and words in complaint and len(complaint.splitlines()) == 1
    assert store.records() == []


@pytest.mark.parametrize("option", ["--starts-at", "--ends-at"])
def test_a_time_out_of_all_calendars_is_refused_in_one_line(option: str, create: Here) -> None:
    code, _, complaint = create(option, "0001-01-01")
    assert code == 2 and f"{option} is in the year 1" in complaint and len(complaint.splitlines()) == 1


def test_a_schedule_lives_its_whole_life(create: Here, here: Here, store: ScheduleStore) -> None:
    assert create()[0] == 0
    for verb, state in (("pause", "paused"), ("pause", "paused"), ("resume", "active")):
        code, said, _ = here("schedule", verb, "convert")
        assert (code, _row(said, "State")) == (0, state)
    code, said, _ = here("schedule", "update", "convert", "--cron", "*/5 1 * * 7", "--time-zone", "Asia/Tokyo")
    assert _row(said, "Cron") == "*/5 1 * * 0 (Asia/Tokyo)"
    code, said, _ = here("schedule", "list")
    assert said.splitlines()[1].split()[:4] == ["convert", "active", "local", "convert"]
    code, said, _ = here("schedule", "list", "--json")
    listed = json.loads(said)
    assert (listed["name"], listed["state"], len(listed["next"])) == ("convert", "active", 3)
    code, said, _ = here("schedule", "delete", "convert")
    assert (code, store.records()) == (0, [])
    assert "No schedules yet" in here("schedule", "list")[1]


def test_what_needs_to_be_resumed_says_so_and_goes_on(create: Here, here: Here, store: ScheduleStore) -> None:
    create()
    store.change("convert", lambda record: replace(record, pending="pause"))
    code, said, _ = here("schedule", "show", "convert")
    assert _row(said, "State") == "needs-resume"
    assert _row(said, "Go on") == "tunelane schedule continue convert"
    assert here("schedule", "update", "convert", "--cron", "0 4 * * *")[0] == 2
    code, said, _ = here("schedule", "continue", "convert")
    assert (code, _row(said, "State")) == (0, "paused")
    assert here("schedule", "continue", "convert")[0] == 0


def test_settings_of_the_shell_go_with_the_schedule(
    create: Here, store: ScheduleStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNELANE_REGISTRY_URI", "sqlite:////srv/registry.db")
    monkeypatch.setenv("TUNELANE_KUBEFLOW__TOKEN", "secret")
    create()
    assert store.record("convert").environment == {"TUNELANE_REGISTRY_URI": "sqlite:////srv/registry.db"}


def test_a_crontab_is_printed_and_never_edited(
    create: Here, here: Here, store: ScheduleStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunelane_pipelines.scheduling.crontab.is_machine_zone", lambda *_: True)
    # No crontab could be called.
    monkeypatch.setenv("PATH", "")
    code, said, _ = create(starter="crontab")
    assert code == 0
    assert _row(said, "Line").startswith("0 3 * * MON ")
    assert "Put its line into your crontab yourself: (crontab -l" in said
    assert "Take its line out of your crontab: crontab -l" in here("schedule", "delete", "convert")[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["show", "nightly"], "No schedules below"),
        (["list", "--target", "vertx"], "Did you mean 'vertex'?"),
        (["create", "convert", "--cron", "0 3 * *"], "4 fields"),
        (["create", "convert", "--cron", "0 3 * * *", "--time-zone", "Berlin"], "No time zone 'Berlin'."),
        (["create", "convert", "--cron", "0 3 * * *", "--max-concurrent", "0"], "--max-concurrent is 0"),
        (["create", "convert", "--cron", "0 3 * * *", "--name", "Every Night"], "Cannot use --name 'Every Night'"),
        (["create", "convert", "--cron", "0 3 * * *", "--target", "vertx"], "Did you mean 'vertex'?"),
        (["create", "convert", "--cron", "0 3 * * *", "--with", "daemon"], "No value for checkpoint, data"),
        (["create", "convert", "--cron", "0 3 * * *", "--with", "daemn"], "Did you mean 'daemon'?"),
        (
            ["create", "convert", "--cron", "0 3 * * *", "--target", "vertex", "--with", "daemon"],
            "is for --target local",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_slip_is_one_line_and_leaves_nothing(
    arguments: list[str], words: str, here: Here, store: ScheduleStore
) -> None:
    code, said, complaint = here("schedule", *arguments)
    assert (code, said) == (2, "")
    assert len(complaint.splitlines()) == 1
    assert words in complaint
    assert store.records() == []


def test_a_directory_whose_name_is_no_text_is_refused_in_one_line(
    create: Here, store: ScheduleStore, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = place / "caf\udce9"
    odd.mkdir()
    (odd / "checkpoint").mkdir()
    (odd / "good.csv").write_text(_ROWS)
    monkeypatch.chdir(odd)
    code, _, complaint = create("--root", str(store.root))
    assert (code, complaint.count("\n")) == (2, 1)
    assert "is not UTF-8, as a journal is. Rename it" in complaint
    assert store.records() == []


def test_a_name_is_given_once(create: Here, store: ScheduleStore) -> None:
    create()
    code, _, complaint = create()
    assert code == 2 and "There is a schedule 'convert' already" in complaint
    assert len(store.records()) == 1
