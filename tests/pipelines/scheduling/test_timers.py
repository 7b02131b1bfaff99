"""Timers of systemd and lines of a crontab, as the real programs read them."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tunelane_pipelines.scheduling import machine_zone as machine_zone_module
from tunelane_pipelines.scheduling.cron import check_cron
from tunelane_pipelines.scheduling.crontab import CrontabKeeper, adding_command, crontab_line, removing_command
from tunelane_pipelines.scheduling.journalled import NeedsResume, Schedules
from tunelane_pipelines.scheduling.local import choose_starter
from tunelane_pipelines.scheduling.machine_zone import is_machine_zone
from tunelane_pipelines.scheduling.record import ScheduleRecord
from tunelane_pipelines.scheduling.recurrence import changed, next_runs
from tunelane_pipelines.scheduling.showing import when_rows
from tunelane_pipelines.scheduling.store import ScheduleStore
from tunelane_pipelines.scheduling.systemd import SystemdKeeper, calendar_events, has_systemd
from tunelane_pipelines.settings import Settings
from tunelane_pipelines.targets.clock import Clock
from tunelane_pipelines.targets.target import Recurrence
from tunelane_serving.errors import InputError, TunelaneError

# What it fails at is what stands in `broken`.
_SYSTEMCTL = """#!/bin/sh
echo "$@" >> "$HOME/calls"
test -e "$HOME/broken" && case "$2" in $(cat "$HOME/broken")*)
  echo "Failed to connect to bus: No medium found" >&2; exit 1;; esac
units="$HOME/.config/systemd/user"
wants="$units/timers.target.wants"
case "$2" in
  daemon-reload) cat "$units"/*.timer > "$HOME/loaded" 2>/dev/null;;
  enable) mkdir -p "$wants" && ln -sf "../$3" "$wants/$3";;
  disable) rm -f "$wants/$3" "$HOME/active";;
  restart) touch "$HOME/active";;
  stop) rm -f "$HOME/active";;
  is-active) test -e "$HOME/active" || exit 3;;
  # It has a note of the last run to remove only of a timer that stands still and catches up.
  clean) test ! -e "$HOME/active" && grep -q Persistent=true "$HOME/loaded" || exit 1;;
esac
exit 0
"""
# Keeps a crontab in a file.
_CRONTAB = """#!/bin/sh
case "$1" in -l) cat "$HOME/table";; -) cat > "$HOME/new" && mv "$HOME/new" "$HOME/table";; esac
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a `systemctl` and a `crontab` that write down what they are told."""
    home = tmp_path / "my home"
    (home / "bin").mkdir(parents=True)
    for name, script in (("systemctl", _SYSTEMCTL), ("crontab", _CRONTAB)):
        (home / "bin" / name).write_text(script)
        (home / "bin" / name).chmod(0o755)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("PATH", f"{home / 'bin'}:{os.environ['PATH']}")
    return home


@pytest.fixture
def london(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Set this machine's clock to London, and the shell's, which is nothing to cron, to Tokyo; gives the machine's."""
    localtime = tmp_path / "localtime"
    localtime.symlink_to("/usr/share/zoneinfo/Europe/London")
    monkeypatch.setattr(machine_zone_module, "_LOCALTIME", localtime)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield localtime
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def timed(hourly: Callable[..., ScheduleRecord]) -> ScheduleRecord:
    return replace(hourly(cron="30 3 1 * MON", time_zone="Europe/Berlin", catch_up=True), starter="systemd")


_NUMBERS = st.sampled_from(["*", "*/20", "5", "0,30", "10-12", "*/7,3"])
_LINES = st.tuples(
    _NUMBERS,
    st.sampled_from(["*", "3", "*/6", "22-23"]),
    st.sampled_from(["*", "1", "*/10", "28-31", "1-31"]),
    st.sampled_from(["*", "JAN", "2,12"]),
    st.sampled_from(["*", "0", "MON-FRI", "6,7", "*/2", "0-6"]),
).map(" ".join)


_NIGHTS = [
    ("Asia/Tokyo", datetime(2026, 11, 25, 12, 31, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2027, 3, 27, 22, 31, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2027, 10, 30, 22, 31, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2027, 4, 3, 12, 31, tzinfo=UTC)),
]


