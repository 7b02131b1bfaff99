"""The limit: tokenising and running the graph in one process, without any server.

python -m benchmarks.serving.limit PACKAGE MODE SECONDS SEED RATE < TEXTS.json

Prints JSON: texts, wall and processor seconds. With a RATE above 0, texts come as they would to a server (Poisson): a
core that has been idle runs a text slower, so that the graph alone costs more than at full load.
"""

import json
import queue
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from .arrivals import poisson
from .raw_graph import RawGraph, session_options

_WARM_UP_TEXTS = 50


class Mode(NamedTuple):
    """How the graph is run: threads that share the session, threads inside it, and the most texts in one run.

    Texts in one run have the same number of tokens, so that nothing is padded.
    """

    callers: int
    session_threads: int = 1
    spinning: bool = False
    max_batch: int = 1


# The first is the mode of a server that runs a text at a time on all cores of a machine with two.
MODES: dict[str, Mode] = {
    "2 threads share a session, batch 1": Mode(2),
    "1 thread, batch 1": Mode(1),
    "a session of 2 spinning threads, batch 1": Mode(1, 2, spinning=True),
    "2 threads share a session, batches of 8 of equal length": Mode(2, max_batch=8),
}
SAME_MODE = next(iter(MODES))


def batches_of_equal_length(lengths: Sequence[int], max_batch: int) -> list[list[int]]:
    """Group positions by length into batches of at most `max_batch`, in order of their first position."""
    by_length: dict[int, list[list[int]]] = defaultdict(list)
    batches = []
    for position, length in enumerate(lengths):
        if not by_length[length] or len(by_length[length][-1]) == max_batch:
            by_length[length].append([])
            batches.append(by_length[length][-1])
        by_length[length][-1].append(position)
    return batches


def measure(package: Path, mode: Mode, seconds: float, texts: Sequence[str]) -> dict[str, float]:
    """Run the texts over and over in `mode` for so long."""
    graph = _warm_graph(package, mode, texts)
    lengths = [len(graph.tokenizer.encode(text).ids) for text in texts]
    batches = [[texts[position] for position in batch] for batch in batches_of_equal_length(lengths, mode.max_batch)]
    done = [0] * mode.callers
    cpu_s, start_s = time.process_time(), time.perf_counter()
    end_s = start_s + seconds

    def call(caller: int) -> None:
        position = caller
        while time.perf_counter() < end_s:
            batch = batches[position % len(batches)]
            graph.run(batch)
            done[caller] += len(batch)
            position += mode.callers

    threads = [threading.Thread(target=call, args=(caller,)) for caller in range(mode.callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"texts": sum(done), "wall_s": time.perf_counter() - start_s, "cpu_s": time.process_time() - cpu_s}


def measure_paced(
    package: Path, mode: Mode, seconds: float, seed: int, rate_per_s: float, texts: Sequence[str]
) -> dict[str, float]:
    """Run texts one at a time as they arrive; the thread that hands them out does not count."""
    graph = _warm_graph(package, mode, texts)
    arrivals = poisson(rate_per_s, seconds, seed)
    waiting: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def call() -> None:
        while (text := waiting.get()) is not None:
            graph.run([text])

    threads = [threading.Thread(target=call) for _ in range(mode.callers)]
    for thread in threads:
        thread.start()
    cpu_s, own_s, start_s = time.process_time(), time.thread_time(), time.perf_counter()
    for number, arrival_s in enumerate(arrivals):
        time.sleep(max(start_s + arrival_s - time.perf_counter(), 0))
        waiting.put(texts[number % len(texts)])
    for _ in threads:
        waiting.put(None)
    own_s = time.thread_time() - own_s
    for thread in threads:
        thread.join()
    return {
        "texts": len(arrivals),
        "wall_s": time.perf_counter() - start_s,
        "cpu_s": time.process_time() - cpu_s - own_s,
    }


def _warm_graph(package: Path, mode: Mode, texts: Sequence[str]) -> RawGraph:
    graph = RawGraph(package, session_options(mode.session_threads, spinning=mode.spinning))
    for text in texts[:_WARM_UP_TEXTS]:
        graph.run([text])
    return graph


def main() -> None:
    package, mode, seconds, seed, rate_per_s = Path(sys.argv[1]), MODES[sys.argv[2]], *map(float, sys.argv[3:])
    texts = json.load(sys.stdin)
    if rate_per_s:
        found = measure_paced(package, mode, seconds, int(seed), rate_per_s, texts)
    else:
        found = measure(package, mode, seconds, texts)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
