"""How long the commands take that are typed all day beside runs in the cloud.

python -m benchmarks.cloud [--rounds 7] [--runs 1000] [--seed 0] [--output benchmarks/results/cloud.json]

Each command is a process of its own, from its start to its end; the commands take turns within a round, and the first
round, which fills the file cache, does not count. Nothing is reached: the proxy that the environment names is a closed
port, and there are no credentials. Run it from the repository's root, with nothing else at work; it takes a minute.

Exit code 1: a bar was missed.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.environment import environment
from benchmarks.waits import Timing, Wait, print_timings, timing, waited
from tunelane_components.images import EXTRA_BY_IMAGE

from .journals import fill_journal

_PROJECT, _REGION = "my-project", "europe-west4"
_CLOSED = "http://127.0.0.1:9"
_DRY_RUN_S, _LIST_S = 3.0, 1.0
_UNFINISHED = 20


@dataclass(frozen=True)
class Case:
    """A command, what says where its things lie, and the seconds that it must stay below."""

    command: str
    bar_s: float
    options: Sequence[str] = ()
    remark: str = ""

    @property
    def title(self) -> str:
        """The command as the table has it."""
        return f"{self.command}{f' ({self.remark})' if self.remark else ''}"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/cloud.json"))
    arguments = parser.parse_args()
    load, _, _ = os.getloadavg()
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        cases = prepared(place, runs=arguments.runs, seed=arguments.seed)
        timings = measured(cases, without_network(place), arguments.rounds)
    print_timings(timings)
    result = {
        "commands": [{**asdict(found), "is_met": found.is_met} for found in timings],
        "runs": arguments.runs,
        "unfinished_runs": _UNFINISHED,
        "rounds": arguments.rounds,
        "seed": arguments.seed,
        # Above 1 something else was at work, and the seconds of the clock say less than those of processors.
        "load_before": load,
        "environment": environment(),
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(result, indent=2) + "\n")
    return 0 if all(found.is_met for found in timings) else 1


def prepared(place: Path, *, runs: int, seed: int) -> list[Case]:
    """Lay out what the commands need below `place`: images, a profile, and two journals."""
    references = dict.fromkeys(EXTRA_BY_IMAGE, f"{_REGION}-docker.pkg.dev/{_PROJECT}/tunelane/i@sha256:{'0' * 64}")
    (place / "images.json").write_text(json.dumps(references))
    gcp = {"project": _PROJECT, "region": _REGION, "pipeline_root": "gs://my-bucket/runs"}
    places = {name: f"gs://my-bucket/{name}" for name in ("registry_uri", "deployment_uri")}
    # JSON is YAML.
    (place / "prod.yaml").write_text(json.dumps({"images": str(place / "images.json"), "gcp": gcp, **places}))
    service = f"vertex {_PROJECT}/{_REGION}"
    fill_journal(place / "ended", runs=runs, unfinished=0, service=service, seed=seed)
    fill_journal(place / "unfinished", runs=runs, unfinished=_UNFINISHED, service=service, seed=seed)
    profile = ["--profile", str(place / "prod.yaml")]
    listing = f"tunelane runs list --limit {runs}"
    return [
        Case(
            "tunelane submit train-classifier --target vertex --dry-run --set data=gs://my-bucket/rows.csv",
            _DRY_RUN_S,
            profile,
        ),
        Case(listing, _LIST_S, [*profile, "--root", str(place / "ended")], "all have ended"),
        Case(
            listing, _LIST_S, [*profile, "--root", str(place / "unfinished")], f"{_UNFINISHED} unfinished, no network"
        ),
    ]


def without_network(place: Path) -> dict[str, str]:
    """Give an environment in which no service can be reached, and no setting of this machine counts."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TUNELANE_")}
    return {
        **kept,
        **dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), _CLOSED),
        "CLOUDSDK_CONFIG": str(place / "gcloud"),
        "NO_GCE_CHECK": "true",
    }


def measured(cases: Sequence[Case], surroundings: Mapping[str, str], rounds: int) -> list[Timing]:
    """Run every command once a round, in an order that turns from round to round; gives a timing each."""
    waits: dict[str, list[Wait]] = {case.title: [] for case in cases}
    for number in range(rounds + 1):
        first = number % len(cases)
        for case in (*cases[first:], *cases[:first]):
            waits[case.title].append(waited(case.command, case.options, surroundings))
    return [timing(case.title, waits[case.title][1:], case.bar_s) for case in cases]


if __name__ == "__main__":
    sys.exit(main())
