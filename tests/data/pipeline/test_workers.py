"""Worker processes keep the order, and a crash loses only the item that caused it."""

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


def crashes_once(path: Path) -> str:
    """Exits at the first attempt, like a process that is killed from outside."""
    if path.name == "bad" and not path.exists():
        path.touch()
        os._exit(9)
    return path.name


def mapped(numbers, num_workers=2):
    return list(map_in_order(square, numbers, num_workers=num_workers, if_lost=lambda number: f"lost {number}"))


@pytest.mark.parametrize("num_workers", [1, 2])
def test_results_come_in_the_order_of_the_items(num_workers):
    assert mapped(range(20), num_workers) == [(number, number**2) for number in range(20)]


def test_a_crashing_worker_loses_only_its_item():
    numbers = [1, 2, -3, 4, 5, -6, *range(7, 20)]
    assert mapped(numbers) == [(number, square(number) if number > 0 else f"lost {number}") for number in numbers]


def test_an_item_is_retried_when_its_worker_is_killed_from_outside(tmp_path):
    paths = [tmp_path / name for name in ("a", "bad", "c")]
    outcomes = map_in_order(crashes_once, paths, num_workers=2, if_lost=lambda path: "lost")
    assert [outcome for _, outcome in outcomes] == ["a", "bad", "c"]


def test_few_items_are_in_flight_at_a_time():
    taken = []
    outcomes = map_in_order(square, (taken.append(i) or i for i in range(100)), num_workers=2, if_lost=str)
    next(outcomes)
    assert len(taken) <= 2 * workers.IN_FLIGHT_PER_WORKER
    outcomes.close()


def test_the_run_fails_when_every_worker_dies(monkeypatch):
    monkeypatch.setattr(workers, "MAX_LOST", 2)
    with pytest.raises(RuntimeError, match=r"worker processes died 2 times in a row .* with fewer --num-workers"):
        mapped([-1, -2, -3])
