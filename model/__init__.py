"""The recommender. It depends on PyTorch, Lightning, NumPy and Arrow, not on Spark, Airflow or MLflow."""

import os

# Torch's threads wait for each other at the end of every operation, and a small model has hundreds of
# operations per step. Threads that spin without limit stall as soon as another process runs (3 to 20
# times slower); threads that sleep at once pay a wake-up per operation (37 → 68 ms a step). So they spin
# for some microseconds, then sleep. The threading library reads this when torch is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
