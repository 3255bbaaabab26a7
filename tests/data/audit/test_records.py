"""Records in a file, and groups of equal ones."""

import numpy as np

from data.audit.records import Records, groups_of_equal


def test_records_are_read_as_they_were_added():
    with Records([("study", np.int64), ("digest", "S16"), ("image", np.uint8, (2, 2))]) as records:
        assert len(records.array()) == 0
        for study in range(3):
            records.add(study, bytes([study]) * 16, np.full((2, 2), study))
        found = records.array()
        assert found["study"].tolist() == [0, 1, 2]
        assert found["digest"].tolist() == [b"", b"\x01" * 16, b"\x02" * 16]  # zeros at the end do not count
        assert found["image"][1:, 1, 0].tolist() == [1, 2]
        records.add(9, b"x" * 16, np.zeros((2, 2)))
        assert records.array()["study"].tolist() == [0, 1, 2, 9]


def test_groups_are_in_the_order_of_their_first_member():
    keys = np.array([b"b", b"a", b"c", b"a", b"b", b"a"])
    first, groups = groups_of_equal(keys)
    assert first.tolist() == [0, 1, 2]
    assert groups == [[0, 4], [1, 3, 5]]
    first, groups = groups_of_equal(keys[:0])
    assert (first.tolist(), groups) == ([], [])
