"""Entry points are the same as those that importlib.metadata finds."""

from __future__ import annotations

import importlib.metadata
import sys
import zipfile
from pathlib import Path

import pytest

from mlxk_core._host.entry_points import entry_points


def _distribution(folder: Path, name: str, version: str, points: str, kind: str = "dist-info") -> None:
    metadata = folder / f"{name.replace('-', '_')}-{version}.{kind}"
    metadata.mkdir(parents=True)
    headers = f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\nRequires-Dist: mlxk-core>=0.1\n\nName: text\n"
    (metadata / ("METADATA" if kind == "dist-info" else "PKG-INFO")).write_text(headers)
    (metadata / "entry_points.txt").write_text(points)


def _expected(group: str) -> list[tuple[str, str, str, str]]:
    points = importlib.metadata.entry_points(group=group)
    return sorted((point.name, point.value, point.dist.name, point.dist.version) for point in points if point.dist)


def _found(group: str) -> list[tuple[str, str, str | None, str | None]]:
    return [(point.name, point.value, point.distribution, point.version) for point in entry_points(group)]


@pytest.mark.parametrize("group", ["mlxk", "console_scripts", "pytest11", "pygments.lexers", "nothing"])
def test_the_installed_ones(group: str) -> None:
    assert _found(group) == _expected(group)


def test_every_kind_of_metadata(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _distribution(tmp_path / "a", "mlxk-one", "1.0", "[other]\nx = a:b\n\n[try]\n# note\none=mlxk_one.plugin\n")
    _distribution(tmp_path / "a", "Mlxk.Two", "2.0rc1", "[try]\ntwo = mlxk_two : plugin.it\nb = c\n", "egg-info")
    _distribution(tmp_path / "b", "mlxk-one", "0.9", "[try]\none = mlxk_old\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "a"), str(tmp_path / "b"), str(tmp_path / "missing"), *sys.path])
    found = _found("try")
    assert ("one", "mlxk_one.plugin", "mlxk-one", "1.0") in found
    assert ("two", "mlxk_two : plugin.it", "Mlxk.Two", "2.0rc1") in found
    assert found == _expected("try")


def test_a_zip_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "plugin.zip", "w") as archive:
        archive.writestr("zipped_plugin.py", "VALUE = 3\n")
        archive.writestr("mlxk_zip-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: mlxk-zip\nVersion: 1.0\n")
        archive.writestr("mlxk_zip-1.0.dist-info/entry_points.txt", "[try]\nzipped = zipped_plugin:VALUE\n")
    monkeypatch.syspath_prepend(tmp_path / "plugin.zip")
    (point,) = entry_points("try")
    assert (point.distribution, point.load()) == ("mlxk-zip", 3)


def test_it_loads_and_states_its_requirements() -> None:
    point = next(point for point in entry_points("console_scripts") if point.distribution == "mlxk-core")
    assert callable(point.load())
    assert any(line.startswith("click") for line in point.requirements)
