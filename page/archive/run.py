"""Run an archive on Ray: a pool of workers reads the studies that have no row; the rows come back and are written here.

Ray moves the rows, restarts workers that died and repeats their blocks. It needs the extra `scale`.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow
import ray
import ray.data

from data.cli import progress_bars
from page.archive.inputs import ArchiveInput
from page.archive.output import ReportFolder, rows_table
from page.archive.reader import Reader, WorkerOptions
from page.study.row import rejected_row

BATCHES_PER_BLOCK = 4
"""A block is what a worker is given at a time, and what is repeated if it is killed."""
MAX_RETRIES = 2
"""How often a block that kills its worker is tried again; then its studies are read one by one."""
MAX_LOST = 20
"""If more blocks or studies are lost, they are not the cause."""
LOST = "the worker that read it was killed or ran out of memory, also when it read this study alone"


def read_archive(archive: ArchiveInput, reports: ReportFolder, worker: WorkerOptions, *, num_workers: int) -> None:
    """Read all studies that have no row. Studies of blocks that killed their worker are read again, one by one.

    Raises:
        RuntimeError: too many studies kill their worker.
    """
    with progress_bars() as bars:
        done = sum(study in reports.done for study in archive.ids)
        bar = bars.add_task("studies", total=len(archive.ids), completed=done)
        for rows_per_block in (worker.batch_size * BATCHES_PER_BLOCK, 1):
            if pending := _pending(archive, reports):
                for rows in _rows(archive.dataset(pending, rows_per_block), archive, worker, num_workers):
                    bars.advance(bar, reports.add(rows))
        lost = _pending(archive, reports)
        if len(lost) > MAX_LOST:
            raise RuntimeError(f"workers died of {len(lost)} studies, so the studies are not the cause; see Ray's logs")
        rejected = rows_table(rejected_row(study, LOST, model=worker.model) for study in lost)
        bars.advance(bar, reports.add(rejected))


def _pending(archive: ArchiveInput, reports: ReportFolder) -> list[str]:
    return [study for study in archive.ids if study not in reports.done]


def _rows(
    studies: ray.data.Dataset, archive: ArchiveInput, worker: WorkerOptions, num_workers: int
) -> Iterator[pyarrow.Table]:
    """Tables of rows, in the order in which the workers finish them."""
    rows = studies.map_batches(
        Reader,
        batch_size=worker.batch_size,
        batch_format="pyarrow",
        fn_constructor_kwargs={"source_of": archive.source_of, "options": worker},
        compute=ray.data.ActorPoolStrategy(size=num_workers),
        num_cpus=worker.num_cpus,
        num_gpus=worker.num_gpus or None,
        max_task_retries=MAX_RETRIES,
    )
    yield from rows.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)


@contextmanager
def connected(address: str, worker: WorkerOptions, *, num_workers: int) -> Iterator[None]:
    """Ray in the block: a cluster at this address, or this machine alone (""), which then asks for a token (Ray's
    default), so that other users of the network cannot run code in it."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    settings = {"log_to_driver": False, "logging_level": logging.WARNING}
    if not address:
        # Two more than the workers have, for the tasks that read the input.
        num_cpus = max(os.cpu_count() or 1, num_workers * worker.num_cpus + 2)
        settings |= {"num_cpus": num_cpus, "include_dashboard": False}
    ray.init(address=address or "local", **settings)
    try:
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.max_errored_blocks = MAX_LOST
        yield
    finally:
        ray.shutdown()
