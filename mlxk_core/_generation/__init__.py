"""The shared generation service: one engine thread, one text pipeline, for every command and every client."""

ENGINE_THREAD = "mlxk-engine"
"""Name of the thread that runs engines; it may still be inside foreign code when the process exits."""
