"""`headwater`, and `python -m headwater`."""

from __future__ import annotations

from typing import NoReturn

from headwater import importing


def main() -> NoReturn:
    """Run the command line."""
    with importing():
        from headwater.cli import main as run
    run()


if __name__ == "__main__":
    main()
