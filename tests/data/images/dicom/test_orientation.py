"""PatientOrientation: every way an image can lie is turned to the standard view, and what contradicts is not turned."""

import numpy as np
import pytest

from data.images.dicom.orientation import plane_of
from data.images.dicom.read import read_dicom
from tests.helpers.dicom.files import content_of

STANDARD = (np.arange(48)[:, None] * 3 + np.arange(40) * 2).astype(np.uint8)
"""Rows run to the left side (or the back) of the patient, columns to the feet."""
STORED = {
    # rows, columns: how the standard view looks if it is stored so. "+" is L or P, "-" is R or A.
    ("+", "F"): STANDARD,
    ("-", "F"): STANDARD[:, ::-1],
    ("+", "H"): STANDARD[::-1],
    ("-", "H"): STANDARD[::-1, ::-1],
    ("F", "+"): STANDARD.T,
    ("F", "-"): STANDARD[:, ::-1].T,
    ("H", "+"): STANDARD[::-1].T,
    ("H", "-"): STANDARD[::-1, ::-1].T,
}


@pytest.mark.parametrize(("letters", "view"), [("LR", "PA"), ("LR", "AP"), ("LR", ""), ("PA", "LL"), ("PA", "LATERAL")])
@pytest.mark.parametrize("directions", STORED)
def test_image_is_turned_to_the_standard_view(directions, letters, view):
    orientation = [direction.replace("+", letters[0]).replace("-", letters[1]) for direction in directions]
    content = content_of(np.ascontiguousarray(STORED[directions]), PatientOrientation=orientation, ViewPosition=view)
    dicom = read_dicom(content)
    assert np.array_equal(np.asarray(dicom.image), STANDARD)
    assert dicom.view_position == (view or "FRONTAL")
    if directions == ("+", "F"):
        assert dicom.notes == ()
    else:
        (note,) = dicom.notes
        assert note.startswith(f"was turned to the standard view (rows to {letters[0]}, columns to F; its")
        assert note.endswith(f"is {orientation[0]}\\{orientation[1]})")


def test_oblique_directions_count_by_their_first_letter():
    content = content_of(STORED["-", "H"].copy(), PatientOrientation=["RA", "HLP"])
    assert np.array_equal(np.asarray(read_dicom(content).image), STANDARD)


def test_image_with_rectangular_pixels_is_turned_after_it_was_resized():
    content = content_of(STORED["F", "+"].copy(), PatientOrientation=["F", "L"], PixelSpacing=[0.1, 0.2])
    assert STORED["F", "+"].shape == (40, 48)
    assert read_dicom(content).image.size == (20, 48)


@pytest.mark.parametrize(
    ("orientation", "view", "note"),
    [
        (["L", "F"], "LL", r"PatientOrientation L\F is frontal, ViewPosition is LL"),
        (["A", "H"], "PA", r"PatientOrientation A\H is lateral, ViewPosition is PA"),
    ],
)
def test_contradictory_header_turns_nothing_and_is_noted(orientation, view, note):
    dicom = read_dicom(content_of(STANDARD, PatientOrientation=orientation, ViewPosition=view))
    assert np.array_equal(np.asarray(dicom.image), STANDARD)
    assert dicom.notes == (f"is not turned to the standard view: its header contradicts itself ({note})",)


@pytest.mark.parametrize("orientation", [["R", ""], ["R"], ["R", "L"], ["H", "F"], ["A", "L"], ["X", "Y"], ["LE", "F"]])
def test_unusable_orientation_turns_nothing_and_is_noted(orientation):
    dicom = read_dicom(content_of(STANDARD, PatientOrientation=orientation))
    assert np.array_equal(np.asarray(dicom.image), STANDARD)
    assert dicom.notes == ("is not turned to the standard view: its PatientOrientation is not usable",)


@pytest.mark.parametrize("orientation", [None, "", ["", ""]])
def test_absent_orientation_is_not_noted(orientation):
    attributes = {} if orientation is None else {"PatientOrientation": orientation}
    assert read_dicom(content_of(STANDARD, **attributes)).notes == ()


def test_plane_is_known_for_turned_images_too():
    assert plane_of(("F", "R")) == "FRONTAL"
    assert plane_of(("H", "A")) == "LATERAL"
    assert plane_of(("L", "A")) == ""
