"""A run resumes only on the studies with which it began."""

import json
import re
import shutil

import datasets
import pytest

from data.cli import run_main
from data.study import FEATURES, without_images
from tests.helpers.processes.finetune_runs import arguments, error, losses
from train import finetune, pretrain
from train.run.progress import MISTAKES
from train.studies.same_studies import STUDY_DIGESTS, check_same_studies
from vlm.schema.preprocessing import Preprocessing


def check(folder, splits, preprocessing=Preprocessing()):  # noqa: B008 (frozen)
    check_same_studies(folder, splits, preprocessing, name="--dataset studies")


def with_train(studies, rows):
    return {**studies, "train": rows}


def swapped(studies):
    """Studies under the same name, with other patients for validation."""
    rows = datasets.concatenate_datasets([studies["train"], studies["validation"]])
    order = [*range(3, len(rows)), *range(3)]
    num_train = len(studies["train"])
    return {"train": rows.select(order[:num_train]), "validation": rows.select(order[num_train:])}


def saved(studies, folder):
    shutil.rmtree(folder, ignore_errors=True)
    datasets.DatasetDict(studies).save_to_disk(str(folder))
    return folder


def test_digest_is_saved_and_equal_studies_pass(small_studies, tmp_path):
    check(tmp_path, small_studies)
    record = json.loads((tmp_path / STUDY_DIGESTS).read_text())
    assert [record[split]["num_studies"] for split in ("train", "validation")] == [16, 6]
    copied = datasets.DatasetDict.load_from_disk(saved(small_studies, tmp_path / "copy"))
    rows = copied["train"]
    check(
        tmp_path, with_train(copied, datasets.concatenate_datasets([rows.select(range(5)), rows.select(range(5, 16))]))
    )


CHANGES = {
    "study_id": lambda row: {"study_id": f"x{row['study_id']}"},
    "patient": lambda row: {"subject_id": "p"},
    "text": lambda row: {"impression": f"{row['impression']} Edema."},
    "labels": lambda row: {"labels": [0] * 14},
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("split", ["train", "validation"])
def test_other_studies_are_rejected(small_studies, tmp_path, change, split):
    check(tmp_path, small_studies)
    rows = small_studies[split].map(CHANGES[change], features=FEATURES)
    count = len(rows)
    message = (
        rf"--resume: the studies of the {split} split of --dataset studies changed since the run began .*"
        rf"{STUDY_DIGESTS}\): {count} studies with the digest \w+ before, {count} .* now\. .* start a new run"
    )
    with pytest.raises(ValueError, match=message):
        check(tmp_path, {**small_studies, split: rows})


def test_another_order_fewer_studies_or_another_preprocessing_are_rejected(small_studies, tmp_path):
    check(tmp_path, small_studies)
    rows = small_studies["train"]
    with pytest.raises(ValueError, match=r"16 studies with the digest .* before, 15 studies"):
        check(tmp_path, with_train(small_studies, rows.select(range(15))))
    with pytest.raises(ValueError, match="studies of the train split"):
        check(tmp_path, with_train(small_studies, rows.select([1, 0, *range(2, 16)])))
    with pytest.raises(ValueError, match=r"the preprocessing of --dataset studies changed .*clahe=False.*clahe=True"):
        check(tmp_path, small_studies, Preprocessing(clahe=True))


def test_no_image_is_read(small_studies, tmp_path):
    splits = {split: without_images(rows) for split, rows in small_studies.items()}
    check(tmp_path, small_studies)
    check(tmp_path, splits)


def test_run_does_not_resume_on_other_studies_under_the_same_path(small_studies, tmp_path, capsys):
    dataset, output = saved(small_studies, tmp_path / "studies"), tmp_path / "run"
    finetune.main(arguments(dataset, output, "--no-lora", "--num-epochs=1"))
    before = losses(output)
    saved(swapped(small_studies), dataset)
    again = arguments(dataset, output, "--no-lora", "--num-epochs=2", "--resume")
    message = error(capsys, again)
    assert re.search("--resume: the studies of the train split of --dataset .*studies changed since", message)
    assert losses(output) == before
    (output / STUDY_DIGESTS).unlink()  # a run of an older version
    saved(small_studies, dataset)
    finetune.main(again)
    assert losses(output)[: len(before)] == before and len(losses(output)) == 2 * len(before)
    assert (output / STUDY_DIGESTS).is_file()


def test_another_extra_dataset_is_noticed(small_studies, tmp_path, capsys):
    extra, output = tmp_path / "extra", tmp_path / "run"
    rows = small_studies["test"].map(lambda row: {"study_id": f"x{row['study_id']}", "subject_id": "x"})
    dataset = saved({split: small_studies[split] for split in ("train", "validation")}, tmp_path / "studies")
    saved({"train": rows.select(range(4))}, extra)
    given = arguments(dataset, output, "--no-lora", "--num-epochs=1", f"--extra-dataset={extra}")
    finetune.main(given)
    saved({"train": rows.select(range(1, 5))}, extra)
    assert re.search("of --dataset .* or --extra-dataset .*extra changed since", error(capsys, [*given, "--resume"]))


def test_pretraining_does_not_resume_on_other_studies(small_studies, tmp_path, capsys):
    dataset, output = saved(small_studies, tmp_path / "studies"), tmp_path / "run"
    given = ["text", "--datasets", str(dataset), f"--output-dir={output}", "--decoder=nano", "--vocab-size=300"]
    given += ["--batch-size=8", "--num-workers=0"]
    pretrain.main([*given, "--num-epochs=1"])
    saved(swapped(small_studies), dataset)
    with pytest.raises(SystemExit):
        run_main(lambda: pretrain.main([*given, "--num-epochs=2", "--resume"]), mistakes=MISTAKES)
    printed = " ".join(capsys.readouterr().err.split())
    assert re.search("--resume: the studies of the train split of --datasets .*studies changed since", printed)
