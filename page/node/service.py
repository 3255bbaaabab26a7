"""The running node: receives, reads and sends at the same time, each in its own thread.

    with running_node(options, generator) as node:
        ...

All that the threads share is the store. An error in one of them is logged without its message, which may quote a
header, and the thread goes on.
"""

import logging
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from page.node.options import NodeOptions
from page.node.reading import read_stable_study
from page.node.receive import Receiver
from page.node.send import deliver, make_senders
from page.node.states import pseudonym
from page.node.status import StatusPage
from page.node.store import NodeStore
from vlm.generator import GenerationOptions, ReportGenerator

PAUSE_SECONDS = 0.5
"""How often an idle thread looks for work."""
RETRY_SECONDS = 30
CLEANUP_SECONDS = 600
SECONDS_PER_DAY = 86_400

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunningNode:
    """The store of a node, and the ports that it listens on."""

    store: NodeStore
    port: int
    status_port: int


@contextmanager
def running_node(options: NodeOptions, generator: ReportGenerator) -> Iterator[RunningNode]:
    """A node that works until the block ends; a study that is being read then is finished first.

    Raises:
        ValueError: the spool is in use, a port cannot be listened on, or a file cannot be used; names the flag.
    """
    with ExitStack() as stack:
        store = NodeStore(options.spool, max_bytes=options.max_spool_gb * 2**30)
        stack.callback(store.close)
        if options.retry_failed:
            logger.info("%d failed studies are tried again", store.retry_failed())
        senders, receiver = make_senders(options), Receiver(options, store)
        stack.callback(receiver.stop)
        page = StatusPage(options, store)
        stack.callback(page.stop)
        stop = threading.Event()
        jobs: dict[str, Callable[[], bool]] = {
            "read": lambda: read_next(store, generator, options),
            "send": lambda: deliver(store, senders),
            "clean": _Cleanup(store, keep_seconds=options.keep_days * SECONDS_PER_DAY),
        }
        threads = [
            threading.Thread(target=_repeat, args=(job, stop), name=name, daemon=True) for name, job in jobs.items()
        ]
        for thread in threads:
            thread.start()
        receiver.start()
        try:
            yield RunningNode(store=store, port=receiver.port, status_port=page.port)
        finally:
            stop.set()
            for thread in threads:
                thread.join()


def read_next(store: NodeStore, generator: ReportGenerator, options: NodeOptions) -> bool:
    """Read the next stable study; False if there is none."""
    study = store.next_stable(options.stable_seconds)
    if study is None:
        return False
    try:
        generation = GenerationOptions(max_new_tokens=options.max_new_tokens, num_candidates=options.num_candidates)
        outcome = read_stable_study(generator, study, kinds=options.kinds, options=generation)
    except Exception as error:  # one study must not stop the others
        _log_error(f"{pseudonym(study.uid)}: not read", error)
        store.postpone(study, f"unexpected error ({type(error).__name__})", seconds=RETRY_SECONDS)
        return True
    is_current = store.finish(
        study,
        results=outcome.results,
        report_key=outcome.report_key,
        reason=outcome.reason,
        image_reasons=outcome.image_reasons,
    )
    ending = (
        "new images came while it was read"
        if not is_current
        else f"rejected: {outcome.reason}"
        if outcome.reason
        else f"reported, version {study.version + 1}"
        if outcome.results
        else "no other image can be used; the last report holds"
    )
    logger.info("%s: %s", pseudonym(study.uid), ending)
    return True


class _Cleanup:
    """Deletes old files, from time to time."""

    def __init__(self, store: NodeStore, *, keep_seconds: float):
        self._store, self._keep_seconds, self._next = store, keep_seconds, 0.0

    def __call__(self) -> bool:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + CLEANUP_SECONDS
            if num_deleted := self._store.remove_files(before=time.time() - self._keep_seconds):
                logger.info("%d old files deleted", num_deleted)
        return False


def _repeat(job: Callable[[], bool], stop: threading.Event) -> None:
    """Do a job until `stop`; wait a little when there is nothing to do."""
    while not stop.is_set():
        try:
            is_busy = job()
        except Exception as error:  # a full disk, for example; the node goes on when there is room
            _log_error(f"{threading.current_thread().name}: failed, tried again in {RETRY_SECONDS} s", error)
            stop.wait(RETRY_SECONDS)
            continue
        if not is_busy:
            stop.wait(PAUSE_SECONDS)


def _log_error(what: str, error: Exception) -> None:
    places = "".join(traceback.format_tb(error.__traceback__))
    logger.error("%s (%s)\n%s", what, type(error).__name__, places)
