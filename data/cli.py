"""What programs share: the check of their numbers, progress bars, and their end, with an error message instead of a
traceback for a user's mistake, and an exit status; and the end of their worker processes.

if __name__ == "__main__":
    run_main(main)
"""

import errno
import logging
import multiprocessing
import multiprocessing.connection
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

MISTAKE, STOPPED = 2, 130
"""Exit statuses: a user's mistake, as for a wrong option; Ctrl+C, as in shells."""

_FIXES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "free some space, or give a folder on another disk"),
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), "check its permissions, or give another path"),
    errno.ENOENT: "check the path",
    **dict.fromkeys((errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG), "give another path"),
    errno.EFBIG: "the limit of this disk or account for one file is reached; give a folder on another disk",
}
"""Errors of the file system that are no bugs, and what to do."""


def run_main(
    main: Callable[[], object],
    *,
    mistakes: tuple[type[Exception], ...] = (ValueError,),
    stopped: str = "stopped",
) -> NoReturn:
    """Run `main` and exit with the status it returns, or 0.

    For exceptions in `mistakes`, and for files that cannot be written or opened, only the message is printed; other
    exceptions are bugs and keep their traceback.
    """
    logging.basicConfig(level=logging.WARNING)
    try:
        status = main()
    except (OSError, *mistakes) as error:
        fix = _FIXES.get(error.errno) if isinstance(error, OSError) else None
        if fix is None and not isinstance(error, mistakes):
            raise
        problem = error if fix is None else f"{error.filename or 'a temporary file'}: {error.strerror}; {fix}"
        print(f"error: {problem}", file=sys.stderr)
        status = MISTAKE
    except KeyboardInterrupt:
        print(stopped, file=sys.stderr)
        status = STOPPED
    sys.exit(status if type(status) is int else 0)


def end_with_parent() -> None:
    """In a worker process: end it when its parent process was killed; it would wait for work forever."""
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


def check_minimum(config: Any, **minimum: int) -> None:
    """Raise ValueError if a number in a configuration is below its minimum."""
    for name, least in minimum.items():
        if getattr(config, name) < least:
            raise ValueError(f"--{name.replace('_', '-')} is {getattr(config, name)}; give at least {least}")


def check_writable(folder: Path, *, flag: str) -> None:
    """Raises ValueError if a folder, or the one that it would be created in, cannot be written to."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not os.access(existing, os.W_OK):
        raise ValueError(f"{flag} {folder} cannot be written ({existing} is read-only); name another folder")


def progress_bars(console: Console | None = None) -> Progress:
    """Progress bars with the work done, the elapsed and the remaining time; on standard error by default."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, TextColumn("left"), TimeRemainingColumn(), console=console or Console(stderr=True))
