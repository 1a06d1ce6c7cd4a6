"""Talking to a model hub through huggingface_hub, which a plugin that talks to one brings along (2.0 or later)."""

import os
from urllib.parse import urlsplit

from mlxk_core.api.errors import InvalidOption

# Asking a question is to write nothing: with telemetry on, huggingface_hub fetches a registry of AI agents when it
# believes to run under one, and keeps it in HF_HOME. Who wants telemetry sets the variable to 0.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")


def _refuse_bad_settings() -> None:
    """huggingface_hub reads these when it is imported, and fails there without naming them."""
    for name in ("HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT"):
        value = os.environ.get(name, "0")
        if not value.strip().isdecimal():
            raise InvalidOption(name, f"`{value}` is no number of seconds. Correct the variable, or unset it.")
    endpoint = os.environ.get("HF_ENDPOINT", "")
    try:
        urlsplit(endpoint)
    except ValueError:
        raise InvalidOption(
            "HF_ENDPOINT", f"`{endpoint}` is no address of a hub. Correct the variable, or unset it."
        ) from None


_refuse_bad_settings()