@pytest.mark.usefixtures("systemd_analyze")
@given(cron=_LINES | st.just("30 2 * * *"), night=st.sampled_from(_NIGHTS))
@settings(max_examples=12)
@example(cron="30 2 * * *", night=_NIGHTS[1])
@example(cron="*/20 * * * *", night=_NIGHTS[2])
def test_what_we_show_of_a_timer_is_what_systemd_counts_also_where_clocks_change(
    cron: str, night: tuple[str, datetime]
) -> None:
    line = check_cron(cron)
    zone, after = night
    recurrence = Recurrence(line, time_zone=zone)
    expected = [f"{found.astimezone(UTC):%Y-%m-%d %H:%M}" for found in next_runs(recurrence, after, 6, by_systemd=True)]
    found: set[str] = set()
    for event in calendar_events(line, zone):
        done = subprocess.run(
            ["systemd-analyze", "calendar", "--iterations=6", f"--base-time={after:%Y-%m-%d %H:%M:%S} UTC", event],
            env={**os.environ, "TZ": "UTC"}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        for said in done.stdout.splitlines():
            name, _, value = said.partition(": ")
            if name.strip() == "Next elapse" or name.strip().startswith("Iter."):
                elapse = datetime.strptime(value.strip(), "%a %Y-%m-%d %H:%M:%S %Z").replace(tzinfo=UTC)
                found.add(f"{elapse:%Y-%m-%d %H:%M}")
    assert sorted(found)[:6] == expected


@pytest.mark.usefixtures("systemd_analyze")
def test_systemd_can_read_the_units(timed: ScheduleRecord, home: Path) -> None:
    keeper = SystemdKeeper(home / "a root of 100% $HOME")
    keeper.create(timed)
    for path in keeper.paths(timed):
        done = subprocess.run(
            ["systemd-analyze", "--user", "verify", path], capture_output=True, text=True, check=False
        )
        said = [line for line in done.stderr.splitlines() if path.stem in line]
        assert said == []


@pytest.mark.parametrize(("starter", "days"), [("systemd", [25, 27, 28]), ("daemon", [25, 26, 27])])
def test_a_time_that_clocks_leave_out_is_shown_as_what_starts_runs_takes_it(
    starter: Any, days: list[int], hourly: Callable[..., ScheduleRecord]
) -> None:
    record = replace(hourly(cron="30 2 * * *", time_zone="Europe/Berlin"), starter=starter)
    rows = when_rows(record, Settings(), datetime(2090, 3, 24, 12, tzinfo=UTC))
    begin = [name for name, _ in rows].index("Next")
    assert [value.split()[1] for _, value in rows[begin : begin + 3]] == [f"2090-03-{day}" for day in days]


def test_units_are_written_started_paused_and_removed(timed: ScheduleRecord, home: Path) -> None:
    keeper = SystemdKeeper(home / "root")
    keeper.create(timed)
    timer, service = keeper.paths(timed)
    assert timer.parent == home / ".config" / "systemd" / "user"
    assert "OnCalendar=*-*-1 3:30:00 Europe/Berlin\nOnCalendar=Mon *-*-* 3:30:00 Europe/Berlin\n" in timer.read_text()
    assert "Persistent=true" in timer.read_text()
    assert f'"schedule" "trigger" "nightly" "--root" "{home}/root"' in service.read_text()
    keeper.pause(timed)
    keeper.resume(timed, catch_up=False)
    keeper.update(timed, changed(timed.recurrence, cron="0 4 * * *"))
    assert "OnCalendar=*-*-* 4:0:00 Europe/Berlin\n" in timer.read_text()
    keeper.delete(timed)
    keeper.delete(timed)
    assert not timer.exists() and not service.exists() and list(timer.parent.rglob(timer.name)) == []
    calls = (home / "calls").read_text().splitlines()
    name = timer.name
    forget = [f"--user stop {name}", f"--user clean --what=state {name}"]
    install = ["--user daemon-reload", f"--user enable {name}", f"--user restart {name}"]
    assert calls == [
        *install,
        f"--user disable --now {name}",
        *forget,
        *install,
        # Else systemd would start at once what the new times make due since the last run.
        *forget,
        *install,
        f"--user disable --now {name}",
        "--user daemon-reload",
        "--user daemon-reload",
    ]


@pytest.mark.parametrize("broken_at", ["", "restart"])
def test_where_systemd_does_not_answer_no_unit_is_left(broken_at: str, timed: ScheduleRecord, home: Path) -> None:
    (home / "broken").write_text(broken_at)
    keeper = SystemdKeeper(home / "root")
    with pytest.raises(TunelaneError, match=r"No medium found\. Pass --with daemon"):
        keeper.create(timed)
    timer = keeper.paths(timed)[0]
    # Nor the link of an enabled one.
    assert [path for path in timer.parent.rglob("*") if not path.is_dir()] == []
    assert has_systemd() == bool(broken_at)
    with pytest.raises(InputError, match="one run at a time"):
        keeper.update(timed, replace_limit(timed, 2))


def test_a_home_that_units_cannot_be_written_to_or_removed_from_is_named(
    timed: ScheduleRecord, home: Path, store: ScheduleStore, clock: Clock
) -> None:
    schedules = Schedules(store, SystemdKeeper(store.root), clock)
    (home / ".config").touch()
    with pytest.raises(InputError, match=r"Cannot write to .*/systemd/user: .*Pass --with daemon"):
        schedules.create(timed)
    assert store.records() == []
    (home / ".config").unlink()
    schedules.create(timed)
    service = SystemdKeeper(store.root).paths(timed)[1]
    service.unlink()
    service.mkdir()
    with pytest.raises(NeedsResume, match=r"Cannot remove .*\.service: .*Remove it by hand\. Go on with"):
        schedules.delete("nightly")
    service.rmdir()
    schedules.carry_on("nightly")
    assert store.records() == []


@pytest.mark.parametrize("broken_at", ["stop", "clean", "restart"])
def test_an_update_that_stopped_the_timer_is_carried_on(
    broken_at: str, timed: ScheduleRecord, home: Path, store: ScheduleStore, clock: Clock
) -> None:
    schedules = Schedules(store, SystemdKeeper(store.root), clock)
    schedules.create(timed)
    (home / "broken").write_text(broken_at)
    new = changed(timed.recurrence, cron="0 4 * * *", catch_up=False)
    with pytest.raises(TunelaneError) as caught:
        schedules.update("nightly", new)
    # Where not even the stop was carried out, the timer runs as it did.
    assert isinstance(caught.value, NeedsResume) == (broken_at != "stop")
    (home / "broken").unlink()
    done = schedules.update("nightly", new) if broken_at == "stop" else schedules.carry_on("nightly")
    assert (done.recurrence, done.shown_state) == (new, "active")
    assert (home / "active").exists()


def replace_limit(record: ScheduleRecord, limit: int) -> Recurrence:
    return changed(record.recurrence, max_concurrent_runs=limit)


def test_a_line_goes_into_the_crontab_once_and_out_again(
    hourly: Callable[..., ScheduleRecord], home: Path, london: Path
) -> None:
    root = home / "100% root"
    mine = ["@daily true # mine"]
    record = replace(hourly(cron="30 3 * * 7", time_zone="Europe/London"), starter="crontab")
    CrontabKeeper().create(record)
    line = crontab_line(record, root)
    assert line.startswith("30 3 * * 0 ")
    assert "100\\% root" in line and "schedule trigger nightly" in line
    # Whose names or roots begin as these do.
    mine += [crontab_line(replace(record, name=name), other) for name, other in (
        ("nightly", home / "100% root-dev"), ("nightly-2", root), ("my-nightly", root),
    )]  # fmt: skip
    (home / "table").write_text("".join(f"{other}\n" for other in mine))
    for _ in range(2):
        subprocess.run(adding_command(record, root), shell=True, check=True)  # noqa: S602 - what the user would type
        assert (home / "table").read_text().splitlines() == [*mine, line]
    subprocess.run(removing_command(record, root), shell=True, check=True)  # noqa: S602
    assert (home / "table").read_text().splitlines() == mine


def test_a_crontab_is_refused_what_it_cannot_do(hourly: Callable[..., ScheduleRecord], london: Path) -> None:
    keeper = CrontabKeeper()
    with pytest.raises(InputError, match=r"goes by this machine's clock \(Europe/London\), not by Europe/Berlin"):
        keeper.create(hourly(time_zone="Europe/Berlin"))
    # The same in winter, and an hour off in summer.
    assert not is_machine_zone(ZoneInfo("UTC"), datetime(2026, 12, 1, tzinfo=UTC))
    assert is_machine_zone(ZoneInfo("Europe/Jersey"), datetime(2026, 12, 1, tzinfo=UTC))
    with pytest.raises(InputError, match="does not catch up"):
        keeper.create(hourly(time_zone="Europe/London", catch_up=True))


def test_what_starts_runs_is_what_the_machine_has(home: Path, london: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = Recurrence("0 3 * * *", time_zone="Europe/London")
    assert choose_starter("", here) == "systemd"
    assert choose_starter("", Recurrence("0 3 * * *", max_concurrent_runs=2, time_zone="Asia/Tokyo")) == "daemon"
    (home / "broken").write_text("show")
    assert choose_starter("", here) == "crontab"
    assert choose_starter("", Recurrence("0 3 * * *", time_zone="Asia/Tokyo")) == "daemon"
    assert choose_starter("systemd", here) == "systemd"
    with pytest.raises(InputError, match="Did you mean 'crontab'"):
        choose_starter("cronttab", here)
    monkeypatch.setenv("PATH", str(home))
    assert choose_starter("", here) == "daemon"
