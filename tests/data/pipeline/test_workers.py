"""Worker processes: order kept, and a death costs nothing but the item that caused it."""

import os
import signal
from pathlib import Path

import pytest

from data.pipeline import workers
from data.pipeline.workers import map_in_order


def square(number: int) -> int:
    if number < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number


def dies_once(path: Path) -> str:
    """Dies at the first try, as a process does that somebody else kills."""
    if path.name == "bad" and not path.exists():
        path.touch()
        os._exit(9)
    return path.name


def mapped(numbers, num_workers=2):
    return list(map_in_order(square, numbers, num_workers=num_workers, if_lost=lambda number: f"lost {number}"))


@pytest.mark.parametrize("num_workers", [1, 2])
def test_outcomes_come_in_the_order_of_the_items(num_workers):
    assert mapped(range(20), num_workers) == [(number, number**2) for number in range(20)]


def test_a_worker_that_dies_loses_its_item_alone_and_work_goes_on():
    numbers = [1, 2, -3, 4, 5, -6, *range(7, 20)]
    assert mapped(numbers) == [(number, square(number) if number > 0 else f"lost {number}") for number in numbers]


def test_a_worker_killed_from_outside_loses_nothing(tmp_path):
    paths = [tmp_path / name for name in ("a", "bad", "c")]
    outcomes = map_in_order(dies_once, paths, num_workers=2, if_lost=lambda path: "lost")
    assert [outcome for _, outcome in outcomes] == ["a", "bad", "c"]


def test_items_are_taken_a_few_at_a_time():
    taken = []
    outcomes = map_in_order(square, (taken.append(i) or i for i in range(100)), num_workers=2, if_lost=str)
    next(outcomes)
    assert len(taken) <= 2 * workers.IN_FLIGHT_PER_WORKER
    outcomes.close()


def test_when_every_worker_dies_the_run_ends_with_the_reason(monkeypatch):
    monkeypatch.setattr(workers, "MAX_LOST", 2)
    with pytest.raises(RuntimeError, match=r"worker processes died 2 times in a row .* with fewer --num-workers"):
        mapped([-1, -2, -3])
