"""Plugin discovery, contributions and selection."""
