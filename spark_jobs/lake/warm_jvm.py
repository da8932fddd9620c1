"""JVMs of a local master that outlive a stage, so that the next one finds Spark loaded and compiled.

A small stage spends two thirds of its time on starting a JVM and on loading and compiling Spark's classes.
Here a JVM has a keeper: a process that starts it as PySpark does and listens on a socket in a folder that
only its owner can open. A stage takes an idle JVM of exactly its settings and environment, or starts one. It
has it alone, makes a SparkContext of its own in it, and gives it back when it has ended well. After any other
end, a killed process or a failed stage, the keeper kills the JVM, so that nothing of that stage goes on and
no damaged JVM is used again. One that nobody takes for some minutes ends.

Importing this module does not load PySpark.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import select
import shlex
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from expectations.files import write_atomically

MAX_STAGES = 64
"""Stages after which a JVM is replaced: compiled classes and the driver's registries only grow."""
START_SECONDS = 60.0
"""Longest wait for a keeper's socket; a tenth of a second is usual."""
MAX_UNREAD_BYTES = 65536
"""Output of a JVM kept while no stage has it."""

_OTHER_EACH_TIME = frozenset({"_", "SHLVL", "PWD", "OLDPWD", "COLUMNS", "LINES"})
_DONE, _END = b"done\n", b"end\n"


@dataclass(frozen=True)
class WarmJvms:
    """Where a home's warm JVMs are found, and how long an idle one lives."""

    folder: Path
    idle_seconds: float

    def take(self, master: str, properties: str) -> bool:
        """Whether this process now has a warm JVM: PySpark will connect to it instead of starting one.

        `properties`: its Spark settings, as spark-submit's properties file has them. False when none could be
        started; what is wrong shows when PySpark starts its own.
        """
        global _taken
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        key = _key(master, properties)
        taken = self._take_idle(key)
        if taken is None:
            path = self.folder / f"{key}.properties"
            write_atomically(path, properties)
            taken = self._start(key, master, path)
        if taken is None:
            return False
        _taken = taken
        os.environ["PYSPARK_GATEWAY_PORT"] = str(taken.port)
        os.environ["PYSPARK_GATEWAY_SECRET"] = taken.secret
        threading.Thread(target=taken.show_output, daemon=True).start()
        return True

    def end(self) -> None:
        """Ends every idle JVM; one that a stage has is left to it."""
        for name in self._names(""):
            with suppress(OSError), _socket_to(self.folder, name) as connection:
                _hello(connection)
                connection.sendall(_END)

    def _names(self, key: str) -> list[str]:
        return sorted(path.name for path in self.folder.glob(f"{key}*.socket"))

    def _take_idle(self, key: str) -> _Taken | None:
        for name in self._names(key):
            taken = self._connect(name)
            if taken is not None:
                return taken
        return None

    def _start(self, key: str, master: str, properties: Path) -> _Taken | None:
        name = f"{key}-{secrets.token_hex(4)}.socket"
        command = [
            *(sys.executable, "-m", __name__, str(self.folder), name),
            *(master, str(properties), str(self.idle_seconds)),
        ]  # fmt: skip
        # A session of its own: it stays when this process, or its group, ends.
        keeper = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + START_SECONDS
        while not (self.folder / name).exists():
            if keeper.poll() is not None or time.monotonic() > deadline:
                return None
            time.sleep(0.02)
        # None also when another process was faster; then this one does without.
        return self._connect(name)

    def _connect(self, name: str) -> _Taken | None:
        try:
            connection = _socket_to(self.folder, name)
        except ConnectionRefusedError:
            (self.folder / name).unlink(missing_ok=True)
            return None
        except OSError:
            return None
        hello = _hello(connection)
        if "port" not in hello:
            connection.close()
            return None
        return _Taken(connection, hello["port"], hello["secret"], hello["pid"])


@dataclass(frozen=True)
class _Taken:
    """The warm JVM that this process has."""

    connection: socket.socket
    port: int
    secret: str
    pid: int

    def show_output(self) -> None:
        """Copies what the JVM prints to this process's standard error until the connection ends."""
        with suppress(OSError):
            while data := self.connection.recv(65536):
                sys.stderr.buffer.write(data)
                sys.stderr.flush()


_taken: _Taken | None = None


def process_id() -> int | None:
    """Process number of the warm JVM that this process has; it is no child of it."""
    return _taken.pid if _taken else None


def give_back() -> None:
    """Stops this process's SparkContext and leaves its warm JVM, if it has one, to the next stage."""
    global _taken
    taken, _taken = _taken, None
    if taken is None:
        return
    from pyspark import SparkContext

    context, gateway = SparkContext._active_spark_context, SparkContext._gateway
    if context is None or gateway is None:
        return
    context.stop()
    # Its cached snapshots hold data frames of the stopped context.
    gateway.jvm.org.apache.spark.sql.delta.DeltaLog.clearCache()
    _forget_objects(gateway)
    taken.connection.sendall(_DONE)


