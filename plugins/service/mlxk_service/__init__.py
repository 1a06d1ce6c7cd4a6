"""Commands about running servers and this machine."""
