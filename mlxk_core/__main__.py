"""Entry point of `mlxk` and of `python -m mlxk_core`."""

import sys


def main() -> None:
    """Run the command line. Ctrl-C during the imports exits quietly."""
    try:
        from mlxk_core._cli import main
    except KeyboardInterrupt:
        sys.exit(130)
    main.main()


if __name__ == "__main__":
    main()
