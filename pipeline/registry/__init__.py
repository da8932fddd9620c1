"""MLflow: runs, versions, aliases, and the code of a served version."""

import os

# Read when MLflow is loaded. It reports to nobody, draws no bars, and unpickles nothing.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"
