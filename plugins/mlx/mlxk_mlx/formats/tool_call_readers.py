"""Readers of tool calls that mlx-lm does not know."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mlxk_mlx.formats.dsml_calls import dsml, markers_of
from mlxk_mlx.formats.marked_calls import deepseek

Parse = Callable[[str, Any], Any]


@dataclass(frozen=True, slots=True)
class Reader:
    """A format of calls: its markers and what reads the text between them."""

    start: str
    end: str
    parse: Parse


def granite(text: str, tools: Any = None) -> Any:
    """Read a JSON list of calls; text may follow it."""
    calls, _ = json.JSONDecoder().raw_decode(text.strip())
    return calls if isinstance(calls, list) else [calls]


def command_r(text: str, tools: Any = None) -> Any:
    """Read a JSON list of `tool_name` and `parameters`. `directly_answer` is not a call."""
    listed, _ = json.JSONDecoder().raw_decode(text.strip())
    calls = [
        {"name": call["tool_name"], "arguments": call.get("parameters") or {}}
        for call in (listed if isinstance(listed, list) else [listed])
        if call["tool_name"] not in ("directly_answer", "directly-answer")
    ]
    if not calls:
        raise ValueError("no call")
    return calls


READERS: Mapping[str, Callable[[str], Reader]] = {
    "dsml": lambda template: Reader(*markers_of(template), dsml),
    "deepseek": lambda template: Reader("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>", deepseek),
    "granite": lambda template: Reader("<|tool_call|>", "", granite),
    "command_r": lambda template: (
        Reader("<|START_ACTION|>", "<|END_ACTION|>", command_r)
        if "<|START_ACTION|>" in template
        else Reader("Action:```json" if "Action:```json" in template else "Action: ```json", "```", command_r)
    ),
}


def infer(template: str, added_tokens: Mapping[str, Any]) -> str | None:
    """Return the name of the format that a template or a vocabulary shows, of those that mlx-lm does not know."""
    if "｜DSML｜" in template:
        return "dsml"
    if "<｜tool▁calls▁begin｜>" in template or "<｜tool▁call▁begin｜>" in template:
        return "deepseek"
    if "<|START_ACTION|>" in template or ("directly_answer" in template and "Action:" in template):
        return "command_r"
    if "<|tool_call|>" in template:
        return "granite"
    if "<|python_tag|>" in added_tokens and "tools" in template and '"parameters"' in template:
        return "llama3"
    return None
