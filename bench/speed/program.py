"""Run a program and save its processor time, with that of the processes that it starts and of these alone, and the peak
memory of its main process.

    python -m bench.speed.program FIGURES.json MODULE ARGUMENTS …

A process of its own, because both figures are those of a whole process. Memory is what the process needs for itself:
pages of files that it reads are left out, because the system drops them when it needs the space.
"""

import atexit
import os
import runpy
import sys
import threading
import time
from pathlib import Path

from bench.speed.memory import peak_memory_gib
from vlm.schema.atomic import write_json

SECONDS_BETWEEN = 0.02
_STATUS = Path("/proc/self/status")


class OwnMemory(threading.Thread):
    """Looks again and again at the memory of this process; `peak_mib` is the highest. Where the system does not tell it
    (only Linux does), it is the peak of all memory, with pages of files."""

    def __init__(self):
        super().__init__(daemon=True)
        self._peak_kib = 0

    def run(self) -> None:
        while self._look():
            time.sleep(SECONDS_BETWEEN)

    @property
    def peak_mib(self) -> int:
        return round(self._peak_kib / 1024 if self._look() else peak_memory_gib() * 1024)

    def _look(self) -> bool:
        lines = _STATUS.read_text().splitlines() if _STATUS.is_file() else []
        own = [int(line.split()[1]) for line in lines if line.startswith("RssAnon:")]
        self._peak_kib = max(self._peak_kib, *own, 0)
        return bool(own)


def main() -> None:
    figures, module, *arguments = sys.argv[1:]
    memory = OwnMemory()
    memory.start()
    atexit.register(_save, Path(figures), memory)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _save(figures: Path, memory: OwnMemory) -> None:
    times = os.times()
    of_children = times.children_user + times.children_system
    seconds = {"cpu_seconds": times.user + times.system + of_children, "children_cpu_seconds": of_children}
    rounded = {name: round(value, 2) for name, value in seconds.items()}
    write_json(figures, rounded | {"peak_mib": memory.peak_mib})


if __name__ == "__main__":
    main()
