"""Reasoning extractors: gpt-oss (harmony), the <think> family and their relatives."""
