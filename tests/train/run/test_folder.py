"""Which command may resume the run in a folder."""

import json
from pathlib import Path

import pytest

from train.options import (
    ArchitectureOptions,
    FinetuneOptimization,
    FinetuneOptions,
    RunOptions,
    StudyOptions,
    read_options,
)
from train.run.folder import open_run

WEIGHTS = Path(__file__).parents[3] / "vlm" / "weights"


@pytest.fixture
def options(small_dataset, tmp_path):
    """Builds the options of a run with chosen values."""

    def build(**settings):
        return FinetuneOptions(dataset=str(small_dataset), output_dir=str(tmp_path / "run"), **settings)

    return build


def forget(folder, *names):
    """Remove options from the saved run, as if it were older than they are."""
    path = folder / "training_config.json"
    saved = json.loads(path.read_text())
    for name in names:
        *outer, last = name.split(".")
        place = saved
        for part in outer:
            place = place[part]
        del place[last]
    path.write_text(json.dumps(saved))


def test_missing_option_of_an_older_run_has_its_default(options):
    folder = open_run(options(optimization=FinetuneOptimization(learning_rate=0.1)))
    forget(folder, "num_studies", "finding_tokens", "lora_settings.rank", "augmentation")
    assert open_run(options(optimization=FinetuneOptimization(learning_rate=0.1), resume=True)) == folder


def test_missing_option_of_an_older_run_cannot_change(options):
    folder = open_run(options())
    forget(folder, "num_studies", "lora_settings.rank")
    with pytest.raises(
        ValueError, match=r"training_config.json says num_studies = 0 but 5 was given; give the run's own"
    ):
        open_run(options(studies=StudyOptions(num_studies=5), resume=True))
    with pytest.raises(ValueError, match=r"says lora_settings = .*'rank': 16.* but .*'rank': 4.* was given"):
        open_run(options(lora_settings=type(options().lora_settings)(rank=4), resume=True))


def test_unknown_option_of_an_older_run_is_named(options):
    folder = open_run(options())
    path = folder / "training_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"warp": {"speed": 9}}))
    with pytest.raises(ValueError, match=r"training_config.json: unknown key 'warp'"):
        open_run(options(resume=True))


def test_old_names_of_options_are_read(options):
    folder = open_run(options(run=RunOptions(save_total_limit=7)))
    path = folder / "training_config.json"
    saved = json.loads(path.read_text())
    path.write_text(json.dumps({"keep_states" if name == "save_total_limit" else name: v for name, v in saved.items()}))
    assert open_run(options(run=RunOptions(save_total_limit=7), resume=True)) == folder
    assert read_options(path, FinetuneOptions).run.save_total_limit == 7


def test_saved_options_have_no_groups_and_are_read_back(options):
    given = options(architecture=ArchitectureOptions(pool=4), optimization=FinetuneOptimization(batch_size=3))
    path = open_run(given) / "training_config.json"
    saved = json.loads(path.read_text())
    assert (saved["pool"], saved["batch_size"]) == (4, 3)
    assert read_options(path, FinetuneOptions) == given


@pytest.mark.parametrize("name", ["tiny", "tiny-base"])
def test_options_of_shipped_weights_can_be_read(name, monkeypatch):
    monkeypatch.setattr("pathlib.Path.exists", lambda path: True)
    path = WEIGHTS / name / "training_config.json"
    assert read_options(path, FinetuneOptions).as_json() == json.loads(path.read_text())


def test_negative_num_workers_is_rejected():
    with pytest.raises(ValueError, match="--num-workers must be at least 0, got -1"):
        RunOptions(num_workers=-1)