def _forget_objects(gateway: object) -> None:
    """Drops the references to Java objects that Python never released: plans, sessions, the stopped context."""
    bindings = gateway.java_gateway_server.getGateway().getBindings()
    kept = gateway.jvm.java.util.HashSet()
    for name in bindings.keySet().toArray():
        if not re.fullmatch(r"o\d+", name):
            kept.add(name)
    gateway.jvm.System.gc()
    bindings.keySet().retainAll(kept)


def _key(master: str, properties: str) -> str:
    """Digest of what a JVM was started with: only one started with the same may serve a stage."""
    environment = {name: value for name, value in os.environ.items() if name not in _OTHER_EACH_TIME}
    # Machines may share a home.
    content = [socket.gethostname(), sys.executable, version("pyspark"), master, properties, environment]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _socket_to(folder: Path, name: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    try:
        with _short(folder) as short:
            connection.connect(f"{short}/{name}")
    except OSError:
        connection.close()
        raise
    return connection


@contextmanager
def _short(folder: Path) -> Iterator[str]:
    """The folder by a path of a few characters: the address of a socket may have 107."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{handle}"
    finally:
        os.close(handle)


def _hello(connection: socket.socket) -> dict:
    """The keeper's first line; empty when it ended instead."""
    line = b""
    with suppress(OSError):
        while not line.endswith(b"\n") and (more := connection.recv(1)):
            line += more
    return json.loads(line) if line.endswith(b"\n") else {}


class _Keeper:
    """Starts one JVM and lends it to one process at a time."""

    def __init__(self, listener: socket.socket, idle_seconds: float) -> None:
        from pyspark.java_gateway import launch_gateway

        self._listener, self._idle_seconds = listener, idle_seconds
        self._output, written = os.pipe()
        gateway = launch_gateway(popen_kwargs={"stdout": written, "stderr": written})
        os.close(written)
        self.jvm: subprocess.Popen = gateway.proc
        address = gateway.java_parameters
        self._hello = {"port": address.port, "secret": address.auth_token, "pid": self.jvm.pid}
        gateway.close()
        self._holder: socket.socket | None = None
        self._unread = b""
        self._stages = 0

    def serve(self) -> None:
        """Returns when the JVM is to end."""
        while True:
            watched = [self._listener, self._output, *([self._holder] if self._holder else [])]
            ready, _, _ = select.select(watched, [], [], None if self._holder else self._idle_seconds)
            if not ready:
                return
            if self._output in ready and not self._relay():
                return
            if self._holder in ready and not self._hear():
                return
            if self._listener in ready:
                self._lend(self._listener.accept()[0])

    def _lend(self, connection: socket.socket) -> None:
        if self._holder is not None:
            with suppress(OSError), connection:
                connection.sendall(b'{"busy": true}\n')
            return
        self._holder = connection
        # So that the record of a stage has the most memory that the JVM took for it.
        with suppress(OSError):
            Path(f"/proc/{self.jvm.pid}/clear_refs").write_text("5")
        self._say(json.dumps(self._hello).encode() + b"\n" + self._unread)
        self._unread = b""

    def _hear(self) -> bool:
        """What the holder says; False when the JVM is to end."""
        try:
            said = self._holder.recv(64)
        except OSError:
            said = b""
        self._stages += 1
        if said != _DONE or self._stages >= MAX_STAGES:
            return False
        self._holder.close()
        self._holder = None
        return True

    def _relay(self) -> bool:
        """Passes the JVM's output on; False when it has ended."""
        data = os.read(self._output, 65536)
        if self._holder is None:
            self._unread = (self._unread + data)[-MAX_UNREAD_BYTES:]
        else:
            self._say(data)
        return bool(data)

    def _say(self, data: bytes) -> None:
        # One that has gone shows as the end of its connection.
        with suppress(OSError):
            self._holder.sendall(data)


def main(folder: str, name: str, master: str, properties: str, idle_seconds: str) -> None:
    """Runs a keeper until its JVM is to end."""
    os.environ["PYSPARK_SUBMIT_ARGS"] = shlex.join(
        # The file alone would stand in place of the person's spark-defaults.conf.
        ["--master", master, "--load-spark-defaults", "--properties-file", properties, "pyspark-shell"]
    )
    with _short(Path(folder)) as short, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{short}/{name}")
        try:
            listener.listen()
            keeper = _Keeper(listener, float(idle_seconds))
            try:
                keeper.serve()
            finally:
                keeper.jvm.kill()
                keeper.jvm.wait()
        finally:
            (Path(folder) / name).unlink(missing_ok=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
