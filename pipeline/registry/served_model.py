"""The file that MLflow loads: a pyfunc made from code, with safetensors beside it.

    model = mlflow.pyfunc.load_model("models:/reprise-ml-100k@champion")
    model.predict([{"history": [{"item_id": "50", "event_at": "1998-03-01T20:00:00", "action": "rated_5"}], "k": 5}])

Input: one row a user with `history` (a list of records, oldest or newest first) and optionally `k`,
`as_of`, `exclude_seen` and `new_items`. Output: one row a user with `items`, `titles`, `scores`,
`user_vector` and `unknown_items`.

`new_items` are items that appeared after the version was registered, as records with `item_id` and
optionally `title`, `launched_at` and a list of numbers under the name of each modality (`language`, …):

    {"item_id": "2001", "title": "A new film", "launched_at": "1998-02-28", "language": [0.12, -0.03, …]}

They are candidates of their own row alone, and its history may name them. A row without any has an empty list
where another row has some.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd

from model.serving.scoring import Scorer

_NOT_FEATURES = ("item_id", "title", "launched_at")


class ServedRecommender(mlflow.pyfunc.PythonModel):
    """Wires MLflow's call to `model.serving.scoring`."""

    def load_context(self, context: Any) -> None:
        """Loads the serving folder among the model's artifacts."""
        self.scorer = Scorer(Path(context.artifacts["weights"]))

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Top-K of every row, as a DataFrame. Raises model.serving.scoring.HistoryError for a record that cannot be read."""
        params = params or {}
        rows = model_input.to_dict("records") if isinstance(model_input, pd.DataFrame) else model_input
        answers = []
        for row in rows:
            history = [dict(record) for record in row["history"]]
            k = int(row.get("k") or params.get("k", 10))
            as_of = row.get("as_of") or params.get("as_of") or None
            exclude_seen = bool(row.get("exclude_seen") or params.get("exclude_seen", False))
            new_items = _new_items(row.get("new_items"))
            answers += self.scorer.recommend([history], k, as_of, exclude_seen, new_items)
        return pd.DataFrame([answer._asdict() for answer in answers])


def _new_items(records: Any) -> list[dict[str, Any]]:
    """Records as the scorer takes them, vectors under `features`."""
    items = []
    for record in () if records is None else records:
        given = {name: value for name, value in record.items() if value is not None}
        vectors = {name: value for name, value in given.items() if name not in _NOT_FEATURES}
        items.append({name: given.get(name) for name in _NOT_FEATURES} | {"features": vectors})
    return items


mlflow.models.set_model(ServedRecommender())
