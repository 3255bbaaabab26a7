"""What runs in a process of its own can crash, hang and fail without harm to this one."""

import contextlib
import os
import threading
import time

import pytest

from data.images import isolated
from data.images.isolated import TooSlow, limited_time, run_isolated
from data.images.pixels import ImageRejected
from tests.helpers.processes import isolated_functions as functions


def test_result_comes_back_from_a_warm_process():
    information, content = run_isolated(functions.reverse, b"abc", number=1)
    assert (information["number"], content) == (2, b"cba")
    assert information["pid"] != os.getpid()
    # Another test may have left a process that is still starting.
    processes = {run_isolated(functions.reverse, b"abc", number=1)[0]["pid"] for _ in range(9)}
    assert len(processes) < 9


def test_crash_and_endless_loop_are_errors_and_the_next_call_works():
    with pytest.raises(ValueError, match="the decoder crashed"):
        run_isolated(functions.crash, b"")
    start = time.perf_counter()
    with pytest.raises(TooSlow, match=r"decoding took more than 1\.5 s of processor time"):
        run_isolated(functions.compute_forever, b"")
    assert time.perf_counter() - start < 20 * isolated.BASE_SECONDS
    assert run_isolated(functions.reverse, b"ab", number=0)[1] == b"ba"


def test_process_that_waits_is_given_up(monkeypatch):
    monkeypatch.setattr(isolated, "WALL_FACTOR", 0.5)
    with pytest.raises(TooSlow, match="decoding did not end within"):
        run_isolated(functions.wait_for_long, b"")


def test_errors_keep_their_reason_but_do_not_quote_the_header():
    with pytest.raises(ImageRejected, match=r"^scan: is a cat$"):
        run_isolated(functions.reject, b"")
    with pytest.raises(ValueError, match=r"^RuntimeError$"):
        run_isolated(functions.fail, b"")


def test_calls_of_several_threads_get_their_own_results():
    results = {}

    def call(number):
        results[number] = run_isolated(functions.reverse, bytes([number, 0]), number=number)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, (information, content) in results.items():
        assert (information["number"], content) == (number + 1, bytes([0, number]))


def test_python_code_in_this_process_can_be_limited(monkeypatch):
    monkeypatch.setattr(isolated, "BASE_SECONDS", 0.05)
    with pytest.raises(TooSlow), limited_time(b""):
        while True:
            pass
    deadline = time.process_time() + 0.1
    while time.process_time() < deadline:  # the limit has ended with the block
        pass


def test_limit_is_raised_again_if_it_was_ignored(monkeypatch):
    monkeypatch.setattr(isolated, "BASE_SECONDS", 0.05)
    with pytest.raises(TooSlow), limited_time(b""):
        with contextlib.suppress(TooSlow):
            while True:
                pass
        while True:
            pass
