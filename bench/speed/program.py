"""Run a program and save its processor time, with that of the processes that it starts and of these alone, and the peak
memory of its main process.

    python -m bench.speed.program FIGURES.json MODULE ARGUMENTS …

A process of its own, because both figures are those of a whole process.
"""

import atexit
import os
import runpy
import sys
from pathlib import Path

from bench.speed.memory import peak_memory_gib
from vlm.schema.atomic import write_json


def main() -> None:
    figures, module, *arguments = sys.argv[1:]
    atexit.register(_save, Path(figures))
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _save(figures: Path) -> None:
    times = os.times()
    of_children = times.children_user + times.children_system
    seconds = {"cpu_seconds": times.user + times.system + of_children, "children_cpu_seconds": of_children}
    rounded = {name: round(value, 2) for name, value in seconds.items()}
    write_json(figures, rounded | {"peak_mib": round(peak_memory_gib() * 1024)})


if __name__ == "__main__":
    main()
