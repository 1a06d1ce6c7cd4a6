"""`python -m mlxk_core` is `mlxk`."""

from mlxk_core.cli import main

if __name__ == "__main__":
    main()
