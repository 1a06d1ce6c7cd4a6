"""The shared generation service: one engine thread, one text pipeline, for every command and every client."""

ENGINE_THREAD = "mlxk-engine"
"""The name of the one thread that runs foreign code, and may still be in it when the process has to end."""
