"""`python -m mlxk`."""

from mlxk_core.__main__ import main

if __name__ == "__main__":
    main()
