"""Orders of candidate reports: the sets, the count of right orders, and the report error score on the invented set."""

import json

import pytest

from bench.error_orders import SCORES, Group, count_orders, derived_groups, invented_groups, main

GROUP = Group(title="effusion", reference="left effusion.", candidates=("one", "two", "three"), harms=(0.0, 0.5, 0.5))


def test_orders_are_counted_with_ties():
    scores = {"one": 1.0, "two": 1.0, "three": 0.5}
    orders = count_orders([GROUP], lambda candidate, reference: scores[candidate])
    assert (orders.num_pairs, orders.num_right, orders.num_tied) == (2, 1, 1)
    assert orders.wrong == ((GROUP, 0, 1),)
    assert orders.tau == pytest.approx(0.5)


def test_invented_groups_have_at_least_two_ranks():
    groups = invented_groups()
    assert len(groups) >= 40
    assert all(len(set(group.harms)) >= 2 and group.reference for group in groups)


def test_report_error_score_orders_the_invented_reports_and_finding_f1_does_not():
    orders = {name: count_orders(invented_groups(), score) for name, score in SCORES.items()}
    found = orders["report error score"]
    assert found.num_right / found.num_pairs > 0.95
    assert found.num_tied == 0
    assert all(found.num_right > 1.25 * one.num_right for name, one in orders.items() if name != "report error score")


REPORT = {
    "id": "CXR1",
    "split": "train",
    "findings": "There is a small left pleural effusion. The heart size is normal. No focal consolidation.",
    "impression": "Small left pleural effusion.",
}


def write_reports(folder, *reports):
    path = folder / "reports.jsonl"
    path.write_text("".join(json.dumps(report) + "\n" for report in reports), encoding="utf-8")
    return path


def test_candidates_are_made_from_train_reports_only(tmp_path):
    path = write_reports(tmp_path, REPORT | {"split": "val"}, REPORT, REPORT | {"split": "test"})
    (group,) = derived_groups(path, 10)
    harms = dict(zip(group.candidates, group.harms, strict=True))
    (swapped,) = (text for text in harms if "right pleural effusion" in text)
    assert "left" not in swapped
    assert harms[swapped] == pytest.approx(0.4)
    assert min(harms.values()) == 0
    (all_left_out,) = (text for text in harms if "effusion" not in text)
    assert harms[all_left_out] == 0.5
    assert any("large right pneumothorax" in text for text in harms)


def test_tables_are_printed_and_a_missing_file_is_named(tmp_path, capsys):
    found = main(["--reports", str(write_reports(tmp_path, REPORT)), "--show"])
    assert set(found) == {"invented", "made from train reports"}
    assert "right orders" in capsys.readouterr().out
    assert set(main(["--reports", str(tmp_path / "none.jsonl")])) == {"invented"}
    assert "none.jsonl is not there" in " ".join(capsys.readouterr().out.split())
