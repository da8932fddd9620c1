"""The file that MLflow loads: a pyfunc made from code, with safetensors beside it.

    model = mlflow.pyfunc.load_model("models:/reprise-ml-100k@champion")
    model.predict([{"history": [{"item_id": "50", "event_at": "1998-03-01T20:00:00", "action": "rated_5"}], "k": 5}])

Input: one row a user with `history` (a list of records, oldest or newest first) and optionally `k`,
`as_of` and `exclude_seen`. Output: one row a user with `items`, `titles`, `scores`, `user_vector` and
`unknown_items`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd

from model.serving.scoring import Scorer


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
            answers += self.scorer.recommend([history], k, as_of, exclude_seen)
        return pd.DataFrame([answer._asdict() for answer in answers])


mlflow.models.set_model(ServedRecommender())
