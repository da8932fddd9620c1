"""The code that travels with a registered version, under a package name of its own.

MLflow puts a version's code on `sys.path` and imports it by name. Under the names it has here, the
second version loaded in one process would run the first one's code, and a user's own package `model`
would hide it. So the packages are copied into one whose name carries the digest of its content, and
their absolute imports are rewritten to it.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.settings import CHECKOUT

PACKAGES = ("model", "expectations")
"""Source folders that a loaded version needs."""
ENTRY = CHECKOUT / "pipeline" / "registry" / "served_model.py"

_IMPORT = re.compile(rf"^(\s*)(from|import) ({'|'.join(PACKAGES)})(?=[.\s])", re.MULTILINE)
_SUFFIXES = (".py", ".j2", ".css")


def write_served_code(folder: Path) -> tuple[Path, Path]:
    """Writes the code of a version into `folder`; returns the file that MLflow loads and the package."""
    sources = {
        path.relative_to(CHECKOUT): path.read_text(encoding="utf-8")
        for name in PACKAGES
        for path in sorted((CHECKOUT / name).rglob("*"))
        if path.suffix in _SUFFIXES
    }
    entry = ENTRY.read_text(encoding="utf-8")
    package = folder / package_name({**sources, Path(ENTRY.name): entry})
    for path, text in sources.items():
        target = package / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(renamed(text, package.name) if path.suffix == ".py" else text, encoding="utf-8")
    (package / "__init__.py").write_text('"""The code of one registered version."""\n', encoding="utf-8")
    loaded = folder / ENTRY.name
    loaded.write_text(renamed(entry, package.name), encoding="utf-8")
    return loaded, package


@contextmanager
def importable(package: Path) -> Iterator[None]:
    """The package can be imported in the block: MLflow runs the entry once while it logs a version.

    Afterwards its modules are forgotten, since the folder is a temporary one.
    """
    folder = str(package.parent)
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
        for name in [name for name in sys.modules if name.split(".")[0] == package.name]:
            del sys.modules[name]


def package_name(sources: dict[Path, str]) -> str:
    """`reprise_` and the first 12 hexadecimal digits of the SHA-256 of paths and texts."""
    digest = hashlib.sha256()
    for path, text in sources.items():
        digest.update(f"{path.as_posix()}\0{text}\0".encode())
    return f"reprise_{digest.hexdigest()[:12]}"


def renamed(text: str, package: str) -> str:
    """Python source whose absolute imports of `PACKAGES` go through `package`.

    Only `from model.x import y` is rewritten: `import model.x` binds the name `model`, which the rest of
    the module would use. Raises ValueError when the source does that.
    """
    if any(match[2] == "import" for match in _IMPORT.finditer(text)):
        raise ValueError("served code must import by `from package import name`")
    return _IMPORT.sub(rf"\1\2 {package}.\3", text)
