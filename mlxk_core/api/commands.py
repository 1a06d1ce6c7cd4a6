"""For commands: the session, its output, `--json` and completion."""

from __future__ import annotations

from mlxk_core._cli.completion import (
    complete_backend,
    complete_model,
    complete_model_name,
    complete_plugin,
    complete_reasoning_format,
)
from mlxk_core._cli.confirm import can_ask, confirm, confirm_deletion
from mlxk_core._cli.editor import interrupts_ignored, open_editor
from mlxk_core._cli.find_model import find_or_pull
from mlxk_core._cli.main import run
from mlxk_core._cli.option_types import number_in_words, value_problem
from mlxk_core._cli.output import Output
from mlxk_core._cli.session import Session, emit_result, json_option
from mlxk_core._cli.terminations import terminations_handled, terminations_raise
from mlxk_core._text.control_characters import escape_control

__all__ = [
    "Output",
    "Session",
    "can_ask",
    "complete_backend",
    "complete_model",
    "complete_model_name",
    "complete_plugin",
    "complete_reasoning_format",
    "confirm",
    "confirm_deletion",
    "emit_result",
    "escape_control",
    "find_or_pull",
    "interrupts_ignored",
    "json_option",
    "number_in_words",
    "open_editor",
    "run",
    "terminations_handled",
    "terminations_raise",
    "value_problem",
]
