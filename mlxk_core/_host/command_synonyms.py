"""Command names of other tools, for the hint when one is typed."""

from __future__ import annotations

from collections.abc import Mapping

COMMAND_SYNONYMS: Mapping[str, str] = {
    "ask": "run",
    "chat": "run",
    "generate": "run",
    "prompt": "run",
    "ls": "list",
    "models": "list",
    "tags": "list",
    "delete": "rm",
    "remove": "rm",
    "uninstall": "rm",
    "download": "pull",
    "fetch": "pull",
    "install": "pull",
    "upload": "push",
    "info": "show",
    "inspect": "show",
    "check": "health",
    "start": "serve",
    "logs": "chats",
    "history": "chats",
    "settings": "config",
    "unload": "stop",
    "benchmark": "bench",
    "clone": "pull",
    "cache": "list",
    "env": "doctor",
    "embeddings": "embed",
    "alias": "config",
    "aliases": "config",
    "set": "config",
    "daemon": "service",
    "diagnose": "doctor",
}
"""The command of mlxk that does what the word does elsewhere."""

COMMAND_ADVICE: Mapping[str, str] = {
    "login": "Set HF_TOKEN, or log in with `uvx --from huggingface_hub hf auth login`.",
    "auth": "Set HF_TOKEN, or log in with `uvx --from huggingface_hub hf auth login`.",
    "signin": "Set HF_TOKEN, or log in with `uvx --from huggingface_hub hf auth login`.",
    "whoami": "`uvx --from huggingface_hub hf auth whoami` shows who is logged in.",
    "create": "`mlxk config edit` gives a model its own settings: system prompt, sampling, stop texts.",
    "cp": "`mlxk config set aliases.NAME MODEL` gives a model a second name.",
    "copy": "`mlxk config set aliases.NAME MODEL` gives a model a second name.",
    "rename": "`mlxk config set aliases.NAME MODEL` gives a model a second name.",
    "schema": "`mlxk run MODEL PROMPT --schema FILE` answers with JSON.",
    "search": "https://huggingface.co/mlx-community lists models; `mlxk pull ORG/NAME` downloads one.",
    "version": "`mlxk --version` shows the version.",
    "update": "`uv tool upgrade mlxk` or `pipx upgrade mlxk` installs the latest version.",
    "upgrade": "`uv tool upgrade mlxk` or `pipx upgrade mlxk` installs the latest version.",
}
"""Advice for words without a matching command."""
