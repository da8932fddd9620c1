"""Moto's S3 server on the loopback: `python s3_server.py PORT`, by a Python that has `moto[server]`.

One write at a time: two of moto's threads could both find that an object does not exist, and a conditional write is what
the tests are about.
"""

from __future__ import annotations

import sys
from threading import Lock
from typing import Any

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple

application = DomainDispatcherApplication(create_backend_app)
writing = Lock()


def one_write_at_a_time(environ: dict[str, Any], start_response: Any) -> Any:
    """The WSGI application."""
    if environ["REQUEST_METHOD"] in ("GET", "HEAD"):
        return application(environ, start_response)
    if "ignore-conditions" in sys.argv:  # as servers do that know no conditional writes
        environ.pop("HTTP_IF_NONE_MATCH", None)
    with writing:
        return application(environ, start_response)


run_simple("127.0.0.1", int(sys.argv[1]), one_write_at_a_time, threaded=True)
