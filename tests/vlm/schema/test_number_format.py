"""Number formats: exact texts, rounding, undefined values."""

import pytest

from vlm.schema.number_format import (
    format_count,
    format_interval,
    format_number,
    format_percent,
    format_percent_interval,
    format_probability,
)


@pytest.mark.parametrize(
    "value, text",
    [
        (0.34, ".340"),
        (0.0, ".000"),
        (-0.25, "-.250"),
        (-0.0001, ".000"),
        (0.9996, "1.000"),
        (1.0, "1.000"),
        (12.3456, "12.346"),
        (-1.5, "-1.500"),
        (None, "–"),
    ],
)
def test_numbers_have_three_decimals_without_a_leading_zero(value, text):
    assert format_number(value) == text


@pytest.mark.parametrize(
    "estimate, text",
    [
        ((0.34, 0.29, 0.39), ".340 [.290, .390]"),
        ((-0.1, -0.2, 0.0), "-.100 [-.200, .000]"),
        ((0.34, None, None), ".340"),
        ((None, None, None), "–"),
    ],
)
def test_intervals_are_in_brackets(estimate, text):
    assert format_interval(*estimate) == text


@pytest.mark.parametrize("share, text", [(0.053, "5.3%"), (0.0, "0.0%"), (1.0, "100.0%"), (None, "–")])
def test_percentages_have_one_decimal_and_no_space(share, text):
    assert format_percent(share) == text


def test_number_of_decimals_of_a_percentage_can_be_chosen():
    assert format_percent(0.053, decimals=0) == "5%"
    assert format_percent(0.0537, decimals=2) == "5.37%"


@pytest.mark.parametrize(
    "estimate, text",
    [((0.053, 0.041, 0.066), "5.3% [4.1%, 6.6%]"), ((0.053, None, None), "5.3%"), ((None, None, None), "–")],
)
def test_percentage_intervals_are_in_brackets(estimate, text):
    assert format_percent_interval(*estimate) == text


@pytest.mark.parametrize(
    "probability, text",
    [(0.0, "<1%"), (0.0049, "<1%"), (0.005, "<1%"), (0.37, "37%"), (0.9949, "99%"), (0.995, ">99%"), (1.0, ">99%")],
)
def test_probabilities_are_never_rounded_to_certainty(probability, text):
    assert format_probability(probability) == text


def test_counts_have_their_noun():
    assert format_count(1, "study", "studies") == "1 study"
    assert format_count(1200, "study", "studies") == "1,200 studies"
    assert format_count(0, "image") == "0 images"
