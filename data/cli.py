"""What programs share: the check of their numbers, and their end, with an error message instead of a traceback for a
user's mistake, and an exit status.

if __name__ == "__main__":
    run_main(main)
"""

import logging
import sys
from collections.abc import Callable
from typing import Any, NoReturn

MISTAKE, STOPPED = 2, 130
"""Exit statuses: a user's mistake, as for a wrong option; Ctrl+C, as in shells."""


def run_main(
    main: Callable[[], object],
    *,
    mistakes: tuple[type[Exception], ...] = (ValueError,),
    stopped: str = "stopped",
) -> NoReturn:
    """Run `main` and exit with the status it returns, or 0. For exceptions in `mistakes`, only the message is printed;
    other exceptions are bugs and keep their traceback."""
    logging.basicConfig(level=logging.WARNING)
    try:
        status = main()
    except mistakes as error:
        print(f"error: {error}", file=sys.stderr)
        status = MISTAKE
    except KeyboardInterrupt:
        print(stopped, file=sys.stderr)
        status = STOPPED
    sys.exit(status if type(status) is int else 0)


def check_minimum(config: Any, **minimum: int) -> None:
    """Raise ValueError if a number in a configuration is below its minimum."""
    for name, least in minimum.items():
        if getattr(config, name) < least:
            raise ValueError(f"--{name.replace('_', '-')} is {getattr(config, name)}; give at least {least}")
