"""Words of other tools for commands, for the hint when someone types them."""

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
    "diagnose": "doctor",
}
"""The command of mlxk that does what the word does elsewhere."""

COMMAND_ADVICE: Mapping[str, str] = {
    "login": "Set HF_TOKEN, or log in with `uvx --from huggingface_hub hf auth login`.",
    "auth": "Set HF_TOKEN, or log in with `uvx --from huggingface_hub hf auth login`.",
    "version": "`mlxk --version` shows the version.",
    "update": "`uv tool upgrade mlxk` or `pipx upgrade mlxk` installs the latest version.",
    "upgrade": "`uv tool upgrade mlxk` or `pipx upgrade mlxk` installs the latest version.",
}
"""What to do instead, for words that no command stands for."""
