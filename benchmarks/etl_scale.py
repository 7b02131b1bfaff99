"""The ETL at scale, beside what a user would write with pandas and with Hugging Face `datasets`, on the same file.

python benchmarks/etl_scale.py [--rows 1000000 10000000] [--repeats 1] [--keep DIR] [--figure-rows 200000]
  [--output benchmarks/results/etl_scale.json]

All read a CSV of short reviews, check it, merge exact duplicates, take out texts with conflicting labels, split by hash
and write JSONL. Their splits are compared row for row. Each runs in a process of its own, whose children count too, on
the same disk; the order changes from repeat to repeat. Files are in the page cache when they are read.

Exit code 1: a bar was missed. Time and memory are judged from a million rows up.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from shutil import rmtree
from typing import Any

from environment import environment
from scale.bars import OURS, Size, judged
from scale.comparing import Comparison, compare
from scale.measuring import Measured, available_memory_bytes, measure
from scale.reviews import make_csv, make_jsonl_gz, make_parquet

from tunelane_pipelines.samples import fetch, is_fetched

SCRIPTS = Path(__file__).parent / "scale"
COMMANDS = {
    OURS: ["with_tunelane.py"],
    "pandas": ["with_pandas.py"],
    "datasets": ["with_datasets.py"],
    "datasets, random splits": ["with_datasets.py", "--random-splits"],
}
COMPARED = ("pandas", "datasets")
COUNTS = ("rows_read", "rows_kept", "rows_merged", "rows_quarantined")
SEED = 0
# What is left of the memory is the system's.
MEMORY_SHARE = 0.9


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--figure-rows", type=int, default=200_000, help="rows of the further figures; 0 for none")
    parser.add_argument("--keep", type=Path, help="a directory with a short path that keeps the made files")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/etl_scale.json"))
    arguments = parser.parse_args()
    limit_bytes = int(available_memory_bytes() * MEMORY_SHARE)
    with _directory(arguments.keep) as directory:
        print(_HEAD)
        sizes = [_measured(rows, arguments.repeats, directory, limit_bytes) for rows in arguments.rows]
        figures = _figures(arguments.figure_rows, directory, limit_bytes) if arguments.figure_rows else []
    bars = judged(sizes)
    print()
    for bar in bars:
        print(f"{'met   ' if bar.is_met else 'MISSED'} {bar.claim}")
    result = {
        "question": "rows/s, memory and disk from CSV to checked, deduplicated, split JSONL",
        "seed": SEED,
        "memory_limit_bytes": limit_bytes,
        "sizes": [_as_json(size) for size in sizes],
        "figures": figures,
        "bars": [asdict(bar) for bar in bars],
        "environment": _environment(),
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(result, indent=2) + "\n")
    return 0 if all(bar.is_met for bar in bars) else 1


def _measured(rows: int, repeats: int, directory: Path, limit_bytes: int) -> Size:
    """Run all builds over a file of so many rows."""
    data = _reviews(rows, directory)
    runs: dict[str, list[Measured]] = {name: [] for name in COMMANDS}
    comparisons: dict[str, list[Comparison]] = {name: [] for name in COMPARED}
    for repeat in range(repeats):
        with tempfile.TemporaryDirectory(dir=directory) as scratch:
            # Everybody is first in turn.
            first = repeat % len(COMMANDS)
            for name in [*COMMANDS, *COMMANDS][first : first + len(COMMANDS)]:
                runs[name].append(_run(name, data, _work(scratch, name), limit_bytes))
                print(_line(rows, name, runs[name][-1]), flush=True)
            ours = runs[OURS][-1]
            for name in COMPARED:
                if runs[name][-1].outcome == "done":
                    comparisons[name].append(compare(_work(scratch, OURS) / "out", _work(scratch, name) / "out"))
                    _say_compared(name, comparisons[name][-1])
            for name in COMMANDS:
                _check_counts(name, ours, runs[name][-1])
    return Size(rows, data.stat().st_size, runs, comparisons)


def _work(scratch: str, name: str) -> Path:
    """Give where a build works: a short path, as sockets of worker processes have one of 100 characters at most."""
    return Path(scratch) / str(list(COMMANDS).index(name))


def _run(name: str, data: Path, directory: Path, limit_bytes: int, options: Sequence[str] = ()) -> Measured:
    """Run one build in a process of its own; what it leaves beside its output is thrown away."""
    _read_through(data)
    script, *more = COMMANDS[name]
    command = [sys.executable, str(SCRIPTS / script), str(data), str(directory / "out"), *more, *options]
    measured = measure(
        command, directory, limit_bytes=limit_bytes, environment={"HF_HOME": str(directory / "huggingface")}
    )
    if measured.outcome != "done":
        said = (directory / "said.txt").read_text(errors="replace").strip()
        if name == OURS:
            raise SystemExit(f"{name}: {measured.outcome}\n{said}")
        # An alternative that cannot do it is a finding, not the end of the run.
        measured = replace(measured, output=said.rpartition("\n")[2])
    for left in directory.iterdir():
        if left.is_dir() and left.name != "out":
            rmtree(left)
    return measured


def _figures(rows: int, directory: Path, limit_bytes: int) -> list[dict[str, Any]]:
    """Measure what costs extra or comes in another form, with the plain build of as many rows for comparison."""
    data = _reviews(rows, directory)
    parquet, packed = data.with_suffix(".parquet"), data.with_suffix(".jsonl.gz")
    make_parquet(data, parquet)
    make_jsonl_gz(data, packed)
    asked: list[tuple[str, Path, list[str]]] = [
        ("plain", data, []),
        ("Parquet input", parquet, []),
        ("gzipped JSONL input", packed, []),
        ("personal data masked", data, ["mask_personal_data=true"]),
        ("near-duplicates searched (0.8)", data, ["near_duplicate_threshold=0.8"]),
    ]
    if is_fetched("minilm"):
        tokenizer = json.dumps(str(fetch("minilm")))
        asked.append(("tokens counted (MiniLM)", data, [f"tokenizer={tokenizer}", "max_tokens=512"]))
    else:
        print("No tokens are counted: the tokenizer is not there. Run: tunelane samples fetch minilm")
    print()
    figures = []
    for name, source, options in asked:
        with tempfile.TemporaryDirectory(dir=directory) as scratch:
            measured = _run(OURS, source, Path(scratch) / "figure", limit_bytes, options)
        print(_line(rows, name, measured), flush=True)
        rows_read = json.loads(measured.output)["rows_read"]
        figures.append(
            {"name": name, "rows_per_s": rows_read / measured.wall_s, "file_bytes": source.stat().st_size}
            | _run_as_json(measured)
        )
    return figures


def _reviews(rows: int, directory: Path) -> Path:
    """Make the file of so many rows, unless it was kept."""
    path = directory / f"reviews-{rows}-{SEED}.csv"
    if not path.exists():
        partial = path.with_suffix(".partial")
        make_csv(partial, rows, SEED)
        partial.replace(path)
    return path


def _read_through(path: Path) -> None:
    """Bring a file into the page cache, so that nobody is the one who reads it from the disk."""
    with path.open("rb") as stream:
        while stream.read(2**22):
            pass


def _check_counts(name: str, ours: Measured, theirs: Measured) -> None:
    """Stop where a build that was done counted otherwise than ours: the rows would not be the same work."""
    if theirs.outcome != "done":
        return
    one, other = json.loads(ours.output), json.loads(theirs.output)
    for count in COUNTS:
        # The alternative with random splits filters what is left; whom it counts how is the same.
        if one[count] != other[count]:
            raise SystemExit(f"{name}: {count} is {other[count]:,}; {OURS} has {one[count]:,}")


_HEAD = f"{'rows':>10} {'':31} {'wall s':>7} {'rows/s':>8} {'CPU s':>7} {'MB':>6} {'mapped':>6} {'disk MB':>7}"


def _line(rows: int, name: str, run: Measured) -> str:
    """One line of the table: memory that is the processes' own, mapped files in memory, and the most on the disk."""
    if run.outcome != "done":
        place = f"at {run.peak_memory_bytes / 1e6:,.0f} MB after {run.wall_s:.0f} s"
        return f"{rows:>10,} {name:31} {run.outcome} {place} {run.output}"
    memory = f"{run.peak_memory_bytes / 1e6:>6,.0f} {run.peak_mapped_bytes / 1e6:>6,.0f}"
    return (
        f"{rows:>10,} {name:31} {run.wall_s:>7.1f} {rows / run.wall_s:>8,.0f} {run.cpu_s:>7.1f} {memory} "
        f"{run.peak_disk_bytes / 1e6:>7,.0f}"
    )


