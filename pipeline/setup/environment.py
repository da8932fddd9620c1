"""The first step of set-up: checks the machine and makes the virtual environment, once.

    python3.11 -P pipeline/setup/environment.py        (what `make setup` runs)

Installs `constraints.txt` and `constraints-uv.txt`, both pinned and hashed, into `.venv`, and leaves a stamp
with their digest there, so that the next call returns at once. It runs before any package is installed, so
it uses only the standard library and none of the project's other modules. A problem is one line that says
what to do.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
ENVIRONMENT = CHECKOUT / ".venv"
STAMP = ENVIRONMENT / "reprise-environment"
CONSTRAINTS = CHECKOUT / "constraints.txt"
INSTALLER = CHECKOUT / "constraints-uv.txt"

REQUIRED_PYTHON = (3, 11)
REQUIRED_JAVA = 17
NEEDED_MEGABYTES = 9000
"""The environment takes 6.6 GB, most of it torch's CUDA libraries; downloads in progress take the rest."""

_NO_SPACE = re.compile(r"no space left on device|os error 28|disk quota exceeded", re.IGNORECASE)
_NO_NETWORK = re.compile(
    r"failed to fetch|error sending request|dns error|name resolution|failed to establish a new connection"
    r"|connection (refused|reset|timed out)|network is unreachable|could not find a version|tunnel|timed out",
    re.IGNORECASE,
)


class SetupError(RuntimeError):
    """Set-up cannot go on; the message is one line that says what to do."""


def main() -> int:
    """Makes the environment unless it is up to date; returns the exit code."""
    try:
        check_python()
        check_java()
        if is_made():
            return 0
        check_disk(CHECKOUT, NEEDED_MEGABYTES)
        make_environment()
    except SetupError as problem:
        print(f"set-up: {problem}", file=sys.stderr)
        return 1
    return 0


def digest() -> str:
    """SHA-256 of the two constraint files that the environment is made from."""
    return hashlib.sha256(CONSTRAINTS.read_bytes() + INSTALLER.read_bytes()).hexdigest()


def is_made() -> bool:
    """Whether the environment was made from today's constraints."""
    return STAMP.exists() and STAMP.read_text(encoding="utf-8") == digest()


def check_python() -> None:
    """Raises SetupError unless this is Python 3.11."""
    if sys.version_info[:2] != REQUIRED_PYTHON:
        wanted, current = ".".join(map(str, REQUIRED_PYTHON)), ".".join(map(str, sys.version_info[:2]))
        raise SetupError(
            f"this is Python {current}; install Python {wanted}, or name it: make PYTHON=/path/to/python{wanted}"
        )


def java_program() -> str:
    """The Java that Spark will start."""
    home = os.environ.get("JAVA_HOME")
    return str(Path(home, "bin", "java")) if home else "java"


def check_java() -> None:
    """Raises SetupError unless the Java that Spark will start is version 17."""
    java = java_program()
    advice = f"install Java {REQUIRED_JAVA} (Debian: openjdk-17-jre-headless) or point JAVA_HOME at it"
    try:
        answer = subprocess.run([java, "-version"], check=False, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        raise SetupError(f"Java was not found at {java}; {advice}") from None
    version = re.search(r'version "(\d+)', answer.stderr + answer.stdout)
    if not version or int(version[1]) != REQUIRED_JAVA:
        installed = version[1] if version else "of unknown version"
        raise SetupError(f"{java} is Java {installed}, Spark 4.1 needs Java {REQUIRED_JAVA}; {advice}")


def check_disk(folder: Path, needed_megabytes: int) -> None:
    """Raises SetupError when the disk that holds the folder has less free space than is needed."""
    free = shutil.disk_usage(folder).free // 2**20
    if free < needed_megabytes:
        raise SetupError(f"the disk that holds {folder} has {free} MB left; free {needed_megabytes} MB")


def make_environment() -> None:
    """Makes the environment, or updates one that is out of date; the stamp is written last."""
    print("making the environment in .venv (once; 1 to 3 minutes, 6.6 GB)", flush=True)
    STAMP.unlink(missing_ok=True)
    python = str(ENVIRONMENT / "bin" / "python")
    _run(
        [sys.executable, "-m", "venv", str(ENVIRONMENT)],
        "on Debian the package python3.11-venv may be missing",
    )
    _run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "1",
          "--require-hashes", "-r", str(INSTALLER)])  # fmt: skip
    # Byte code is compiled here, once: without it the first import of a package takes twice as long.
    _run([str(ENVIRONMENT / "bin" / "uv"), "pip", "install", "--python", python, "--compile-bytecode",
          "--require-hashes", "-r", str(CONSTRAINTS)])  # fmt: skip
    STAMP.write_text(digest(), encoding="utf-8")


def _run(command: list[str], advice: str = "") -> None:
    """Runs a step and prints what it says. Raises SetupError with the cause in one line."""
    lines: list[str] = []
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            # uv's list of the 233 installed packages says nothing about progress.
            if not re.match(r"\s*[+~-] \S+==", line):
                print(line, end="", file=sys.stderr)
            lines.append(line)
    if process.returncode == 0:
        return
    text = "".join(lines)
    if _NO_SPACE.search(text):
        raise SetupError(f"the disk is full; free {NEEDED_MEGABYTES} MB and run the command again")
    if _NO_NETWORK.search(text):
        raise SetupError(
            "the package index could not be reached; the first set-up needs the network: check it, or its proxy"
        )
    last = lines[-1].strip() if lines else f"exit code {process.returncode}"
    raise SetupError(f"{Path(command[0]).name} failed: {last}" + (f"; {advice}" if advice else ""))


if __name__ == "__main__":
    sys.exit(main())
