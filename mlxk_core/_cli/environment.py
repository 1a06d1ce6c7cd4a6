"""Environment variables that mlxk reads, for `mlxk help environment` and the manual pages."""

from __future__ import annotations

from collections.abc import Mapping

SECTIONS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "mlxk": (
        ("MLXK_CONFIG", "The settings file, instead of `~/.config/mlxk/config.toml`."),
        ("MLXK_API_KEY", "The API key of a server, for `mlxk serve` and the commands that connect to one."),
        ("MLXK_DISABLE_PLUGINS", "Plugins or distributions to leave out, comma-separated; `*` for all."),
        ("MLXK_STRICT_PLUGINS", "1: the first failure of a plugin is an error."),
        ("MLXK_ENABLE_EXPERIMENTAL", "Experimental commands to turn on, comma-separated (`push`), or `all`."),
        ("MLXK_DEBUG", "1: print tracebacks."),
        ("_MLXK_COMPLETE", "Set by the completion scripts of the shells."),
        ("XDG_CONFIG_HOME", "The folder of `mlxk/config.toml`, instead of `~/.config`."),
        ("XDG_STATE_HOME", "The folder of chats and history, instead of `~/.local/state`."),
        ("XDG_DATA_HOME", "The folder of completion scripts and manual pages, instead of `~/.local/share`."),
        ("OPENBLAS_NUM_THREADS", "Threads of OpenBLAS on Linux, instead of 1."),
    ),
    "Hugging Face": (
        ("HF_HOME", "The folder of Hugging Face files, instead of `~/.cache/huggingface`."),
        ("XDG_CACHE_HOME", "The folder of `huggingface`, instead of `~/.cache`."),
        ("HF_HUB_CACHE", "The model cache, instead of `$HF_HOME/hub`; also HUGGINGFACE_HUB_CACHE."),
        ("HF_ENDPOINT", "The address of the hub, instead of `https://huggingface.co`, for a mirror."),
        ("HF_TOKEN", "The token for private and gated models, instead of the one saved by `hf auth login`."),
        ("HF_TOKEN_PATH", "The file of the saved token, instead of `$HF_HOME/token`."),
        ("HF_HUB_OFFLINE", "1: never connect to the hub; also TRANSFORMERS_OFFLINE."),
        ("HF_HUB_ETAG_TIMEOUT", "Seconds to wait for the hub to answer."),
        ("HF_HUB_DOWNLOAD_TIMEOUT", "Seconds to wait for data of a download."),
        ("HF_XET_HIGH_PERFORMANCE", "1: `pull` uses Xet for large files: faster on a fast line, but not resumable."),
        ("HF_HUB_DISABLE_XET", "1: plain HTTP only; files above 50 GB then cannot be downloaded."),
        ("HTTPS_PROXY", "The proxy for connections to the hub; also HTTP_PROXY, ALL_PROXY and NO_PROXY."),
    ),
    "Terminal": (
        ("EDITOR", "The editor of `/edit` in a chat and of `mlxk config edit`; VISUAL comes first."),
        ("NO_COLOR", "Set: no colors."),
        ("TERM", "`dumb`: no colors, no progress bars, no Markdown."),
        ("COLUMNS", "The width of the output, instead of the terminal's."),
        ("DISPLAY", "Set: `/copy` in a chat uses xclip or xsel; with WAYLAND_DISPLAY, wl-copy."),
    ),
}
"""Names and descriptions, in the order of the help. A description may name variables with the same effect."""

VARIABLES: tuple[tuple[str, str], ...] = tuple(each for section in SECTIONS.values() for each in section)
