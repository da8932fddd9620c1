"""A laptop's own Airflow and MLflow."""
