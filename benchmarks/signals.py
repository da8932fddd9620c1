"""What the signals cost in training: CPU time of a step with both terms on and with both off, in turns, on the tables of
a finished cycle.

    make demo SOURCE=ml-100k                             # the cycle, once
    python -m benchmarks.signals --source ml-100k [--steps 30] [--rounds 3]

Speeds are tokens per second of CPU time, so that other processes hardly matter. A step includes its batch and both
optimizers; the pair signals of the positions, which are counted once a run, are given beside.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from benchmarks.finished import add_options, finished_cycle
from benchmarks.training import parts
from model.training.lightning_module import RefreshModule
from pipeline.config import overlay
from pipeline.cycle.signals import network
from pipeline.training.session import Run, Session, load_data
from pipeline.training.start import Start

SWITCHES = {
    "both terms on": {},
    "both terms off": {"model": {"item_signals": False, "pair_signals": False}},
}


def main() -> None:
    """Prints a row for each switch and round, and the ratio of the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_options(parser)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    finished = finished_cycle(options)
    sessions: dict[str, Session] = {}
    with tempfile.TemporaryDirectory(prefix="signals-") as home:
        for words, changes in SWITCHES.items():
            changed = overlay(finished.config, changes, words)
            context = finished.context(changed, Path(home))
            model = network(context, changed.model.size)
            started = time.process_time()
            data = load_data(context, model, Start())
            run = Run(data.interval, passes=1.0, most_passes=1.0)
            sessions[words] = Session(context, model, Start(), words, Path(home), data, run)
            print(
                f"{words}: tables read and pairs counted in {time.process_time() - started:.1f} s of CPU time"
            )
    print(
        "| | data ms | forward ms | backward ms | optimizer ms | tokens/s (CPU) |\n|---|---|---|---|---|---|"
    )
    speeds: dict[str, list[float]] = {words: [] for words in SWITCHES}
    for _ in range(options.rounds):
        for words, session in sessions.items():
            module = RefreshModule(session.model, session.optimizers, session.plan, session.progress)
            spent = parts(module, session.batches, options.steps)
            tokens = session.batches.packing.used_slots / session.batches.steps_per_epoch
            speeds[words].append(tokens / sum(spent.values()))
            cells = " | ".join(f"{1e3 * value:.1f}" for value in spent.values())
            print(f"| {words} | {cells} | {speeds[words][-1]:,.0f} |", flush=True)
    on, off = (sorted(values)[len(values) // 2] for values in speeds.values())
    print(f"with both terms on: {on / off:.0%} of the tokens/s with both off")


if __name__ == "__main__":
    main()
