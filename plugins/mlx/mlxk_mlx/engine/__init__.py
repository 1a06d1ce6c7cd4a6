"""One loaded network: batching, sampling, prompt cache, tokenizer, templates."""
