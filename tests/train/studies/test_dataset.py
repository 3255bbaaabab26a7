"""The plan of an epoch, and the content of a batch."""

import numpy as np
import pytest
import torch

from train.studies import dataset as dataset_module
from train.studies.dataset import Collator, StudyDataset, finding_condition, finding_targets, plan_epoch
from vlm.config import ImageGeometry
from vlm.schema.report_format import compose_report

PLAN = {"seed": 3, "epoch": 1, "batch_size": 4, "num_batches": 2}


def _studies(plan):
    return [number for step in plan for batch in step for number in batch]


@pytest.mark.parametrize("num_processes", [1, 2, 3])
@pytest.mark.parametrize("num_studies", [1, 7, 25, 100])
def test_every_study_is_in_one_batch_of_one_process(num_studies, num_processes):
    lengths = list(range(num_studies))
    plans = [plan_epoch(lengths, **PLAN, rank=rank, num_processes=num_processes) for rank in range(num_processes)]
    assert sorted(number for plan in plans for number in _studies(plan)) == lengths
    assert len({len(plan) for plan in plans}) == 1
    assert all(len(batch) <= 5 for plan in plans for step in plan for batch in step)


@pytest.mark.parametrize("num_processes", [2, 3])
@pytest.mark.parametrize("num_studies", range(17, 50))
@pytest.mark.parametrize("batch_size", [1, 4])
def test_processes_have_the_same_number_of_batches_in_each_step(num_studies, num_processes, batch_size):
    options = PLAN | {"batch_size": batch_size, "num_processes": num_processes}
    plans = [plan_epoch([1] * num_studies, **options, rank=rank) for rank in range(num_processes)]
    for steps in zip(*plans, strict=True):
        assert len({len(step) for step in steps}) == 1
        assert all(1 <= len(batch) <= batch_size + 1 for step in steps for batch in step)


def test_plan_depends_on_the_epoch():
    lengths = [1] * 50
    assert plan_epoch(lengths, **PLAN) == plan_epoch(lengths, **PLAN)
    assert plan_epoch(lengths, **PLAN) != plan_epoch(lengths, **(PLAN | {"epoch": 2}))


def test_studies_with_similar_lengths_share_a_batch():
    lengths = np.random.default_rng(0).integers(10, 400, 256)
    spread = [np.ptp(lengths[batch]) for step in plan_epoch(lengths, **PLAN) for batch in step]
    assert np.mean(spread) < 0.5 * np.mean([np.ptp(lengths[i : i + 4]) for i in range(0, 256, 4)])


def test_targets_follow_the_uncertain_labels_option():
    labels = torch.tensor([[0, 1, 2, 3, -100]])
    for choice, target, mask in [
        ("positive", [0, 1, 0, 1, 0], [1, 1, 1, 1, 0]),
        ("negative", [0, 1, 0, 0, 0], [1, 1, 1, 1, 0]),
        ("ignore", [0, 1, 0, 0, 0], [1, 1, 1, 0, 0]),
    ]:
        targets, counted = finding_targets(labels, choice)
        assert targets.tolist() == [target]
        assert counted.int().tolist() == [mask]


def test_batch_contains_report_tokens_and_masks_padding(small_studies, tiny_tokenizer):
    rows = small_studies["train"]
    dataset = StudyDataset(rows, tiny_tokenizer, ImageGeometry(size=32), max_report_tokens=500)
    collate = Collator(geometry=ImageGeometry(size=32), grid=(4, 4), pad_token_id=0)
    batch = collate([dataset[0], dataset[1]])
    for place in (0, 1):
        ids = batch["input_ids"][place][batch["attention_mask"][place].bool()].tolist()
        report = compose_report(findings=rows[place]["findings"], impression=rows[place]["impression"])
        assert ids[0] == tiny_tokenizer.bos_token_id
        assert ids[-1] == tiny_tokenizer.eos_token_id
        assert tiny_tokenizer.decode(ids[1:-1]) == report


def test_without_reports_a_study_has_only_the_start_token(small_studies, tiny_tokenizer):
    dataset = StudyDataset(small_studies["train"], tiny_tokenizer, ImageGeometry(size=32), max_report_tokens=500)
    dataset.with_reports = False
    assert dataset[0]["report_ids"] == [tiny_tokenizer.bos_token_id]
    assert dataset[0]["prompt_ids"] == []


def test_finding_condition_follows_the_labels():
    assert finding_condition(torch.tensor([[0, 1, 2, 3, -100]])).tolist() == [[-1, 1, -1, pytest.approx(0.3), 0]]


def test_without_images_a_study_has_its_text_and_finding_condition(small_studies, tiny_tokenizer):
    rows = small_studies["train"]
    dataset = StudyDataset(rows, tiny_tokenizer, ImageGeometry(size=32), max_report_tokens=500)
    collate = Collator(geometry=ImageGeometry(size=32), grid=(4, 4), pad_token_id=0)
    with_images = collate([dataset[0], dataset[1]])
    dataset.with_images = False
    batch = collate([dataset[0], dataset[1]])
    assert "pixel_values" not in batch
    assert with_images["box_targets"].any()
    for name in ("input_ids", "view_mask", "view_indices", "box_targets"):
        assert torch.equal(batch[name], with_images[name])
    assert torch.equal(
        batch["finding_condition"], finding_condition(torch.tensor([rows[0]["labels"], rows[1]["labels"]]))
    )


