"""MLflow: runs, versions, aliases, and the code of a served version."""
