"""View positions."""

import pytest

from vlm.schema.findings import VIEW_KINDS, view_index


@pytest.mark.parametrize(
    "position, kind",
    [
        ("PA", "frontal PA"),
        (" pa ", "frontal PA"),
        ("AP", "frontal AP"),
        ("AP supine", "frontal AP"),
        ("LATERAL", "lateral"),
        ("LL", "lateral"),
        ("UNKNOWN", "unknown"),
        ("", "unknown"),
        ("SWIMMERS", "unknown"),
    ],
)
def test_view_positions_map_to_kinds(position, kind):
    assert VIEW_KINDS[view_index(position)] == kind
