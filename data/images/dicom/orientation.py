"""Turn a radiograph to the standard view, as far as its DICOM header says how it lies (PatientOrientation, PS3.3,
C.7.6.1.1.1).

PatientOrientation has two values: the direction of the rows, from left to right, and that of the columns, from top to
bottom. Each starts with the letter of its main direction: Anterior, Posterior, Right, Left, Head, Feet.

The standard views are those of the data sets. Frontal: the patient faces the reader (rows run to the left side of the
patient, columns to the feet). Lateral: the patient faces left (rows run to the back).
"""

import re

import numpy as np

_DIRECTIONS = re.compile(r"[APRLHF]{1,3}")
_STANDARD = {"FRONTAL": ("L", "F"), "LATERAL": ("P", "F")}
_FRONTAL_VIEWS, _LATERAL_VIEWS = ("PA", "AP", "FRONTAL"), ("LL", "RL", "LATERAL")


def plane_of(directions: tuple[str, ...]) -> str:
    """FRONTAL or LATERAL; "" if `directions` (the values of PatientOrientation) do not say how the image lies."""
    if len(directions) != 2 or not all(map(_DIRECTIONS.fullmatch, directions)):
        return ""
    letters = {direction[0] for direction in directions}
    if len(letters & {"H", "F"}) != 1:
        return ""
    return "FRONTAL" if letters & {"L", "R"} else "LATERAL" if letters & {"A", "P"} else ""


def standard_view(pixels: np.ndarray, directions: tuple[str, ...], view_position: str) -> tuple[np.ndarray, str]:
    """The pixels turned to the standard view, and a note about it; "" if they are as they were and nothing is wrong."""
    if not any(directions):
        return pixels, ""
    stated = "\\".join(directions)[:9]
    plane = plane_of(directions)
    if not plane:
        return pixels, "is not turned to the standard view: its PatientOrientation is not usable"
    if view_position in (_LATERAL_VIEWS if plane == "FRONTAL" else _FRONTAL_VIEWS):
        reason = f"PatientOrientation {stated} is {plane.lower()}, ViewPosition is {view_position}"
        return pixels, f"is not turned to the standard view: its header contradicts itself ({reason})"
    rows, columns = (direction[0] for direction in directions)
    standard_rows, standard_columns = _STANDARD[plane]
    turned = pixels
    if rows in "HF":
        turned, rows, columns = turned.T, columns, rows
    if rows != standard_rows:
        turned = turned[:, ::-1]
    if columns != standard_columns:
        turned = turned[::-1]
    if turned is pixels:
        return pixels, ""
    return np.ascontiguousarray(turned), (
        f"was turned to the standard view (rows to {standard_rows}, columns to {standard_columns}; its "
        f"PatientOrientation is {stated})"
    )
