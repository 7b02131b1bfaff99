"""The server beside bare ONNX Runtime, a naive server, PyTorch and two other servers, on the same model.

python -m benchmarks.serving [--package DIR] [--rounds 5] [--seconds 4] [--only NAME ...] [--quick]
  [--output benchmarks/results/serving.json]

Servers take turns within a round, in an order that changes from round to round; each has the machine to itself while it
is measured. Ratios are taken within a round and their median counts, since the speed of a machine changes. Latencies of
open loops run from the scheduled arrival. Run it from the repository's root, with nothing else at work; all of it takes
about 15 minutes.

Exit code 1: a bar was missed (with --quick: this server failed). 2: there is nothing to serve.
"""

import argparse
import json
import math
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.environment import environment

from .bars import Round, judged, of_limit, of_load, ratio
from .cold import ColdStart, cold_start
from .contestants import (
    LITSERVE,
    MLSERVER,
    NAIVE,
    OURS,
    PEERS,
    TORCH,
    Contestant,
    bare,
    litserve,
    mlserver,
    naive,
    tunelane,
)
from .contestants import torch as with_torch
from .install import installed_bytes
from .limit import MODES, SAME_MODE
from .models import MAKES_PACKAGE, champion, checkpoint_of, sample_texts
from .peers import REQUIREMENTS_BY_PEER, CannotInstall, peer_python
from .processes import ServerFailed
from .raw_graph import RawGraph, session_options
from .rounds import COMMON_RATE, SATURATED, Load, Started, in_process, limit, turn

ROOT = Path(__file__).resolve().parents[2]
NAMES = (OURS, NAIVE, TORCH, *PEERS)
TEXTS = 1000
COLD_STARTS = 7
MAX_OTHERS_SHARE = 0.05


def main() -> int:
    options = _parser().parse_args()
    if options.quick:
        options.rounds, options.seconds, options.cold_starts = 1, 1.0, 2
    package = options.package or champion(options.home)
    if package is None:
        print(
            f"No package to serve below {options.home}. Make one: {MAKES_PACKAGE}. Or pass --package.", file=sys.stderr
        )
        return 2
    if not (package / "manifest.json").is_file():
        print(f"{package} is no model package: it has no manifest.json. Pass another with --package.", file=sys.stderr)
        return 2
    package = package.absolute()
    texts = sample_texts(TEXTS, options.seed)
    graph = RawGraph(package, session_options())
    expected = [str(graph.answer(text)["label"]) for text in texts]
    contestants, left_out = _contestants(options, package)
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        rounds, failures = _rounds(contestants, package, texts, expected, options, directory)
        starts: dict[str, list[ColdStart]] = {}
        install_bytes = None
        try:
            starts = _cold_starts(contestants, package, texts, options, directory)
        except ServerFailed as error:
            failures["cold start"] = str(error)
        try:
            install_bytes = None if options.quick or options.only else installed_bytes(ROOT, directory / "install")
        except subprocess.CalledProcessError as error:
            failures["install"] = error.stderr.decode().strip().rpartition("\n")[2]
    bars = judged(rounds, starts, install_bytes)
    _print_table(rounds, starts)
    others = [load.others_share for found in rounds for one in found.turns.values() for load in one.loads.values()]
    if others and median(others) > MAX_OTHERS_SHARE:
        print(f"\nOthers used {median(others):.0%} of this machine's processors meanwhile: trust none of the figures")
    for name, reason in {**left_out, **failures}.items():
        print(f"\n{name} is left out: {reason}")
    print()
    for bar in bars:
        print(f"{'met   ' if bar.is_met else 'MISSED'} {bar.claim}")
    result = {
        "question": "throughput, latency, processor time, cold start and memory of servers of the same int8 package",
        "seed": options.seed,
        "seconds": options.seconds,
        "texts": {"count": len(texts), "source": "sample://sentiment"},
        "medians": _medians(rounds),
        "rounds": [asdict(found) for found in rounds],
        "cold_starts": {name: [asdict(start) for start in found] for name, found in starts.items()},
        "install_bytes": install_bytes,
        "left_out": {**left_out, **failures},
        "bars": [asdict(bar) for bar in bars],
        "environment": _environment(package),
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(_without_nan(result), indent=2) + "\n")
    if failures.keys() & {OURS, "cold start", "install"}:
        return 1
    return 0 if options.quick or all(bar.is_met for bar in bars) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__.splitlines()[0])
    parser.add_argument("--package", type=Path, help="a model package of sentences (default: the local champion)")
    parser.add_argument(
        "--checkpoint", type=Path, help="its PyTorch checkpoint (default: that of the run that made it)"
    )
    parser.add_argument("--home", type=Path, default=Path(".tunelane"), help="where runs and deployments lie")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    parser.add_argument("--cold-starts", type=int, default=COLD_STARTS, help="of each server")
    parser.add_argument("--only", nargs="+", choices=NAMES, metavar="NAME", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--quick", action="store_true", help="one short round: whether it works, not how fast")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/serving.json"))
    return parser


