"""Apply a function to many items in worker processes, in order, with a bounded number of items in flight.

Workers are started by a fork server (or spawned where there is none), because forking a process with threads is not
safe. With one worker no process is started. If a worker is killed or crashes, only the item that it crashes on is lost.
"""

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from itertools import chain
from typing import TypeVar

import cv2

from data.cli import end_with_parent
from data.pipeline.raw_study import RawStudy, Rejection
from data.pipeline.row import BuildOptions, PreparedRow, build_row

Item, Outcome = TypeVar("Item"), TypeVar("Outcome")

IN_FLIGHT_PER_WORKER = 4
_END = object()
MAX_LOST = 20
"""If this many items in a row crash their worker, the items are not the cause."""


def num_cores() -> int:
    """Number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def build_rows(
    raw_studies: Iterable[RawStudy | Rejection], options: BuildOptions, *, num_workers: int
) -> Iterator[tuple[RawStudy | Rejection, PreparedRow | Rejection]]:
    """Each raw study with its row or rejection, in the given order. Rejections pass through."""
    build = partial(_build_row, options=options)
    return map_in_order(build, raw_studies, num_workers=num_workers, if_lost=_lost_study)


def map_in_order(
    function: Callable[[Item], Outcome],
    items: Iterable[Item],
    *,
    num_workers: int,
    if_lost: Callable[[Item], Outcome],
) -> Iterator[tuple[Item, Outcome]]:
    """Each item with the result of the function. `if_lost` gives the result for an item that crashes its worker even
    when it is processed alone.

    Raises:
        RuntimeError: MAX_LOST items in a row were lost.
    """
    if num_workers == 1:
        for item in items:
            yield item, function(item)
        return
    pool = _Pool(function, num_workers)
    in_flight: deque[tuple[Item, Future]] = deque()
    num_lost = 0
    try:
        for item in chain(items, [_END]):
            if item is not _END:
                in_flight.append((item, pool.submit(item)))
            while in_flight and (item is _END or len(in_flight) >= num_workers * IN_FLIGHT_PER_WORKER):
                given, future = in_flight.popleft()
                try:
                    outcome, num_lost = pool.result(given, future), 0
                except BrokenProcessPool as error:
                    outcome, num_lost = if_lost(given), num_lost + 1
                    if num_lost >= MAX_LOST:
                        raise RuntimeError(
                            f"worker processes died {MAX_LOST} times in a row (killed, or out of memory); run again "
                            "with fewer --num-workers"
                        ) from error
                yield given, outcome
    finally:
        pool.close()


class _Pool:
    """A process pool that is replaced if one of its workers dies."""

    def __init__(self, function: Callable[[Item], Outcome], num_workers: int):
        self._function, self._num_workers = function, num_workers
        self._executor = _start(num_workers)

    def submit(self, item: Item) -> Future:
        try:
            return self._executor.submit(self._function, item)
        except BrokenProcessPool:
            self._executor.shutdown()
            self._executor = _start(self._num_workers)
            return self._executor.submit(self._function, item)

    def result(self, item: Item, future: Future) -> Outcome:
        """Raises BrokenProcessPool if a worker dies when it processes the item alone."""
        try:
            return future.result()
        except BrokenProcessPool:  # at this item, or at another one in flight
            with _start(1) as executor:
                return executor.submit(self._function, item).result()

    def close(self) -> None:
        self._executor.shutdown(cancel_futures=True)


def _start(num_workers: int) -> ProcessPoolExecutor:
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(method)
    if method == "forkserver":
        # Imported once in the server instead of in every worker.
        context.set_forkserver_preload(["data.pipeline.row", "data.images.dicom.read", "data.synthetic.source"])
    return ProcessPoolExecutor(num_workers, mp_context=context, initializer=_begin_worker)


def _begin_worker() -> None:
    cv2.setNumThreads(1)
    end_with_parent()


def _build_row(raw_study: RawStudy | Rejection, *, options: BuildOptions) -> PreparedRow | Rejection:
    return raw_study if isinstance(raw_study, Rejection) else build_row(raw_study, options)


def _lost_study(raw_study: RawStudy | Rejection) -> Rejection:
    reason = "the process that read it was killed or ran out of memory, also when it read this study alone"
    return Rejection.of(raw_study, reason)
