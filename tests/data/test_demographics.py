"""Sex, age and manufacturer: what is read, capped and kept in a prepared data set."""

import math

import pytest
from PIL import Image

from data.prepare import main
from data.study import FEATURES, load_studies
from tests.helpers.sources.tables import csv_of
from vlm.schema.demographics import Demographics, parse_age, parse_manufacturer, parse_sex


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (57, 57), (57.9, 57), ("57", 57), ("57.5", 57), ("057Y", 57), ("018M", 1), ("103W", 1), ("364D", 0),
        ("89", 89), ("90", 90), ("90+", 90), ("104Y", 90), (0, 0),
        ("", None), (None, None), (math.nan, None), ("unknown", None),
    ],
)  # fmt: skip
def test_age_is_whole_years_and_at_most_90(value, expected):
    assert parse_age(value) == expected


@pytest.mark.parametrize("value", ["-3", "131", "20Q", "born in 1950", 1987, "1987-05-03"])
def test_an_age_that_is_none_is_an_error(value):
    with pytest.raises(ValueError, match=r"age is .* give years from 0 to 130"):
        parse_age(value)


def test_sex_is_a_code_of_dicom():
    assert [parse_sex(word) for word in ("F", "female", " m ", "Male", "O", "", None, "U")] == list("FFMMO") + [""] * 3
    with pytest.raises(ValueError, match="sex is 'X'; use F, M, O or leave it blank"):
        parse_sex("X")


def test_manufacturer_is_one_line():
    assert [parse_manufacturer(text) for text in (" GE\nHealthcare ", None, "nan")] == ["GE Healthcare", "", ""]


def test_known_values_win_over_those_of_the_header():
    known = Demographics(sex="F", manufacturer="")
    assert known.or_else(Demographics(sex="M", age=4, manufacturer="Agfa")) == Demographics(
        sex="F", age=4, manufacturer="Agfa"
    )


def test_ages_above_90_cannot_be_stored():
    with pytest.raises(ValueError, match="age is 91; it must be from 0 to 90"):
        Demographics(age=91)


def test_columns_of_a_table_are_kept_and_unreadable_values_are_counted(tmp_path, capsys):
    rows, report = [], {"findings": "Clear lungs.", "vendor": "Agfa"}
    values = [("F", "93"), ("male", "045Y"), ("?", "old"), ("", "")]
    for number, (sex, age) in enumerate(values):
        Image.new("L", (64, 64), 40 * number).save(tmp_path / f"{number}.png")
        rows.append({"image": f"{number}.png", **report, "gender": sex, "PatientAge": age})
    out = tmp_path / "out"
    given = ["table", str(csv_of(tmp_path, rows)), "--manufacturer-column", "vendor", "--out", str(out)]
    main([*given, "--split-fractions", "1", "0", "0", "--num-workers", "1"])
    studies = load_studies(out)["train"]
    assert studies.column_names == list(FEATURES)
    assert list(zip(studies["sex"], studies["age"], studies["manufacturer"], strict=True)) == [
        ("F", 90, "Agfa"), ("M", 45, "Agfa"), ("", None, "Agfa"), ("", None, "Agfa"),
    ]  # fmt: skip
    printed = " ".join(capsys.readouterr().out.split())
    assert (
        "1 values of sex, age, date or view position cannot be read and count as unknown; row 3: age is 'old'"
        in printed
    )
