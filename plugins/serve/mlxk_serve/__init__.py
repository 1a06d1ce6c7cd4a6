"""Command serve: an OpenAI-compatible server on Falcon and waitress."""
