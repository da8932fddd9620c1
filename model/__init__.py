"""The recommender: knows no Spark, no Airflow and no MLflow."""

import os

# Before torch is loaded: threads that spin while they wait take each other's core wherever a machine
# does anything else (`benchmarks/training.py` with two threads on two busy cores: 10 times the CPU time).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
