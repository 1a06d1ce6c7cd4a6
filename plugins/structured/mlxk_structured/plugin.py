"""Plugin of the constraint compiler."""

from __future__ import annotations

from collections.abc import Iterable

from mlxk_core.api.hooks import ConstraintSpec, hookimpl

KINDS = ("json_schema", "json_object", "regex", "choice", "lark", "gbnf", "grammar")


@hookimpl
def mlxk_constraints() -> Iterable[ConstraintSpec]:
    for kind in KINDS:
        yield ConstraintSpec(kind=kind, target="mlxk_structured.compiler:compiler")
