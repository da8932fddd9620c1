"""The recommender. It knows PyTorch, Lightning, NumPy and Arrow; no Spark, no Airflow, no MLflow."""

import os

# Torch's threads wait for each other at the end of every operation, and a small model has hundreds
# of them a step. Spinning without end stops everything as soon as the machine does something else
# (3 to 20 times slower beside one other process), sleeping at once costs a wake-up an operation (37 →
# 68 ms a step): so they spin for some microseconds, then sleep. Read by the threading library when
# torch is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
