"""Starts and stops the local Airflow and MLflow of one home, and runs commands of its Airflow.

python -m pipeline.local start | stop        (`make ui`, `make stop`)
python -m pipeline.local airflow backfill create --dag-id refresh_cycle …
"""

from __future__ import annotations

import argparse
import os
import sys

from pipeline.errors import Exit
from pipeline.local import control
from pipeline.local.service_settings import LOOPBACK, USER, Ports, located, password
from pipeline.local.services import airflow_services, mlflow_service
from pipeline.settings import Settings

_EXAMPLES = """\
examples:
  python -m pipeline.local --source my.toml start
  python -m pipeline.local airflow dags list-import-errors
  python -m pipeline.local stop

exit codes:
  0  done
  1  not done; one line on standard error says why and what to do
  `airflow` ends with the exit code of the Airflow command
"""


def main(arguments: list[str] | None = None) -> int:
    """`start`, `stop`, or a command of this home's Airflow; returns the exit code."""
    options = _parser().parse_args(arguments)
    settings, source = Settings.from_environment(), located(options.source)
    try:
        if options.action == "stop":
            print("stopped " + (", ".join(control.stop(settings)) or "nothing: no service ran"))
            return Exit.DONE
        ports = Ports.from_environment()
        if options.action == "airflow":
            return control.run_airflow(settings, source, ports.airflow, options.words)
        wanted = [
            *airflow_services(settings, source, ports.airflow),
            mlflow_service(settings, ports.mlflow),
        ]
        control.prepare_airflow(settings, source, ports.airflow)
        control.end_changed(settings, wanted)
        control.start(settings, wanted)
    except (control.ServiceError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return Exit.FAILED
    print(f"Airflow  http://{LOOPBACK}:{ports.airflow}   user {USER}, password {password(settings)}")
    print(f"MLflow   http://{LOOPBACK}:{ports.mlflow}")
    print("make stop ends both.")
    return Exit.DONE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.local",
        description="Airflow and MLflow on this machine, for one home (REPRISE_HOME).",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--source",
        default=os.environ.get("REPRISE_SOURCE", "ml-100k"),
        help="the source of the DAG refresh_cycle: a packaged one or a TOML file (default: %(default)s)",
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("start", help="start both and print the addresses of their pages")
    actions.add_parser("stop", help="end both, with everything they started")
    command = actions.add_parser("airflow", help="run a command of this home's Airflow", add_help=False)
    command.add_argument("words", nargs=argparse.REMAINDER)
    return parser


if __name__ == "__main__":
    sys.exit(main())
