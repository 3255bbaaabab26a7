"""Run a program and save its processor time and its peak memory.

    python -m bench.speed.program FIGURES.json MODULE ARGUMENTS …

A process of its own, because both figures are those of a whole process.
"""

import atexit
import runpy
import sys
import time
from pathlib import Path

from bench.speed.memory import peak_memory_gib
from vlm.schema.atomic import write_json


def main() -> None:
    figures, module, *arguments = sys.argv[1:]
    atexit.register(_save, Path(figures))
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _save(figures: Path) -> None:
    write_json(figures, {"cpu_seconds": round(time.process_time(), 2), "peak_mib": round(peak_memory_gib() * 1024)})


if __name__ == "__main__":
    main()
