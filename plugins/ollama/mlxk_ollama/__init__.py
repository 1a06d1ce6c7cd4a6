"""Server extension: Ollama's API."""
