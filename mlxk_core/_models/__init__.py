"""Models on disk: references, resolution, the hub cache, health, token budgets."""
