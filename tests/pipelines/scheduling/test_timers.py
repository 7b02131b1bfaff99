"""Timers of systemd and lines of a crontab, as the real programs read them."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tunelane_pipelines.scheduling.cron import check_cron, next_fire_times
from tunelane_pipelines.scheduling.crontab import (
    CrontabKeeper,
    adding_command,
    crontab_line,
    is_machine_zone,
    removing_command,
)
from tunelane_pipelines.scheduling.local import choose_starter
from tunelane_pipelines.scheduling.record import ScheduleRecord
from tunelane_pipelines.scheduling.recurrence import changed
from tunelane_pipelines.scheduling.systemd import SystemdKeeper, calendar_events, has_systemd
from tunelane_pipelines.targets.target import Recurrence
from tunelane_serving.errors import InputError, TunelaneError

_needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="install systemd-analyze")
_SYSTEMCTL = """#!/bin/sh
echo "$@" >> "$HOME/calls"
test -e "$HOME/broken" && { echo "Failed to connect to bus: No medium found" >&2; exit 1; }
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
def london(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Set this process's clock to London."""
    monkeypatch.setenv("TZ", "Europe/London")
    time.tzset()
    yield
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


@_needs_systemd
@given(cron=_LINES)
@settings(max_examples=12, deadline=None)
def test_systemd_counts_as_we_do_where_no_clock_changes(cron: str) -> None:
    line = check_cron(cron)
    after = datetime(2026, 11, 25, 12, 31, tzinfo=UTC)
    expected = [f"{found:%Y-%m-%d %H:%M}" for found in next_fire_times(line, ZoneInfo("Asia/Tokyo"), after, 6)]
    found: set[str] = set()
    for event in calendar_events(line, "Asia/Tokyo"):
        done = subprocess.run(
            ["systemd-analyze", "calendar", "--iterations=6", f"--base-time={after:%Y-%m-%d %H:%M:%S} UTC", event],
            env={**os.environ, "TZ": "UTC"}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        for said in done.stdout.splitlines():
            name, _, value = said.partition(": ")
            if name.strip() == "Next elapse" or name.strip().startswith("Iter."):
                elapse = datetime.strptime(value.strip(), "%a %Y-%m-%d %H:%M:%S %Z").replace(tzinfo=UTC)
                found.add(f"{elapse.astimezone(ZoneInfo('Asia/Tokyo')):%Y-%m-%d %H:%M}")
    assert sorted(found)[:6] == expected


@_needs_systemd
def test_systemd_can_read_the_units(timed: ScheduleRecord, home: Path) -> None:
    keeper = SystemdKeeper(home / "a root of 100% $HOME")
    keeper.create(timed)
    for path in keeper.paths(timed):
        done = subprocess.run(
            ["systemd-analyze", "--user", "verify", path], capture_output=True, text=True, check=False
        )
        said = [line for line in done.stderr.splitlines() if path.stem in line]
        assert said == []


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
    assert not timer.exists() and not service.exists()
    calls = (home / "calls").read_text().splitlines()
    name = timer.name
    install = ["--user daemon-reload", f"--user enable {name}", f"--user restart {name}"]
    assert calls == [
        *install,
        f"--user disable --now {name}",
        f"--user clean --what=state {name}",
        *install,
        *install,
        f"--user disable --now {name}",
        "--user daemon-reload",
        "--user daemon-reload",
    ]


def test_where_systemd_does_not_answer_no_unit_is_left(timed: ScheduleRecord, home: Path) -> None:
    (home / "broken").touch()
    keeper = SystemdKeeper(home / "root")
    with pytest.raises(TunelaneError, match=r"No medium found\. Pass --with daemon"):
        keeper.create(timed)
    assert not any(path.exists() for path in keeper.paths(timed))
    assert not has_systemd()
    with pytest.raises(InputError, match="one run at a time"):
        keeper.update(timed, replace_limit(timed, 2))


def replace_limit(record: ScheduleRecord, limit: int) -> Recurrence:
    return changed(record.recurrence, max_concurrent_runs=limit)


def test_a_line_goes_into_the_crontab_once_and_out_again(
    hourly: Callable[..., ScheduleRecord], home: Path, london: None
) -> None:
    root = home / "100% root"
    (home / "table").write_text("@daily true # mine\n")
    record = replace(hourly(cron="30 3 * * 7", time_zone="Europe/London"), starter="crontab")
    CrontabKeeper().create(record)
    line = crontab_line(record, root)
    assert line.startswith("30 3 * * 0 ")
    assert "100\\% root" in line and "schedule trigger nightly" in line
    for _ in range(2):
        subprocess.run(adding_command(record, root), shell=True, check=True)  # noqa: S602 - what the user would type
        assert (home / "table").read_text().splitlines() == ["@daily true # mine", line]
    subprocess.run(removing_command(record, root), shell=True, check=True)  # noqa: S602
    assert (home / "table").read_text() == "@daily true # mine\n"


def test_a_crontab_is_refused_what_it_cannot_do(hourly: Callable[..., ScheduleRecord], london: None) -> None:
    keeper = CrontabKeeper()
    with pytest.raises(InputError, match=r"goes by this machine's clock .*, not by Europe/Berlin"):
        keeper.create(hourly(time_zone="Europe/Berlin"))
    # The same in winter, and an hour off in summer.
    assert not is_machine_zone(ZoneInfo("UTC"), datetime(2026, 12, 1, tzinfo=UTC))
    assert is_machine_zone(ZoneInfo("Europe/Jersey"), datetime(2026, 12, 1, tzinfo=UTC))
    with pytest.raises(InputError, match="does not catch up"):
        keeper.create(hourly(time_zone="Europe/London", catch_up=True))


def test_what_starts_runs_is_what_the_machine_has(home: Path, london: None, monkeypatch: pytest.MonkeyPatch) -> None:
    here = Recurrence("0 3 * * *", time_zone="Europe/London")
    assert choose_starter("", here) == "systemd"
    assert choose_starter("", Recurrence("0 3 * * *", max_concurrent_runs=2, time_zone="Asia/Tokyo")) == "daemon"
    (home / "broken").touch()
    assert choose_starter("", here) == "crontab"
    assert choose_starter("", Recurrence("0 3 * * *", time_zone="Asia/Tokyo")) == "daemon"
    assert choose_starter("systemd", here) == "systemd"
    with pytest.raises(InputError, match="Did you mean 'crontab'"):
        choose_starter("cronttab", here)
    monkeypatch.setenv("PATH", str(home))
    assert choose_starter("", here) == "daemon"
