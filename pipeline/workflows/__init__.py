"""The maps: what a stage is, and one module a DAG with its stages in order."""