def _say_compared(name: str, comparison: Comparison) -> None:
    if comparison.is_same:
        print(f"{'':10} {name}: {comparison.rows:,} rows are the same, {comparison.same_bytes:,} byte for byte")
    else:
        print(f"{'':10} {name}: DIFFERS at {comparison.first_difference}")


def _as_json(size: Size) -> dict[str, Any]:
    return {
        "rows": size.rows,
        "file_bytes": size.file_bytes,
        "builds": [
            {
                "name": name,
                "rows_per_s": size.rows_per_s(name) if all(run.outcome == "done" for run in runs) else None,
                "runs": [_run_as_json(run) for run in runs],
                "comparisons": [asdict(comparison) for comparison in size.comparisons.get(name, [])],
            }
            for name, runs in size.runs.items()
        ],
    }


def _run_as_json(run: Measured) -> dict[str, Any]:
    return asdict(run) | {"output": json.loads(run.output) if run.outcome == "done" else run.output}


def _environment() -> dict[str, Any]:
    found = environment()
    found["versions"] |= {package: version(package) for package in ("pandas", "datasets", "pyarrow", "msgspec")}
    return found


@contextmanager
def _directory(kept: Path | None) -> Iterator[Path]:
    if kept is None:
        with tempfile.TemporaryDirectory() as scratch:
            yield Path(scratch)
    else:
        kept.mkdir(parents=True, exist_ok=True)
        yield kept.absolute()


if __name__ == "__main__":
    sys.exit(main())
