"""The shared generation service: one engine thread, one text pipeline, for every command and every client."""
