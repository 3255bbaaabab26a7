"""Run a function on hostile input in a warm process of its own, with a limit on its processor time.

    information, content = run_isolated(decode_frame, frame, syntax=…)

Native decoders can hang for minutes or crash on damaged files. Here this costs a worker process, which is replaced, and
not the process that serves other users. The function takes bytes and JSON values, and returns a JSON object and bytes;
these travel through a socket, so what a worker sends is never executed. In a worker, `run_isolated` calls the function
itself.

Workers start once (0.5 s) and stay. They end when the socket closes, so also if this process is killed.
"""

import atexit
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from data.images.pixels import ImageRejected

BASE_SECONDS, SECONDS_PER_MEGABYTE = 1.5, 0.3
"""Limit of processor time for one call, by the size of its input. The slowest intact radiographs (16 million pixels in
JPEG 2000) need two thirds of it."""
WALL_FACTOR, START_SECONDS = 20, 120
"""A worker that waits, or competes with others for the processor, is given up after this many times the limit."""
MAX_WORKERS = 4
_ROOT = Path(__file__).parents[2]
_COMMAND = "from data.images.isolated import _serve; _serve()"
_is_worker = False

IsolatedFunction = Callable[..., tuple[dict[str, Any], bytes]]


class TooSlow(ValueError):  # noqa: N818 (named after what happened)
    """The function exceeded its limit of processor time."""


def run_isolated(function: IsolatedFunction, content: bytes, **options) -> tuple[dict[str, Any], bytes]:
    """`function(content, **options)` of a module of this project, in a worker process.

    Raises:
        ImageRejected: from the function.
        TooSlow: it exceeded its limit.
        ValueError: it failed in another way, or its process crashed.
    """
    if _is_worker:
        return function(content, **options)
    return _POOL.run(f"{function.__module__}:{function.__qualname__}", content, options)


@contextmanager
def limited_time(content: bytes) -> Iterator[None]:
    """Raise TooSlow in this block when the process has used the time limit for this input.

    For programs that read files of a data set in the main thread of their own process. It stops Python code; a native
    decoder is stopped when it returns. In other threads and in a worker it does nothing.
    """
    if _is_worker or threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return
    seconds = seconds_for(content)

    def stop(*_):
        raise TooSlow(f"decoding took more than {seconds:.1f} s of processor time")

    previous = signal.signal(signal.SIGPROF, stop)
    # Again after the same time: Python ignores an exception that is raised in a callback of its garbage collector.
    signal.setitimer(signal.ITIMER_PROF, seconds, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, previous)


def start_worker() -> None:
    """Start a worker in the background, so that the first call need not wait for it."""
    threading.Thread(target=lambda: _POOL.give_back(_Worker()), daemon=True).start()


def seconds_for(content: bytes) -> float:
    return BASE_SECONDS + SECONDS_PER_MEGABYTE * len(content) / 2**20


class _Worker:
    def __init__(self):
        ours, theirs = socket.socketpair()
        with theirs:
            # The worker finds the project where this process has found it, and imports nothing from its current folder.
            paths = os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _COMMAND, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env=os.environ | {"PYTHONPATH": paths},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        self._connection = Connection(ours.detach())
        try:
            self._receive(START_SECONDS)
        except (EOFError, OSError) as error:
            self.close()
            raise RuntimeError(f"the process that decodes images cannot be started ({sys.executable})") from error

    def run(self, name: str, content: bytes, options: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        seconds = seconds_for(content)
        try:
            self._connection.send_bytes(json.dumps([name, options, seconds]).encode())
            self._connection.send_bytes(content)
            answer = json.loads(self._receive(WALL_FACTOR * seconds))
            return answer, self._connection.recv_bytes()
        except TimeoutError as error:
            raise TooSlow(f"decoding did not end within {WALL_FACTOR * seconds:.0f} s") from error
        except (EOFError, OSError) as error:
            if self._process.wait(START_SECONDS) == -signal.SIGPROF:
                raise TooSlow(f"decoding took more than {seconds:.1f} s of processor time") from error
            raise ValueError("the decoder crashed") from error

    def close(self) -> None:
        self._connection.close()
        self._process.kill()
        self._process.wait()

    def _receive(self, seconds: float) -> bytes:
        if not self._connection.poll(seconds):
            raise TimeoutError
        return self._connection.recv_bytes()


class _Pool:
    """Idle workers, and a limit on the number of calls at a time."""

    def __init__(self):
        self._idle: list[_Worker] = []
        self._lock, self._slots = threading.Lock(), threading.BoundedSemaphore(MAX_WORKERS)
        self._pid, self._is_closed = os.getpid(), False

    def run(self, name: str, content: bytes, options: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        if self._pid != os.getpid():  # a fork must not talk to the workers of its parent
            self.__init__()
        with self._slots:
            with self._lock:
                worker = self._idle.pop() if self._idle else None
            worker = worker or _Worker()
            try:
                answer, result = worker.run(name, content, options)
            except BaseException:
                worker.close()
                start_worker()
                raise
            self.give_back(worker)
        if "rejected" in answer:
            raise ImageRejected(answer["rejected"])
        if "failed" in answer:
            raise ValueError(answer["failed"])
        return answer, result

    def give_back(self, worker: _Worker) -> None:
        with self._lock:
            if not self._is_closed:
                self._idle.append(worker)
                return
        worker.close()

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            while self._idle:
                self._idle.pop().close()


_POOL = _Pool()
atexit.register(_POOL.close)


def _serve() -> None:
    """The program of a worker: answer calls until the socket closes."""
    globals()["_is_worker"] = True
    connection = Connection(int(sys.argv[1]))
    importlib.import_module("data.images.read")
    connection.send_bytes(b"ready")
    while True:
        try:
            name, options, seconds = json.loads(connection.recv_bytes())
            content = connection.recv_bytes()
        except (EOFError, OSError):
            return
        module, _, function = name.partition(":")
        # The signal ends the process, also inside native code.
        signal.setitimer(signal.ITIMER_PROF, seconds)
        try:
            answer, result = getattr(importlib.import_module(module), function)(content, **options)
        except ImageRejected as rejected:
            answer, result = {"rejected": str(rejected)}, b""
        except Exception as error:  # decoders raise many types
            answer, result = {"failed": type(error).__name__}, b""
        signal.setitimer(signal.ITIMER_PROF, 0)
        connection.send_bytes(json.dumps(answer).encode())
        connection.send_bytes(result)
