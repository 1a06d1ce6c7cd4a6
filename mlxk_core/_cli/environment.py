"""Environment variables that mlxk reads, for `mlxk help environment`."""

from __future__ import annotations

VARIABLES: tuple[tuple[str, str], ...] = (
    ("MLXK_CONFIG", "The settings file, instead of `~/.config/mlxk/config.toml`."),
    ("MLXK_DISABLE_PLUGINS", "Plugins or distributions to leave out, comma-separated; `*` for all."),
    ("MLXK_STRICT_PLUGINS", "1: the first failure of a plugin is an error."),
    ("MLXK_DEBUG", "1: print tracebacks."),
    ("MLXK_ENABLE_EXPERIMENTAL", "Experimental commands to turn on, comma-separated: `push`."),
    ("MLXK_API_KEY", "The API key of a server, for `mlxk serve` and the commands that connect to one."),
    ("HF_HOME", "The folder of Hugging Face files; the model cache is its folder `hub`."),
    ("HF_HUB_CACHE", "The model cache itself."),
    ("HF_TOKEN", "The token for the hub, instead of the one saved by `hf auth login`."),
    ("HF_ENDPOINT", "The address of the hub, for a mirror."),
    ("HF_HUB_OFFLINE", "1: never connect to the hub."),
    ("HTTPS_PROXY", "The proxy for connections to the hub (also HTTP_PROXY, ALL_PROXY, NO_PROXY)."),
    ("XDG_CONFIG_HOME", "The folder of `mlxk/config.toml`, instead of `~/.config`."),
    ("XDG_STATE_HOME", "The folder of chats and history, instead of `~/.local/state`."),
    ("EDITOR", "The editor of `/edit` in a chat and of `mlxk config edit` (VISUAL comes first)."),
    ("NO_COLOR", "Set: no colours on a terminal."),
    ("TERM", "`dumb`: a terminal whose cursor cannot move; no status line, no Markdown."),
    ("_MLXK_COMPLETE", "Set by the completion scripts of the shells."),
)
"""Names and what they do, in the order of the help."""
