"""The DICOM node: receive studies from an archive (PACS), write their reports, and send these back.

    python -m page.node --host 0.0.0.0 --allow-address 10.1.2.3 --pacs 10.1.2.3:104:PACS

It needs the extra `hospital` (`make install` installs it). docs/HOSPITAL.md says how to connect it. It runs
until SIGTERM or Ctrl+C. Exit status 2: an option is wrong.
"""

import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence

import tyro

from data.cli import run_main
from page.node.options import NodeOptions
from vlm.checkpoint.store import model_line
from vlm.generator import ReportGenerator


def main(argv: Sequence[str] | None = None) -> int:
    """Run the node until a signal."""
    options = tyro.cli(NodeOptions, args=argv, description=__doc__)
    try:
        from page.node.service import running_node
    except ModuleNotFoundError as error:
        needed = 'the node needs the extra "hospital"; in the checkout: pip install -c constraints.txt -e ".[hospital]"'
        raise ValueError(f"the library {error.name} is not installed; {needed}") from error
    os.umask(0o077)  # the spool holds patient data
    logging.getLogger("page.node").setLevel(logging.INFO)
    print(model_line(options.checkpoint), file=sys.stderr, flush=True)
    generator = ReportGenerator.from_pretrained(options.checkpoint)
    if not generator.writes_reports:
        raise ValueError(f"{options.checkpoint} only classifies, because it was not trained on reports; name another")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with running_node(options, generator) as node:
        where = f"{options.host}:{node.port} as {options.ae_title}"
        page = f"http://{options.status_host}:{node.status_port}/"
        print(f"Listening on {where}, status on {page}", file=sys.stderr, flush=True)
        stop.wait()
    return 0


if __name__ == "__main__":
    run_main(main)