def test_cached_images_equal_images_from_disk(small_studies, tiny_tokenizer):
    dataset = StudyDataset(small_studies["train"], tiny_tokenizer, ImageGeometry(size=32), max_report_tokens=500)
    before = [square.copy() for square in dataset[3]["squares"]]
    assert not dataset.keep_images(1000)
    assert dataset.squares == {}
    assert dataset.keep_images(10**9)
    assert all(np.array_equal(*pair) for pair in zip(before, dataset[3]["squares"], strict=True))


def test_boxes_are_the_same_without_decoding_the_images(small_studies, tiny_tokenizer, monkeypatch):
    dataset = StudyDataset(small_studies["train"], tiny_tokenizer, ImageGeometry(size=32), max_report_tokens=500)

    def boxes():
        return [[str(view) for view in dataset[index]["boxes"] if view] for index in range(len(dataset))]

    expected = boxes()
    assert any(expected)
    dataset.with_images = False
    monkeypatch.setattr(dataset, "_decode", None)
    assert boxes() == expected


def test_boxes_of_a_finding_have_equal_and_uniform_weight(small_studies, tiny_tokenizer):
    dataset = StudyDataset(small_studies["train"], tiny_tokenizer, ImageGeometry(size=32), max_report_tokens=500)
    collate = Collator(geometry=ImageGeometry(size=32), grid=(4, 4), pad_token_id=0)
    boxes = [
        (3, np.array([12.0, 0.0, 20.0, 10.0])),
        (3, np.array([31.0, 31.0, 32.0, 32.0])),
        (5, np.array([-9.0, 4.0, -1.0, 9.0])),  # augmentation moved it out of the image
    ]
    study = dataset[0] | {"boxes": [boxes]}
    study |= {"squares": study["squares"][:1], "view_positions": study["view_positions"][:1]}
    shares = collate([study])["box_targets"][0].view(14, 4, 4)
    assert shares[3, :2, 1:3].tolist() == [pytest.approx([0.2, 0.2]), pytest.approx([0.05, 0.05])]
    assert shares[3, 3, 3] == pytest.approx(0.5)
    assert shares.sum() == pytest.approx(1)


def test_boxes_have_the_same_relative_position_in_the_square(small_studies, tiny_tokenizer):
    row = next(row for row in small_studies["train"] if row["boxes"])
    number = small_studies["train"]["study_id"][:].index(row["study_id"])
    dataset = StudyDataset(small_studies["train"], tiny_tokenizer, ImageGeometry(size=96), max_report_tokens=500)
    views = dataset[number]["boxes"]
    first = row["boxes"][0]
    finding, box = views[first["view"]][0]
    assert finding == first["finding"]
    assert box == pytest.approx(np.array(first["box"]) * 96, abs=1e-3)


def test_view_dropout_hides_the_given_fraction_of_view_positions(small_studies, tiny_tokenizer):
    rows = small_studies["train"]
    common = {"max_report_tokens": 500, "seed": 1}
    for part, expected in ((0.0, range(1)), (1.0, range(160, 161)), (0.5, range(50, 111))):
        dataset = StudyDataset(rows, tiny_tokenizer, ImageGeometry(size=16), view_dropout=part, **common)
        hidden = 0
        for epoch in range(10):
            dataset.epoch = epoch
            for number in range(len(rows)):
                positions = dataset[number]["view_positions"]
                assert positions in (rows[number]["view_positions"], ["UNKNOWN"] * len(positions))
                hidden += positions[0] == "UNKNOWN"
        assert hidden in expected


def test_decided_findings_are_the_labels_and_open_where_nobody_looked(small_studies, tiny_tokenizer):
    geometry = ImageGeometry(size=32)
    dataset = StudyDataset(small_studies["train"], tiny_tokenizer, geometry, max_report_tokens=9)
    study = dataset[0] | {"labels": [1, 0, 2, 3, -100, *[0] * 9]}
    batch = Collator(geometry=geometry, grid=(4, 4), pad_token_id=0, decide_findings=True)([study])
    decided = batch["decided_findings"][0]
    assert decided[:4].tolist() == pytest.approx([1, -1, -1, 0.3])
    assert decided[4].isnan()
    assert "decided_findings" not in Collator(geometry=geometry, grid=(4, 4), pad_token_id=0)([study])


def test_severities_are_targets_and_unknown_in_an_older_data_set(small_studies, tiny_tokenizer):
    new = small_studies["train"]
    collate = Collator(geometry=ImageGeometry(size=32), grid=(4, 4), pad_token_id=0)
    for rows, expected in ((new, new["severities"][:2]), (new.remove_columns("severities"), [[-1] * 14] * 2)):
        dataset = StudyDataset(rows, tiny_tokenizer, ImageGeometry(size=32), max_report_tokens=500)
        assert collate([dataset[0], dataset[1]])["severity_targets"].tolist() == expected
    assert max(map(max, small_studies["train"]["severities"][:2])) > 0


def test_truncated_reports_are_counted_over_all_chunks(tiny_tokenizer, monkeypatch):
    monkeypatch.setattr(dataset_module, "CHUNK", 2)
    reports = ["The lungs are clear.", "", "No.", "The heart is enlarged.", "The lungs are clear.", "No."]
    num_tokens = len(tiny_tokenizer("No.", add_special_tokens=False)["input_ids"]) + 1
    assert dataset_module.count_truncated(tiny_tokenizer, reports, num_tokens) == 3
    assert dataset_module.count_truncated(tiny_tokenizer, reports, num_tokens - 1) == 5
    assert dataset_module.count_truncated(tiny_tokenizer, [""], 1) == 0
