"""Processes of stages as forks of one that has the libraries loaded: Airflow's tasks start stages through it.

    python -m pipeline.local.warm_python train --source ml-100k --cutoff 2026-03-01

does what `python -m pipeline train …` does. A stage that trains or judges spends 5 to 10 s of CPU on importing torch,
Lightning, MLflow and Great Expectations. The first stage imports them itself and leaves a fork server, which imports
them meanwhile; later stages are forks of it, with their own arguments, environment, folder and standard streams. Only
libraries are imported there, no module of this project, so that no stage runs other code than the checkout's.

A stage is still a process of its own. It is killed when its command ends first, and the command ends with the
stage's exit code or signal. The fork server ends when nothing was asked of it for some time
(`REPRISE_WARM_PYTHON_SECONDS`; 0 switches it off), and with `make stop`. On systems other than Linux a stage is an
ordinary process: loaded libraries do not survive a fork everywhere.
"""

from __future__ import annotations

import gc
import hashlib
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

VARIABLE = "REPRISE_WARM_PYTHON_SECONDS"
LIBRARIES = (
    "deltalake",
    "delta",
    "great_expectations",
    "mlflow.pyfunc",
    "pyarrow.parquet",
    "pyspark.sql.functions",
    "pytorch_lightning",
    "scipy.optimize",
    "scipy.sparse",
)
"""What the slower stages import; together 10 s of CPU and 1 GB, most of which forks share."""
SETTERS = ("model", "pipeline.registry")
"""Packages that set what torch and MLflow read when they are loaded, and do nothing else; a stage loads them again."""
REQUEST_SECONDS = 10.0
"""Longest wait for a command that has connected to say what it wants."""

_OTHER_EACH_TIME = frozenset({"_", "SHLVL", "PWD", "OLDPWD", "COLUMNS", "LINES"})
_FORK, _END = b"f", b"e"


def main(words: list[str]) -> int:
    """Runs `python -m pipeline` with these words; returns its exit code. Does not return where the stage is an
    ordinary process."""
    seconds = float(os.environ.get(VARIABLE) or 0)
    if seconds <= 0 or sys.platform != "linux":
        _run_here(words)
    folder = folder_of(Path(os.environ.get("REPRISE_HOME") or ".reprise").absolute())
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    server = _connected(folder, f"{_key()}.socket")
    if server is None:
        _start(folder, seconds)
        _run_here(words)
    return _run_there(server, words)


def folder_of(home: Path) -> Path:
    """Where a home's fork servers listen."""
    return home / "warm-python"


def end(folder: Path) -> None:
    """Ends the fork servers; a stage that runs is ended too."""
    for path in folder.glob("*.socket"):
        server = _connected(folder, path.name)
        if server is not None:
            with suppress(OSError), server:
                server.sendall(_END)


def _run_here(words: list[str]) -> NoReturn:
    """The stage in this very process."""
    os.execv(sys.executable, [sys.executable, "-m", "pipeline", *words])


def _run_there(server: socket.socket, words: list[str]) -> int:
    """Runs the stage as a fork and waits for it; passes signals on."""
    content = {"words": words, "folder": os.getcwd(), "environment": dict(os.environ)}
    request = json.dumps(content).encode()
    with server:
        try:
            socket.send_fds(server, [_FORK], [0, 1, 2])
            server.sendall(len(request).to_bytes(4, "big") + request)
        except OSError:
            _run_here(words)
        number = int.from_bytes(_received(server, 4), "big")
        if not number:
            _run_here(words)

        def pass_on(signal_number: int, frame: FrameType | None = None) -> None:
            with suppress(ProcessLookupError):
                os.killpg(number, signal_number)

        for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(name, pass_on)
        answer = _received(server, 4)
    if len(answer) < 4:
        # Here and not above: a fork server loads this module, and no other of the project.
        from pipeline.errors import Exit

        pass_on(signal.SIGKILL)
        print("error: the fork server has ended, and the stage with it; run it again", file=sys.stderr)
        return Exit.CRASHED
    code = int.from_bytes(answer, "big", signed=True)
    if code < 0:
        # Whoever waits for this process sees the stage's signal.
        with suppress(OSError):  # nobody handles SIGKILL
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


def _start(folder: Path, seconds: float) -> None:
    """Starts a fork server for the stages to come."""
    command = [sys.executable, "-m", __spec__.name, "--serve", str(folder), f"{_key()}.socket", str(seconds)]
    # In a session of its own, so that it stays when this process, or its group, ends.
    subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        check=False,
    )


def _key() -> str:
    """Digest of what loaded libraries depend on: only stages with the same are forks of one server."""
    packages = Path(sysconfig.get_path("purelib"))
    # Which variables a library reads when it is loaded nobody knows; none reads this project's.
    variables = {
        name: value
        for name, value in os.environ.items()
        if name not in _OTHER_EACH_TIME and not name.startswith("REPRISE_")
    }
    # Machines may share a home.
    content = [socket.gethostname(), sys.executable, packages.stat().st_mtime_ns, os.getcwd(), variables]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _connected(folder: Path, name: str) -> socket.socket | None:
    """A connection to a server; None where there is none yet, or none any more."""
    connection = socket.socket(socket.AF_UNIX)
    try:
        with _short(folder) as short:
            connection.connect(f"{short}/{name}")
    except ConnectionRefusedError:
        connection.close()
        (folder / name).unlink(missing_ok=True)
        return None
    except OSError:
        connection.close()
        return None
    return connection


