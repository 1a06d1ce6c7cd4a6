"""Server extension: OpenAI's Responses API."""