def _contestants(options: argparse.Namespace, package: Path) -> tuple[list[Contestant], dict[str, str]]:
    """Give who takes part, and why the others do not."""
    wanted = options.only or NAMES
    found: list[Contestant] = []
    left_out: dict[str, str] = {}
    if OURS in wanted:
        found.append(tunelane(package))
    if NAIVE in wanted:
        found.append(naive(package))
    if TORCH in wanted:
        checkpoint = options.checkpoint or checkpoint_of(package, options.home)
        if checkpoint is None:
            left_out[TORCH] = "the checkpoint of the package was not found; pass --checkpoint"
        else:
            max_length_tokens = json.loads((package / "manifest.json").read_bytes())["max_length_tokens"]
            found.append(with_torch(checkpoint.absolute(), max_length_tokens))
    for name, make in ((LITSERVE, litserve), (MLSERVER, mlserver)):
        if name in wanted:
            try:
                found.append(make(package, peer_python(name)))
            except CannotInstall as error:
                left_out[name] = str(error)
    return found, left_out


def _common_rate(
    contestants: Sequence[Contestant], texts: Sequence[str], options: argparse.Namespace, directory: Path
) -> float:
    """Give half of what this server does just now with 64 clients; 0 where it takes no part.

    It is measured anew for each round, since the speed of a machine changes.
    """
    ours = next((contestant for contestant in contestants if contestant.name == OURS), None)
    if ours is None:
        return 0.0
    with Started(ours, directory) as server:
        server.wait(texts[0])
        bodies = [ours.encode(text) for text in texts]
        return server.load(SATURATED, bodies, options.seconds, options.seed, clients=64).rps / 2


def _rounds(
    contestants: Sequence[Contestant],
    package: Path,
    texts: Sequence[str],
    expected: Sequence[str],
    options: argparse.Namespace,
    directory: Path,
) -> tuple[list[Round], dict[str, str]]:
    """Give all rounds, and why those who failed were left out of the rounds after."""
    generator = random.Random(options.seed)  # noqa: S311 - an order, no secret
    rounds: list[Round] = []
    failures: dict[str, str] = {}
    print(_HEAD)
    for number in range(options.rounds):
        limits: dict[str, Any] = {}
        turns = {}
        order = [*contestants, None]
        generator.shuffle(order)
        rate_per_s = _common_rate(contestants, texts, options, directory / f"{number}-first")
        for contestant in order:
            if contestant is None:
                limits = limit(package, texts, options.seconds / 2, number, rate_per_s)
            elif contestant.name not in failures:
                try:
                    turns[contestant.name] = turn(
                        contestant,
                        texts,
                        expected,
                        directory / f"{number}-{contestant.name}",
                        seconds=options.seconds,
                        seed=options.seed + number,
                        common_rate_per_s=rate_per_s,
                        in_process=partial(in_process, package, texts, SAME_MODE, options.seconds / 2, number)
                        if contestant.name == OURS
                        else None,
                    )
                except ServerFailed as error:
                    failures[contestant.name] = str(error)
                    continue
                for load in turns[contestant.name].loads.values():
                    print(_line(f"{number + 1}", contestant.name, load), flush=True)
        rounds.append(Round(limits, turns, rate_per_s))
    return rounds, failures


def _cold_starts(
    contestants: Sequence[Contestant],
    package: Path,
    texts: Sequence[str],
    options: argparse.Namespace,
    directory: Path,
) -> dict[str, list[ColdStart]]:
    """Start this server and the smallest one in turn."""
    ours = [contestant for contestant in contestants if contestant.name == OURS]
    pair = [*ours, bare(package)] if ours else []
    starts: dict[str, list[ColdStart]] = {contestant.name: [] for contestant in pair}
    for number in range(options.cold_starts):
        for contestant in pair if number % 2 else reversed(pair):
            place = directory / f"cold-{number}-{contestant.name}"
            starts[contestant.name].append(cold_start(contestant, package, texts, place))
    return starts


