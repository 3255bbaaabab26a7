"""Similar cases: the nearest studies are found, files must match, and the checkpoint hash does not change."""

import io
import shutil

import numpy as np
import pytest
from PIL import Image

from data.study import load_studies
from eval.retrieval.index import INDEX_FILE, FeatureIndex, save_index
from eval.retrieval.index_cases import main
from eval.retrieval.similar_cases import CASES_FILE, load_similar_cases, save_cases
from vlm.checkpoint.store import checkpoint_hash
from vlm.generator import ReportGenerator
from vlm.schema.report_format import compose_report


@pytest.fixture
def checkpoint(tiny_checkpoint, tmp_path):
    return shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint")


def write(folder, *, origin="o", num_cases=4):
    features = np.eye(4, dtype=np.float16)
    ids = ("a", "b", "c", "d")
    save_index(folder / INDEX_FILE, FeatureIndex(features=features, study_ids=ids, subject_ids=ids, origin="o"))
    reports = ["", "Impression: Ödem.", "third", "fourth"][:num_cases]
    save_cases(folder, origin=origin, images=[b"1", b"22", b"", b"4444"][:num_cases], reports=reports)


def test_nearest_studies_come_first_with_their_own_image_and_report(tmp_path):
    write(tmp_path)
    found = load_similar_cases(tmp_path).find(np.array([0.0, 4.0, 0.0, 3.0]), number=2)
    assert [(case.study_id, case.report, case.image) for case in found] == [
        ("b", "Impression: Ödem.", b"22"),
        ("d", "fourth", b"4444"),
    ]
    assert [case.similarity for case in found] == pytest.approx([0.8, 0.6], abs=1e-3)
    everything = load_similar_cases(tmp_path).find(np.array([1.0, 0.5, 0.25, 0.1]), number=9)
    assert [(case.study_id, case.report, case.image) for case in everything[::2]] == [
        ("a", "", b"1"),
        ("c", "third", b""),
    ]


def test_program_adds_training_studies_to_the_checkpoint(checkpoint, small_dataset, capsys):
    assert load_similar_cases(checkpoint) is None
    before = checkpoint_hash(str(checkpoint))
    main(["--checkpoint", str(checkpoint), "--dataset", str(small_dataset)])
    assert "now contains images and reports of 16 training studies" in " ".join(capsys.readouterr().out.split())
    assert checkpoint_hash(str(checkpoint)) == before
    study = load_studies(small_dataset)["train"][5]
    generator = ReportGenerator.from_pretrained(checkpoint)
    features = generator.features([study["images"]], view_positions=[study["view_positions"]])[0]
    [case] = load_similar_cases(checkpoint).find(features, number=1)
    assert case.study_id == study["study_id"]
    assert case.similarity == pytest.approx(1, abs=1e-3)
    assert case.report == compose_report(findings=study["findings"], impression=study["impression"])
    image = Image.open(io.BytesIO(case.image))
    assert (image.format, image.size) == ("WEBP", study["images"][0].size)
    difference = np.abs(np.asarray(image.convert("L"), float) - np.asarray(study["images"][0], float))
    assert difference.mean() < 12


def test_number_of_studies_is_limited_and_names_are_removed(checkpoint, small_dataset, tmp_path):
    splits = load_studies(small_dataset)
    splits["train"] = splits["train"].map(lambda row: {"findings": "Seen by Dr. Jane Miller on 3/4/2021."})
    splits.save_to_disk(str(tmp_path / "named"))
    main(["--checkpoint", str(checkpoint), "--dataset", str(tmp_path / "named"), "--num-studies", "5"])
    cases = load_similar_cases(checkpoint)
    assert len(cases.index.study_ids) == 5
    reports = [case.report for case in cases.find(np.ones(cases.index.features.shape[1]), number=5)]
    assert not any("Miller" in report or "2021" in report for report in reports)
    assert all("___" in report for report in reports)


@pytest.mark.parametrize("wrong", [{"origin": "another"}, {"num_cases": 3}])
def test_files_that_do_not_match_are_rejected(tmp_path, wrong):
    write(tmp_path, **wrong)
    with pytest.raises(ValueError, match=r"similar_cases\.safetensors does not match .*again with python -m"):
        load_similar_cases(tmp_path)


def test_damaged_or_missing_files_are_rejected(tmp_path):
    write(tmp_path)
    (tmp_path / CASES_FILE).write_bytes((tmp_path / CASES_FILE).read_bytes()[:-3])
    with pytest.raises(ValueError, match=r"similar_cases\.safetensors is damaged"):
        load_similar_cases(tmp_path)
    (tmp_path / INDEX_FILE).unlink()
    with pytest.raises(ValueError, match=r"similar_studies\.safetensors does not exist"):
        load_similar_cases(tmp_path)


def test_features_of_another_model_are_rejected(tmp_path):
    write(tmp_path)
    with pytest.raises(ValueError, match="index has features of width 4"):
        load_similar_cases(tmp_path).find(np.ones(7))


def test_data_set_without_training_studies_is_rejected(checkpoint, small_dataset, tmp_path):
    splits = load_studies(small_dataset)
    del splits["train"]
    splits.save_to_disk(str(tmp_path / "untrained"))
    with pytest.raises(ValueError, match="has no studies in its train split"):
        main(["--checkpoint", str(checkpoint), "--dataset", str(tmp_path / "untrained")])
