"""What is on disk: references, resolution, the hub cache, integrity, token limits."""
