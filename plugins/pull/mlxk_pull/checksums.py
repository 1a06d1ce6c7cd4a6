"""Checksums: which files here are not what the hub has."""

from __future__ import annotations

from mlxk_hub.checksums import same
from mlxk_hub.client import RemoteFile
from mlxk_pull.preflight import Plan


def changed(plan: Plan) -> tuple[RemoteFile, ...]:
    """The files whose contents differ.

    By hand and not by `verify_repo_checksums`: that one asks the hub for the list of files once more, and takes every
    file that was not selected for a missing one.
    """
    snapshot = plan.place.snapshot(plan.commit)
    return tuple(file for file in plan.files if not same(snapshot / file.name, file))
