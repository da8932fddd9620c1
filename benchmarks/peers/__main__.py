"""The model compared with other recommenders: same split, `cutoff` protocol, users who have a history.

    python3.11 -m venv RECTOOLS && RECTOOLS/bin/pip install -r benchmarks/peers/rectools.txt
    python3.11 -m venv REPLAY && REPLAY/bin/pip install -r benchmarks/peers/replay.txt
    python -m benchmarks.peers --source ml-100k --rectools RECTOOLS/bin/python --replay REPLAY/bin/python
    python -m benchmarks.peers --source ml-100k --rectools RECTOOLS/bin/python --peers ease v-sknn

RecTools and RePlay have environments of their own, since one pins an older numpy and the other an older pyarrow. Exports
from the lake the events up to the split of the source's second demo cycle and the label events of its window, lets each
peer learn from the former and rank the latter, and prints the MRRs over the same labels. A peer can score neither users
without a history nor items that it was not trained on. It is judged twice, with the items of the user's history among the
ranked ones and without; of the model's rank nothing is left out. Transformers are trained for several numbers of epochs, and
the best line may be taken for each: that is to their favour, since the model's own passes are found before the split.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from expectations.tables import EVENTS, ITEMS, RANKS, Table
from model.data.delta import PinnedTable
from model.evaluation.names import CANDIDATE
from pipeline import presets
from pipeline.cycle.definition import cutoff_of, cycle_name, load_cycle
from pipeline.cycle.records import read_records
from pipeline.settings import Settings

HERE = Path(__file__).parent
TRANSFORMERS = ("sasrec", "esasrec", "hstu", "replay-sasrec")
REPLAY = ("replay-sasrec",)
RECTOOLS = ("sasrec", "esasrec", "hstu", "ease", "item-knn")
PEERS = (*TRANSFORMERS, "ease", "item-knn", "v-sknn")


def export(settings: Settings, source: str, folder: Path) -> pa.Table:
    """Writes interactions and labels; returns the candidate's ranks of those labels."""
    name = cycle_name(cutoff_of(presets.load(source).schedule.demo_cutoffs[1]))
    cycle = load_cycle(settings, source, name)
    versions = {
        table: version
        for record in read_records(settings.cycle_folder(source, name)).values()
        for table, version in record.versions.items()
    }

    def pinned(table: Table) -> PinnedTable:
        return PinnedTable(settings.lake, source, table, versions[table.name])

    items = pinned(ITEMS).read(["item_id", "item_index"])
    by_split = pc.field("event_at") <= pa.scalar(cycle.split)
    events = pinned(EVENTS).read(["user_id", "item_id", "event_at"], where=by_split).join(items, "item_id")
    # A join keeps no order, and most peers read events of one instant in the order they are given.
    columns = ["user_id", "event_at", "item_index"]
    events = events.select(columns).sort_by([(column, "ascending") for column in columns])
    pq.write_table(events, folder / "interactions.parquet")
    labels = pinned(RANKS).read(
        ["user_id", "position", "item_index", "catalogue_size", "rank"],
        where=(pc.field("protocol") == "cutoff") & (pc.field("history_length") > 0),
        cycle=name,
        model=CANDIDATE,
    )
    pq.write_table(labels.drop_columns(["rank"]), folder / "labels.parquet")
    return labels


def words(peer: str, epochs: int, folder: Path, options: argparse.Namespace) -> list[str]:
    """The command that lets a peer learn and rank."""
    if peer == "v-sknn":
        return [sys.executable, str(HERE / "neighbours.py"), str(folder)]
    if peer in REPLAY:
        python, script = options.replay, "replay_models.py"
    else:
        python, script = options.rectools, "rectools_models.py"
    return [python, str(HERE / script), str(folder), peer, str(options.seed), str(epochs)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--source", required=True)
    parser.add_argument("--rectools", help="Python of an environment with RecTools")
    parser.add_argument("--replay", help="Python of an environment with RePlay")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=PEERS)
    parser.add_argument(
        "--epochs", type=int, nargs="+", default=[4, 20], help="of the transformers, each a line of its own"
    )
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if options.rectools is None and set(options.peers) & set(RECTOOLS):
        parser.error("RecTools' models need --rectools; without it, name other peers: --peers v-sknn")
    if options.replay is None and set(options.peers) & set(REPLAY):
        parser.error("RePlay's model needs --replay; without it, name other peers: --peers v-sknn")
    settings = Settings.from_environment()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        ours = export(settings, options.source, folder)
        users = pc.count_distinct(ours["user_id"]).as_py()
        print(f"{options.source}: {ours.num_rows:,} labels of {users:,} users; model {mrr(ours):.4f}\n")
        print(
            "| peer | MRR | unseen items alone | model | training | ranking |\n|---|---|---|---|---|---|",
            flush=True,
        )
        for peer in options.peers:
            for epochs in options.epochs if peer in TRANSFORMERS else (0,):
                name = f"{peer}, {epochs} epochs" if epochs else peer
                # Their progress is no part of the table.
                subprocess.run(words(peer, epochs, folder, options), check=True, stdout=sys.stderr)
                theirs = pq.read_table(folder / f"{peer}.parquet")
                seconds = json.loads((folder / f"{peer}.json").read_text())
                cells = (f"{mrr(theirs):.4f}", f"{mrr(theirs, 'rank_unseen'):.4f}", f"{mrr(ours):.4f}")
                times = (f"{seconds['training']:.0f} s", f"{seconds['ranking']:.0f} s")
                print("| " + " | ".join((name, *cells, *times)) + " |", flush=True)


def mrr(ranked: pa.Table, column: str = "rank") -> float:
    """Mean reciprocal rank of all labels."""
    return pc.mean(pc.divide(1.0, ranked[column])).as_py()


if __name__ == "__main__":
    main()
