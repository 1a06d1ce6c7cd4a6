"""`mlxk`, and `python -m mlxk_core` which is the same; Ctrl-C while it starts is as quiet as later."""

import sys


def main() -> None:
    """The process."""
    try:
        from mlxk_core._cli import main
    except KeyboardInterrupt:
        sys.exit(130)
    main.main()


if __name__ == "__main__":
    main()
