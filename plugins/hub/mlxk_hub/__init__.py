"""Access to a Hugging Face hub, for mlxk's plugins."""

import os

# With telemetry on, huggingface_hub fetches a list of AI agents when it believes one runs it, and writes it to HF_HOME.
# Set the variable to 0 to allow that.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
