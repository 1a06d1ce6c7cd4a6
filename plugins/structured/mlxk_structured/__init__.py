"""Structured output: constraints compiled for llguidance."""