_HEAD = f"{'':9} {'':9} {'':11} {'rps':>6} {'p50':>7} {'p95':>7} {'p99 ms':>7} {'CPU ms':>7} {'errors':>6}"


def _line(round_name: str, name: str, load: Load) -> str:
    errors = sum(load.errors.values())
    times = f"{load.p50_ms:>7.1f} {load.p95_ms:>7.1f} {load.p99_ms:>7.1f} {load.cpu_ms:>7.2f}"
    return f"{round_name:9} {name:9} {load.name:11} {load.rps:>6.0f} {times} {errors:>6}"


def _print_table(rounds: Sequence[Round], starts: dict[str, list[ColdStart]]) -> None:
    """Print medians over the rounds, and ratios to the limit of the same mode."""
    print(f"\nMedians of {len(rounds)} rounds; of the limit and of bare inference: {SAME_MODE}")
    for mode in (*MODES, COMMON_RATE):
        measured = [found.limit[mode] for found in rounds if mode in found.limit]
        if not measured:
            continue
        rates, cpus = [one["texts_per_s"] for one in measured], [one["cpu_ms"] for one in measured]
        print(f"{'in process':10} {mode:57} {median(rates):>6.0f} texts/s {median(cpus):>5.2f} CPU ms")
    print(f"\n{_HEAD}  of limit  x bare CPU  generator us")
    for name in [name for name in NAMES if any(name in found.turns for found in rounds)]:
        for row in _medians(rounds)[name].values():
            share = ratio(rounds, of_load(name, row["name"], "rps"), of_limit(SAME_MODE, "texts_per_s"))
            cpu = ratio(rounds, of_load(name, row["name"], "cpu_ms"), of_limit(SAME_MODE, "cpu_ms"))
            print(f"{_line('median', name, Load(**row))} {share:>9.2f} {cpu:>11.2f} {row['generator_cpu_us']:>13.0f}")
    for name in NAMES:
        spared = sum(COMMON_RATE not in found.turns[name].loads for found in rounds if name in found.turns)
        if spared:
            print(f"{name} cannot keep up with the common rate in {spared} of {len(rounds)} rounds: not loaded with it")
    for name, found in starts.items():
        if found:
            print(
                f"{name:9} first answer {median(start.first_answer_s for start in found):.2f} s, "
                f"{median(start.resident_bytes for start in found) / 1e6:.0f} MB resident, "
                f"{median(start.later_resident_bytes for start in found) / 1e6:.0f} MB after 50 more"
            )


def _medians(rounds: Sequence[Round]) -> dict[str, dict[str, dict[str, Any]]]:
    """Give the medians over rounds of each figure, by server and load; requests and errors are sums."""
    by_server: dict[str, dict[str, list[Load]]] = {}
    for found in rounds:
        for name, one in found.turns.items():
            for load in one.loads.values():
                by_server.setdefault(name, {}).setdefault(load.name, []).append(load)
    return {
        name: {load: _median_load(measured) for load, measured in by_load.items()}
        for name, by_load in by_server.items()
    }


def _median_load(loads: Sequence[Load]) -> dict[str, Any]:
    figures = ("rate_per_s", "rps", "p50_ms", "p95_ms", "p99_ms", "cpu_ms", "generator_cpu_us", "others_share")
    errors: dict[str, int] = {}
    for load in loads:
        for status, count in load.errors.items():
            errors[status] = errors.get(status, 0) + count
    return {
        "name": loads[0].name,
        **{figure: median(getattr(load, figure) for load in loads) for figure in figures},
        "requests": sum(load.requests for load in loads),
        "errors": errors,
    }


def _without_nan(value: Any) -> Any:
    """Give the same with null for what is not a number, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _environment(package: Path) -> dict[str, Any]:
    found = environment()
    found["versions"] |= {name: version(name) for name in ("uvicorn", "starlette", "fastapi", "msgspec", "httptools")}
    found["peers"] = REQUIREMENTS_BY_PEER
    found["package"] = package.name
    return found


if __name__ == "__main__":
    sys.exit(main())
