"""Whose run a folder holds, and which command may go on with it."""

import json

import pytest

from train.options import FinetuneOptions
from train.run.folder import open_run


@pytest.fixture
def options(small_dataset, tmp_path):
    """Of a run that may differ in chosen settings."""

    def build(**settings):
        return FinetuneOptions(dataset=str(small_dataset), output_dir=str(tmp_path / "run"), **settings)

    return build


def forget(folder, *names):
    """As if the run had been saved before those settings were there."""
    path = folder / "training_config.json"
    saved = json.loads(path.read_text())
    for name in names:
        *outer, last = name.split(".")
        place = saved
        for part in outer:
            place = place[part]
        del place[last]
    path.write_text(json.dumps(saved))


def test_a_run_of_before_a_setting_was_there_resumes_by_its_default(options):
    folder = open_run(options(learning_rate=0.1))
    forget(folder, "num_studies", "finding_tokens", "lora_settings.rank", "augmentation")
    assert open_run(options(learning_rate=0.1, resume=True)) == folder


def test_a_run_of_before_a_setting_was_there_does_not_take_another_value(options):
    folder = open_run(options())
    forget(folder, "num_studies", "lora_settings.rank")
    with pytest.raises(
        ValueError, match=r"training_config.json says num_studies = 0 but 5 was given; give the run's own"
    ):
        open_run(options(num_studies=5, resume=True))
    with pytest.raises(ValueError, match=r"says lora_settings = .*'rank': 16.* but .*'rank': 4.* was given"):
        open_run(options(lora_settings=type(options().lora_settings)(rank=4), resume=True))


def test_a_setting_that_the_program_no_longer_has_is_told(options):
    folder = open_run(options())
    path = folder / "training_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"warp": {"speed": 9}}))
    with pytest.raises(ValueError, match=r"says warp = \{'speed': 9\} but None was given"):
        open_run(options(resume=True))
