#!/usr/bin/env bash
# Writes the password file of Airflow's page from the environment, then starts the service in its place.
set -euo pipefail
umask 027

if [[ -n "${REPRISE_ADMIN_PASSWORD:-}" ]]; then
    mkdir -p "$AIRFLOW_HOME"
    (umask 077 && python -c 'import json, os; print(json.dumps({"admin": os.environ["REPRISE_ADMIN_PASSWORD"]}))' \
        > "$AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE")
    unset REPRISE_ADMIN_PASSWORD
fi
exec "$@"
