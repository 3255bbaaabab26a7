"""Complete runs of train/finetune.py on studies with a prior study."""

import datasets
import numpy as np
import pytest
import torch

from tests.helpers.prior_studies import prior_rows
from tests.helpers.processes.finetune_runs import arguments, error, from_checkpoint, losses, validations
from train import finetune
from train.loop.validation import _change_scores
from vlm.generator import GenerationOptions, ReportGenerator
from vlm.inputs.batch import Prior


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("studies") / "pairs"
    bounds = {"train": (0, 8), "validation": (20, 24)}
    splits = {split: prior_rows(*bound) for split, bound in bounds.items()}
    datasets.DatasetDict(splits).save_to_disk(str(folder))
    return folder


@pytest.fixture(scope="module")
def trained(dataset, tmp_path_factory):
    """One epoch of findings, one of text only, one of both. The nano decoder has 512 positions: --pool makes room."""
    output = tmp_path_factory.mktemp("trained") / "run"
    finetune.main(
        arguments(dataset, output, "--no-lora", "--num-epochs=3", "--findings-epochs=1", "--text-only-epochs=1")
    )
    return output


def test_run_on_pairs_compares_and_its_checkpoint_reads_a_prior(dataset, trained):
    assert all({"change_accuracy", "change_macro_f1"} <= validation.keys() for validation in validations(trained))
    assert "compares with one prior study" in (trained / "best" / "README.md").read_text()
    generator = ReportGenerator.from_pretrained(trained, device="cpu")
    assert generator.reads_priors
    row = next(row for row in datasets.load_from_disk(str(dataset))["train"] if row["prior_images"])
    prior = Prior(images=row["prior_images"], report=row["prior_report"])
    options = GenerationOptions(max_new_tokens=4)
    [report] = generator.generate([row["images"]], priors=[prior], options=options)
    assert np.array(report.change_probabilities).shape == (14, 6)


def test_frozen_encoder_learns_changes_on_saved_features(dataset, trained, tmp_path):
    more = ("--num-epochs=1", "--findings-epochs=1", f"--feature-cache={tmp_path / 'features'}")
    finetune.main(from_checkpoint(dataset, tmp_path / "run", trained, *more))
    before, after = (ReportGenerator.from_pretrained(run).model for run in (trained, tmp_path / "run"))
    assert (before.change_head.output - after.change_head.output).abs().max() > 0
    assert (before.change_embedding - after.change_embedding).abs().max() < 1e-6


def test_prior_only_trains_nothing_but_the_comparison(dataset, small_dataset, tmp_path, capsys):
    finetune.main(arguments(dataset, tmp_path / "without", "--no-lora", "--num-epochs=1", "--prior=off"))
    finetune.main(
        from_checkpoint(
            dataset, tmp_path / "only", tmp_path / "without", "--prior=only", "--num-epochs=2", "--findings-epochs=2"
        )
    )
    before, after = (ReportGenerator.from_pretrained(tmp_path / run).model for run in ("without", "only"))
    assert after.change_head is not None
    for name, value in before.finding_queries.state_dict().items():
        assert torch.equal(value, after.finding_queries.state_dict()[name]), name
    num_priors = sum(map(bool, datasets.load_from_disk(str(dataset))["train"]["prior_view_positions"]))
    assert 0 < num_priors < 8
    assert len(losses(tmp_path / "only")) == 2 * -(-num_priors // 4)
    given = from_checkpoint(small_dataset, tmp_path / "none", tmp_path / "without", "--prior=only", "--num-epochs=1")
    assert "--prior only needs training studies with a prior" in error(capsys, given)


def test_prior_option_off_and_its_mistakes(dataset, small_dataset, trained, tmp_path, capsys):
    finetune.main(arguments(dataset, tmp_path / "off", "--no-lora", "--num-epochs=1", "--prior=off"))
    assert not ReportGenerator.from_pretrained(tmp_path / "off").reads_priors
    assert "change_accuracy" not in validations(tmp_path / "off")[0]
    given = arguments(small_dataset, tmp_path / "on", "--no-lora", "--num-epochs=1", "--prior=on")
    assert "--prior on needs training studies with a prior" in error(capsys, given)


def test_change_scores_count_findings_that_are_present_in_one_of_the_studies():
    scores = _change_scores([(0, 0), (0, 1), (1, 1), (3, 2), (5, 5), (3, 3)])
    assert scores["change_accuracy"] == pytest.approx(3 / 4)
    assert scores["change_macro_f1"] == pytest.approx(np.mean([2 / 3, 2 / 3, 2 / 3, 1]))
    assert _change_scores([(0, 0)]) == {}
    assert _change_scores([]) == {}
