"""The benchmark of drafts: it finds equal reports, and says so if they are not."""

import itertools
import json

import bench.drafts


def run(small_dataset, output, *flags):
    arguments = ("--dataset", small_dataset, "--num-studies", "2", "--output", output)
    status = bench.drafts.main([str(argument) for argument in (*arguments, *flags)])
    return status, json.loads(output.read_text())


def test_reports_are_equal_with_fewer_passes_or_as_many(small_dataset, tmp_path):
    status, record = run(small_dataset, tmp_path / "drafts.json")
    assert (status, record["num_studies"], record["different"]) == (0, 2, [])
    assert 0 < record["with_drafts"]["passes"] <= record["without_drafts"]["passes"]
    assert record["num_tokens"] > 0 < record["num_entries"]


def test_different_reports_end_with_status_1(small_dataset, tmp_path, monkeypatch):
    numbers = itertools.count()
    monkeypatch.setattr(bench.drafts, "_identity", lambda report: next(numbers))
    status, record = run(small_dataset, tmp_path / "drafts.json")
    assert (status, len(record["different"])) == (1, 2)
