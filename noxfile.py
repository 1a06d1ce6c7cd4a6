"""The tasks of this repository. `uvx nox -l` lists them, `uvx nox -s lint` runs one; .ci/run runs the same ones.

Sessions run in uv's environment of the workspace, so there is one set of pins and nothing is installed twice.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path

import nox

nox.options.default_venv_backend = "none"
nox.options.sessions = ["lint", "deps", "test"]
ROOT = Path(__file__).parent


def uv(session: nox.Session, *arguments: str) -> None:
    session.run("uv", *arguments, external=True)


@nox.session
def lint(session: nox.Session) -> None:
    """Run ruff, mypy, codespell, and the checks of shared metadata and of the code in the documentation."""
    uv(session, "run", "ruff", "check", ".")
    uv(session, "run", "ruff", "format", "--check", ".")
    uv(session, "run", "mypy")
    uv(session, "run", "mypy", "--config-file", "tests/mypy.ini")
    uv(session, "run", "codespell")
    uv(session, "run", "python", "tools/distributions.py", "check")
    uv(session, "run", "python", "tools/snippets.py", "--check")


@nox.session
def deps(session: nox.Session) -> None:
    """Check with deptry that every distribution declares what it imports, and imports what it declares."""
    uv(session, "run", "python", "tools/deps.py")


@nox.session
def test(session: nox.Session) -> None:
    """Run the fast tests; arguments go to pytest: `uvx nox -s test -- tests/run -x`."""
    chosen = session.posargs or ["-m", "not smollm2 and not packaging and not clients"]
    uv(session, "run", "pytest", *chosen)


@nox.session
def full(session: nox.Session) -> None:
    """Run the suite and hostile input, with coverage."""
    parts = ["tests", "--ignore=tests/clients", "--ignore=tests/packaging"]
    uv(session, "run", "pytest", "--cov", *parts, *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation into site/, warnings as errors; `-- serve` serves it with live reload."""
    command = ["serve"] if session.posargs == ["serve"] else ["build", "--strict"]
    uv(session, "run", "--group", "docs", "mkdocs", *command)


@nox.session
def build(session: nox.Session) -> None:
    """Build all sdists and wheels into dist/, check their metadata, and that a second build is identical."""
    shutil.rmtree(ROOT / "dist", ignore_errors=True)
    uv(session, "build", "--quiet", "--all-packages", "--out-dir", "dist")
    with tempfile.TemporaryDirectory() as again:
        uv(session, "build", "--quiet", "--all-packages", "--out-dir", again)
        first, second = _digests(ROOT / "dist"), _digests(Path(again))
    different = sorted(name for name in first if first[name] != second.get(name))
    if different:
        session.error(f"the second build differs: {', '.join(different)}")
    uv(session, "tool", "run", "twine", "check", "--strict", *map(str, sorted((ROOT / "dist").glob("mlxk*"))))


def _digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("mlxk*")}


@nox.session
def pins(session: nox.Session) -> None:
    """Resolve all dependencies again and write the pins."""
    uv(session, "run", "--no-project", "python", "tools/pins.py")


@nox.session
def sizes(session: nox.Session) -> None:
    """Install each subset from wheels and write its size into the docs."""
    uv(session, "run", "python", "tools/sizes.py")
