"""View positions."""

import pytest

from vlm.schema.findings import VIEW_KINDS, is_lateral, view_index


@pytest.mark.parametrize(
    "position, kind",
    [
        ("PA", "frontal PA"),
        (" pa ", "frontal PA"),
        ("AP", "frontal AP"),
        ("AP supine", "frontal AP"),
        ("LATERAL", "lateral"),
        ("LL", "lateral"),
        ("LLD", "unknown"),
        ("AP RLD", "frontal AP"),
        ("UNKNOWN", "unknown"),
        ("", "unknown"),
        ("SWIMMERS", "unknown"),
    ],
)
def test_view_positions_map_to_kinds(position, kind):
    assert VIEW_KINDS[view_index(position)] == kind


def test_decubitus_views_are_frontal():
    """The patient lies on one side, but the image shows the chest from the front or the back."""
    assert not any(map(is_lateral, ("LLD", "RLD", "AP LLD", "PA RLD")))
