"""Talking to a model hub through huggingface_hub, which a plugin that talks to one brings along (2.0 or later)."""

import os

# Asking a question is to write nothing: with telemetry on, huggingface_hub fetches a registry of AI agents when it
# believes to run under one, and keeps it in HF_HOME. Who wants telemetry sets the variable to 0.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
