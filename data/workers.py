"""Worker processes that turn drafts into rows: in order, a bounded number at a time.

Workers are started by a fork server (where there is none, spawned), never forked from a process with threads. One
worker means no process at all.
"""

import multiprocessing
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import cv2

from data.draft import Draft, ImageOptions, Refusal, build_row

IN_FLIGHT_PER_WORKER = 4


def num_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def build_rows(
    drafts: Iterable[Draft | Refusal], options: ImageOptions, *, num_workers: int
) -> Iterator[tuple[Draft | Refusal, dict[str, Any] | Refusal]]:
    """Each draft with its row or refusal, in the order given; a refusal among the drafts passes through.

    Raises:
        RuntimeError: a worker process died; names the studies that were being read.
    """
    if num_workers == 1:
        for draft in drafts:
            yield draft, draft if isinstance(draft, Refusal) else build_row(draft, options)
        return
    in_flight: deque[tuple[Draft | Refusal, Future | Refusal]] = deque()
    with ProcessPoolExecutor(num_workers, mp_context=_context(), initializer=_one_thread) as pool:
        try:
            for draft in drafts:
                outcome = draft if isinstance(draft, Refusal) else pool.submit(build_row, draft, options)
                in_flight.append((draft, outcome))
                if len(in_flight) >= num_workers * IN_FLIGHT_PER_WORKER:
                    yield _first_done(in_flight)
            while in_flight:
                yield _first_done(in_flight)
        except BrokenProcessPool as error:
            names = ", ".join(draft.study_id for draft, _ in list(in_flight)[: 2 * num_workers])
            raise RuntimeError(
                f"a worker process died (killed, or out of memory) at one of these studies: {names}; "
                "run again with fewer --num-workers"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _first_done(
    in_flight: deque[tuple[Draft | Refusal, Future | Refusal]],
) -> tuple[Draft | Refusal, dict[str, Any] | Refusal]:
    draft, outcome = in_flight[0]
    done = outcome if isinstance(outcome, Refusal) else outcome.result()
    in_flight.popleft()  # only now: what is in flight when a worker dies is named
    return draft, done


def _context() -> multiprocessing.context.BaseContext:
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    # Imported once in the server instead of in every worker.
    context.set_forkserver_preload(["data.draft", "data.dicom", "data.synthetic_source"])
    return context


def _one_thread() -> None:
    cv2.setNumThreads(1)