@contextmanager
def _short(folder: Path) -> Iterator[str]:
    """The folder by a path of a few characters: the address of a socket may have 107."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{handle}"
    finally:
        os.close(handle)


def _received(connection: socket.socket, size: int) -> bytes:
    """So many bytes, or fewer where the connection ended."""
    data = b""
    with suppress(OSError):
        while len(data) < size and (more := connection.recv(size - len(data))):
            data += more
    return data


class _Server:
    """The fork server: listens, forks, and tells each command how its stage ended."""

    def __init__(self, listener: socket.socket, seconds: float) -> None:
        self._listener, self._seconds = listener, seconds
        self._stages: dict[int, tuple[socket.socket, int]] = {}
        """By a handle of the process: the connection of its command, and the process's number."""

    def serve(self) -> list[str] | None:
        """Returns twice: in the process of a stage with its words, and in the server, with None, when it is to end."""
        while True:
            handles = {connection: handle for handle, (connection, _) in self._stages.items()}
            watched = [self._listener, *self._stages, *handles]
            ready, _, _ = select.select(watched, [], [], None if self._stages else self._seconds)
            if not ready:
                return None
            for one in ready:
                if one in self._stages:
                    self._tell(one)
                elif one in handles and handles[one] in self._stages:
                    # The command has ended before its stage; how that ends shows next.
                    self._kill(handles[one])
            if self._listener in ready:
                connection = self._listener.accept()[0]
                connection.settimeout(REQUEST_SECONDS)
                asked, streams = _asked(connection)
                if asked == _END:
                    return None
                request = _request(connection) if len(streams) == 3 else None
                if request is not None and self._fork(connection, request, streams):
                    return request["words"]
                for stream in streams:
                    os.close(stream)

    def _fork(self, connection: socket.socket, request: dict[str, Any], streams: list[int]) -> bool:
        """Makes the process of a stage; True in that process."""
        number = os.fork()
        if number:
            with suppress(OSError):
                os.setpgid(number, number)  # here too, so that it can be killed as a group from now on
            connection.settimeout(None)
            self._stages[os.pidfd_open(number)] = (connection, number)
            with suppress(OSError):
                connection.sendall(number.to_bytes(4, "big"))
            return False
        os.setpgid(0, 0)
        for handle, stream in zip(streams, (0, 1, 2), strict=True):
            os.dup2(handle, stream)
            os.close(handle)
        for handle, (other, _) in self._stages.items():
            os.close(handle)
            other.close()
        connection.close()
        self._listener.close()
        os.environ.clear()
        os.environ.update(request["environment"])
        os.chdir(request["folder"])
        return True

    def _tell(self, handle: int) -> None:
        """Tells a command that its stage has ended, and how."""
        connection, number = self._stages.pop(handle)
        os.close(handle)
        _, status = os.waitpid(number, 0)
        code = os.waitstatus_to_exitcode(status)
        with suppress(OSError), connection:
            connection.sendall(code.to_bytes(4, "big", signed=True))

    def _kill(self, handle: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._stages[handle][1], signal.SIGKILL)

    def end(self) -> None:
        """Ends the stages that still run."""
        for handle in self._stages:
            self._kill(handle)


def _asked(connection: socket.socket) -> tuple[bytes, list[int]]:
    """What a command asks for, and its standard streams."""
    with suppress(OSError):
        asked, streams, _, _ = socket.recv_fds(connection, 1, 3)
        return asked, streams
    return b"", []


def _request(connection: socket.socket) -> dict[str, Any] | None:
    """The stage that a command asks for; None where it ended meanwhile."""
    size = int.from_bytes(_received(connection, 4), "big")
    data = _received(connection, size)
    return json.loads(data) if size and len(data) == size else None


def _serve(folder: Path, name: str, seconds: float) -> list[str] | None:
    """Runs a fork server; returns as `_Server.serve`."""
    if os.fork():  # else it would be a child of the first stage, whose memory is measured with its children's
        os._exit(0)
    for module in (*SETTERS, *LIBRARIES):
        importlib.import_module(module)
    for module in SETTERS:
        del sys.modules[module]
    gc.collect()
    # Else the collector of each fork would write to, and so copy, every page of the loaded libraries.
    gc.freeze()
    listener = socket.socket(socket.AF_UNIX)
    with _short(folder) as short:
        try:
            listener.bind(f"{short}/{name}")
        except OSError:  # another was faster
            return None
        listener.listen()
    server = _Server(listener, seconds)
    words: list[str] | None = None
    try:
        words = server.serve()
        return words
    finally:
        if words is None:
            (folder / name).unlink(missing_ok=True)
            server.end()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        stage = _serve(Path(sys.argv[2]), sys.argv[3], float(sys.argv[4]))
        if stage is not None:
            sys.argv = ["pipeline", *stage]
            runpy.run_module("pipeline", run_name="__main__", alter_sys=True)
    else:
        sys.exit(main(sys.argv[1:]))
