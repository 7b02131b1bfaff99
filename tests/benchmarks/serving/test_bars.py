import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from benchmarks.serving.bars import Round, judged, of_load, ratio
from benchmarks.serving.cold import ColdStart
from benchmarks.serving.contestants import BARE, LITSERVE, NAIVE, OURS, TORCH
from benchmarks.serving.rounds import COMMON_RATE, HALF_LOAD, SATURATED, Beside, Load, Turn

MB = 10**6
GOOD = {OURS: 400.0, NAIVE: 200.0, TORCH: 20.0, LITSERVE: 300.0}


def _load(name: str, rps: float = 1, p99_ms: float = 1, cpu_ms: float = 1, errors: int = 0) -> Load:
    return Load(name, 0, rps, p99_ms, p99_ms, p99_ms, cpu_ms, 50, 0, 1000, {"503": errors} if errors else {})


def _round(
    rps: Mapping[str, float] = GOOD,
    *,
    limit: float = 500,
    cpu_ms: tuple[float, float] = (2.8, 3.3),
    p99_ms: tuple[float, float] = (6, 5),
    errors: int = 0,
) -> Round:
    beside = Beside(texts_per_s=limit, cpu_ms=2.5, paced_cpu_ms=3.0)

    def turn(name: str) -> Turn:
        half, common = p99_ms if name == OURS else (10.0, 10.0)
        loads = (
            replace(_load(SATURATED, rps[name], cpu_ms=cpu_ms[0], errors=errors), beside=beside),
            replace(_load(HALF_LOAD, p99_ms=half, cpu_ms=cpu_ms[1]), beside=beside),
            _load(COMMON_RATE, p99_ms=common),
        )
        return Turn({load.name: load for load in loads}, 0)

    return Round({}, {name: turn(name) for name in rps}, 200)


def _starts(seconds: float, resident_mb: float, later_mb: float) -> list[ColdStart]:
    return [ColdStart(seconds, int(resident_mb * MB), 0, int(later_mb * MB), 0)] * 3


def _missed(rounds: Sequence[Round]) -> list[str]:
    return [bar.claim for bar in judged(rounds, {}, None) if not bar.is_met]


def test_all_bars_are_met_by_a_good_server() -> None:
    starts = {OURS: _starts(0.5, 150, 155), BARE: _starts(0.3, 120, 122)}
    bars = judged([_round()] * 3, starts, 200 * MB)
    assert [bar for bar in bars if not bar.is_met] == []
    assert len(bars) == 13


@pytest.mark.parametrize(
    ("found", "missed"),
    [
        (_round(errors=1), "1 requests without a good answer"),
        (_round(cpu_ms=(3.1, 3.3)), "CPU per request at saturation 1.24 x bare inference, at most 1.2"),
        (
            _round(cpu_ms=(2.8, 4.2)),
            "CPU per request at half load 1.40 x bare inference at half load, at most 1.35 "
            "(of bare inference at saturation 1.68 x, and bare inference at half load 1.20 x)",
        ),
        (_round(limit=600), "64 clients: 0.67 of the limit, at least 0.72"),
        (_round(GOOD | {NAIVE: 250}), "64 clients: 1.60 x naive, at least 1.7"),
        (_round(GOOD | {TORCH: 41}), "64 clients: 9.76 x torch, at least 10.0"),
        (_round(GOOD | {LITSERVE: 410}), "64 clients: 0.98 x litserve, above 1"),
        (_round(p99_ms=(7, 5)), "p99 at half of each one's own capacity 0.70 x naive, at most 0.6"),
        (_round(p99_ms=(6, 7)), "p99 at the same rate 0.70 x naive, at most 0.6"),
    ],
)
def test_each_bar_can_be_missed(found: Round, missed: str) -> None:
    assert _missed([found]) == [missed]


def test_one_round_on_a_slow_machine_changes_nothing() -> None:
    slow = _round({name: rps / 10 for name, rps in GOOD.items()}, limit=50)
    assert _missed([_round(), slow, _round()]) == []


def test_what_did_not_take_part_is_not_judged() -> None:
    claims = [bar.claim for bar in judged([_round({OURS: 400})], {}, None)]
    assert not any(name in claim for claim in claims for name in (NAIVE, TORCH, LITSERVE))


def test_without_our_server_nothing_is_judged() -> None:
    assert judged([_round({NAIVE: 200})], {}, None) == []


def test_a_load_that_a_server_was_spared_gives_no_ratio() -> None:
    found = _round()
    spared = Round(found.limit, {**found.turns, NAIVE: Turn({}, 0)}, 200)
    above, below = of_load(OURS, COMMON_RATE, "p99_ms"), of_load(NAIVE, COMMON_RATE, "p99_ms")
    assert math.isnan(ratio([spared], above, below))
    assert ratio([spared, found], above, below) == 0.5


@pytest.mark.parametrize(
    ("ours", "missed"),
    [
        (_starts(0.61, 150, 150), "cold start 0.61 s, 2.03 x bare, at most 2.0"),
        (_starts(0.5, 161, 150), "41 MB more resident than bare at the first answer, at most 40"),
        (_starts(0.5, 150, 165), "43 MB more resident than bare after 50 more, at most 40"),
    ],
)
def test_a_slow_or_large_start_is_seen(ours: list[ColdStart], missed: str) -> None:
    bars = judged([], {OURS: ours, BARE: _starts(0.3, 120, 122)}, None)
    assert [bar.claim for bar in bars if not bar.is_met] == [missed]


def test_a_large_install_is_seen() -> None:
    assert [bar.claim for bar in judged([], {}, 260 * MB)] == ["serve-only install 260 MB, below 250"]
