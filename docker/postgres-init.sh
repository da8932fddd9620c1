#!/usr/bin/env bash
# Makes a database and a role each for Airflow and MLflow; the PostgreSQL image runs it once, on an empty volume.
set -euo pipefail

for name in airflow mlflow; do
    psql --set ON_ERROR_STOP=1 --set name="$name" --username "$POSTGRES_USER" --dbname postgres <<'SQL'
\getenv secret POSTGRES_PASSWORD
CREATE ROLE :"name" LOGIN PASSWORD :'secret';
CREATE DATABASE :"name" OWNER :"name";
SQL
done
