"""Airflow and MLflow as local processes of one home, and the demo that runs under them."""
