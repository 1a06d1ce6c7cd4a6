"""Commands list, show, health and rm: the models on this machine."""
