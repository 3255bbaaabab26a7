"""Which command may resume the run in a folder."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from train.options import (
    ArchitectureOptions,
    FinetuneOptimization,
    FinetuneOptions,
    FinetuneRun,
    RunOptions,
    StudyOptions,
    read_options,
)
from train.run.folder import LOCK, TrainLog, lock_run, open_run

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
    folder = open_run(options(run=FinetuneRun(save_total_limit=7)))
    path = folder / "training_config.json"
    saved = json.loads(path.read_text())
    path.write_text(json.dumps({"keep_states" if name == "save_total_limit" else name: v for name, v in saved.items()}))
    assert open_run(options(run=FinetuneRun(save_total_limit=7), resume=True)) == folder
    assert read_options(path, FinetuneOptions).run.save_total_limit == 7


def test_the_old_name_of_fp32_is_read(options):
    folder = open_run(options(run=FinetuneRun(precision="fp32")))
    path = folder / "training_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"precision": "no"}))
    assert open_run(options(run=FinetuneRun(precision="fp32"), resume=True)) == folder


def test_saved_options_have_no_groups_and_are_read_back(options):
    given = options(architecture=ArchitectureOptions(pool=4), optimization=FinetuneOptimization(batch_size=3))
    path = open_run(given) / "training_config.json"
    saved = json.loads(path.read_text())
    assert (saved["pool"], saved["batch_size"]) == (4, 3)
    assert read_options(path, FinetuneOptions) == given


@pytest.mark.parametrize("name", ["tiny"])
def test_options_of_shipped_weights_can_be_read(name, monkeypatch):
    monkeypatch.setattr("pathlib.Path.exists", lambda path: True)
    path = WEIGHTS / name / "training_config.json"
    options, saved = read_options(path, FinetuneOptions).as_json(), json.loads(path.read_text())
    # Without the architecture, which the checkpoint of --init-from defines.
    names = saved.keys() - ArchitectureOptions.__dataclass_fields__.keys()
    assert {name: options[name] for name in names} == {name: saved[name] for name in names}


def test_a_run_from_a_checkpoint_resumes_if_a_default_of_the_architecture_was_another(options):
    folder = open_run(options(init_from="cxrscribe-tiny"))
    path = folder / "training_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"pool": 2}))
    assert open_run(options(init_from="cxrscribe-tiny", resume=True)) == folder


def test_negative_num_workers_is_rejected():
    with pytest.raises(ValueError, match="--num-workers must be at least 0, got -1"):
        RunOptions(num_workers=-1)


HOLD = """
import sys, time
from pathlib import Path
from train.run.folder import lock_run
with lock_run(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(600)
"""


def test_second_process_is_rejected_until_the_first_is_gone_even_if_killed(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(ValueError, match="another process is training in this folder"), lock_run(tmp_path):
            pass
    finally:
        holder.kill()
        holder.communicate()
    assert (tmp_path / LOCK).exists()
    with lock_run(tmp_path):
        pass


def test_lock_is_free_after_an_error(tmp_path):
    with pytest.raises(KeyboardInterrupt), lock_run(tmp_path):
        raise KeyboardInterrupt
    with lock_run(tmp_path):
        pass


def test_folder_of_a_failed_start_is_free_and_other_files_are_not_touched(options):
    folder = open_run(options())
    (folder / "tokenizer").mkdir()
    (folder / "tokenizer" / "tokenizer.json").write_text("{}")
    assert open_run(options(studies=StudyOptions(num_studies=5))) == folder
    assert not (folder / "tokenizer").exists()
    assert read_options(folder / "training_config.json", FinetuneOptions).studies.num_studies == 5
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="already holds a run or other files"):
        open_run(options())
    assert {path.name for path in folder.iterdir()} == {"training_config.json", "notes.txt"}


def test_folder_of_a_tokenizer_without_a_run_is_not_touched(options):
    folder = Path(options().output_dir)
    folder.mkdir()
    for name in ("vocab.json", "merges.txt", "tokenizer.json"):
        (folder / name).write_text("mine")
    with lock_run(folder), pytest.raises(ValueError, match="already holds a run or other files"):
        open_run(options())
    assert {path.name for path in folder.iterdir()} == {"vocab.json", "merges.txt", "tokenizer.json", LOCK}


def test_number_of_epochs_can_only_be_raised(options, caplog):
    folder = open_run(options(num_epochs=3))
    open_run(options(num_epochs=5, resume=True))
    assert "raised from 3 to 5" in caplog.text
    assert read_options(folder / "training_config.json", FinetuneOptions).num_epochs == 5
    with pytest.raises(ValueError, match=r"says num_epochs = 5 but 4 was given.*can only be raised"):
        open_run(options(num_epochs=4, resume=True))


def test_log_is_rewound_to_a_step_and_an_epoch(tmp_path):
    log = TrainLog(tmp_path)
    log.write(step=0, epoch=-1, validation={})
    for step in range(1, 5):
        log.write(step=step, epoch=(step - 1) // 2, loss=1.0)
        if step % 2 == 0:
            log.write(step=step, epoch=(step - 1) // 2, validation={})
    log.rewind(2, 0)  # saved at the end of the first epoch, before its validation
    assert [(record["step"], "validation" in record) for record in log.read()] == [(0, True), (1, False), (2, False)]
    log.rewind(0, -1)
    assert log.read() == []
