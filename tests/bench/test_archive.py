"""The benchmark of page.archive: how its figures follow from times and samples."""

import pytest

from bench.archive import Sample, rate, summarize


def test_start_of_a_program_does_not_count():
    assert rate({8: 30.0, 108: 80.0}) == 2.0
    with pytest.raises(ValueError, match="give a larger --num-studies"):
        rate({8: 30.0, 16: 29.0})


def test_memory_of_the_first_and_of_the_last_quarter():
    samples = [
        Sample(rows=rows, program=program, all_processes=10 * program)
        for rows, program in ((50, 3.0), (100, 5.0), (200, 9.0), (350, 6.0), (400, 4.0))
    ]
    assert summarize(samples) == {
        "rows": 400, "program_first_mib": 5.0, "program_last_mib": 6.0, "all_first_mib": 50.0, "all_last_mib": 60.0,
    }  # fmt: skip
    with pytest.raises(ValueError, match="give a larger --num-rows"):
        summarize(samples[:1])
