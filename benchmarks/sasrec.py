"""The model compared with RecTools' SASRec: same split, `cutoff` protocol, users who have a history.

    python -m benchmarks.sasrec --source ml-100k --peer-python PATH

PATH is the Python of an environment with benchmarks/peers/requirements.txt (a separate one, since they
pin an older numpy). Exports from the lake the events up to the split of the source's second demo cycle and
the label events of its window, lets `benchmarks/peers/sasrec.py` train on the former and rank the latter,
and prints both MRRs over the same label events. SASRec can score neither users without a history nor items
that it was not trained on.
"""

from __future__ import annotations

import argparse
import subprocess
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
from pipeline.settings import CHECKOUT, Settings


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
    pq.write_table(events.select(["user_id", "item_index", "event_at"]), folder / "interactions.parquet")
    labels = pinned(RANKS).read(
        ["user_id", "position", "item_index", "catalogue_size", "rank"],
        where=(pc.field("protocol") == "cutoff") & (pc.field("history_length") > 0),
        cycle=name,
        model=CANDIDATE,
    )
    pq.write_table(labels.drop_columns(["rank"]), folder / "labels.parquet")
    return labels


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--source", required=True)
    parser.add_argument("--peer-python", required=True, help="Python of SASRec's environment")
    parser.add_argument("--epochs", type=int, default=20, help="RecTools' default is 3")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    settings = Settings.from_environment()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        ours = export(settings, options.source, folder)
        script = CHECKOUT / "benchmarks" / "peers" / "sasrec.py"
        words = [str(folder), str(options.seed), str(options.epochs)]
        subprocess.run([options.peer_python, str(script), *words], check=True)
        theirs = pq.read_table(folder / "sasrec.parquet")
    both = ours.join(theirs, ["user_id", "position"], right_suffix="_sasrec")
    mrr = [pc.mean(pc.divide(1.0, both[column])).as_py() for column in ("rank", "rank_sasrec")]
    print("| source | labels | users | model | SASRec | ratio |\n|---|---|---|---|---|---|")
    users = pc.count_distinct(both["user_id"]).as_py()
    print(
        f"| {options.source} | {both.num_rows:,} | {users:,} | {mrr[0]:.4f} | {mrr[1]:.4f} | {mrr[0] / mrr[1]:.2f} |"
    )


if __name__ == "__main__":
    main()
