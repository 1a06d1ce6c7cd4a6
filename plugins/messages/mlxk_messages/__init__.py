"""Server extension: Anthropic's Messages API."""
