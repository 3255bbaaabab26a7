"""How a program ends: with a line instead of a traceback where the user can mend it, and a status for scripts.

if __name__ == "__main__":
    run_main(main)
"""

import logging
import sys
from collections.abc import Callable
from typing import NoReturn

MISTAKE, STOPPED = 2, 130
"""Exit statuses: a user's mistake, as for a wrong option; Ctrl+C, as shells have it."""


def run_main(
    main: Callable[[], object],
    *,
    mistakes: tuple[type[Exception], ...] = (ValueError,),
    stopped: str = "stopped",
) -> NoReturn:
    """Runs `main` and exits, with the status that it returns if that is a number. Of `mistakes` the message is told;
    other exceptions are the program's own faults and keep their traceback."""
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
