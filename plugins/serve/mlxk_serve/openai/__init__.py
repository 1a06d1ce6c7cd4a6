"""OpenAI's protocol: requests, their translation, response encoders, OpenAPI."""
