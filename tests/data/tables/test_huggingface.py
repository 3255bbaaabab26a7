"""Hugging Face data sets as tables: on disk or as Parquet, images inside or as paths, splits and class names."""

import datasets
import numpy as np
import pytest
from datasets.table import embed_table_storage
from PIL import Image

from data.pipeline.raw_study import ImageOptions, PlanContext, Rejection
from data.prepare import main
from data.study import load_studies
from tests.helpers.sources.tables import table_source
from vlm.schema.findings import FINDING_INDEX, POSITIVE

IMAGES = [
    Image.fromarray(pixels) for pixels in np.random.default_rng(0).integers(0, 256, size=(4, 40, 30), dtype=np.uint8)
]
FEATURES = datasets.Features(
    {
        "patient": datasets.Value("string"),
        "image": datasets.Image(),
        "views": datasets.List(datasets.Image()),
        "report": datasets.Value("string"),
        "kind": datasets.ClassLabel(names=["normal", "edema"]),
    }
)


def rows(start: int, stop: int) -> datasets.Dataset:
    made = [
        {
            "patient": f"p{number}",
            "image": IMAGES[number % 4],
            "views": [IMAGES[number % 4], IMAGES[(number + 1) % 4]],
            "report": "Findings: Edema.",
            "kind": number % 2,
        }
        for number in range(start, stop)
    ]
    return datasets.Dataset.from_list(made, features=FEATURES)


@pytest.fixture
def on_disk(tmp_path):
    """Three splits of 70 (more than a batch), 2 and 2 rows."""
    splits = {"train": rows(0, 70), "validation": rows(70, 72), "test": rows(72, 74)}
    datasets.DatasetDict(splits).save_to_disk(str(tmp_path / "stored"))
    return tmp_path / "stored"


def given(folder, **options):
    work = folder.parent / "work"
    work.mkdir(exist_ok=True)
    plan = table_source(folder, **options).plan(PlanContext(work=work))
    outcomes = list(plan.raw_studies)
    assert len(outcomes) == plan.num_studies
    return outcomes


def same(image: Image.Image, number: int) -> bool:
    return np.array_equal(np.asarray(image), np.asarray(IMAGES[number % 4]))


def test_saved_data_set_keeps_its_splits(on_disk, tmp_path, capsys):
    out = tmp_path / "out"
    main(["table", str(on_disk), "--subject-id-column", "patient", "--out", str(out), "--num-workers", "1"])
    assert "given 74 = kept 74 + rejected 0" in capsys.readouterr().out
    splits = load_studies(out)
    assert {split: len(rows) for split, rows in splits.items()} == {"train": 70, "validation": 2, "test": 2}
    for number in (0, 33, 69):
        row = splits["train"][number]
        assert (row["study_id"], row["subject_id"], row["findings"]) == (f"train[{number}]", f"p{number}", "Edema.")
        assert same(row["images"][0], number)


def test_list_of_images_becomes_a_study_with_several_views(on_disk):
    raw_study = given(on_disk, image_column="views")[71]
    assert (raw_study.files, raw_study.split) == (("validation[1][0]", "validation[1][1]"), "validation")
    images = raw_study.study(ImageOptions()).images
    assert same(images[0], 71) and same(images[1], 72)


def test_parquet_files_of_the_hub_give_the_same_studies(on_disk, tmp_path):
    (tmp_path / "hub" / "data").mkdir(parents=True)
    for split, part in datasets.load_from_disk(str(on_disk)).items():
        embedded = part.with_format("arrow").map(embed_table_storage, batched=True).with_format(None)
        embedded.to_parquet(str(tmp_path / "hub" / "data" / f"{split}-00000-of-00001.parquet"))
    before = sorted(path.name for path in (tmp_path / "hub").rglob("*"))
    of_parquet = given(tmp_path / "hub", image_column="views")
    for raw_study, other in zip(of_parquet, given(on_disk, image_column="views"), strict=True):
        assert (raw_study.study_id, raw_study.split, raw_study.contents) == (
            other.study_id,
            other.split,
            other.contents,
        )
    assert sorted(path.name for path in (tmp_path / "hub").rglob("*")) == before


def test_data_set_without_splits_gets_a_seeded_split_and_keeps_its_license(tmp_path):
    part = rows(0, 20)
    part.info.license = "CC0"
    part.save_to_disk(str(tmp_path / "one"))
    outcomes = given(tmp_path / "one")
    assert {raw_study.split for raw_study in outcomes} == {"train", "validation", "test"}
    assert {raw_study.license for raw_study in outcomes} == {"CC0"}
    assert {raw_study.source for raw_study in outcomes} == {"one"}


def test_class_labels_are_mapped_by_name(on_disk):
    label_map = '{"edema": {"Edema": "positive"}, "normal": {"No Finding": "positive"}}'
    normal, edema, *_ = given(on_disk, label_column="kind", label_map=label_map)
    assert normal.labels[FINDING_INDEX["No Finding"]] == edema.labels[FINDING_INDEX["Edema"]] == POSITIVE


def test_prepared_data_set_can_be_prepared_again(small_dataset):
    outcomes = given(small_dataset, labels_column="labels")
    prepared = load_studies(small_dataset)["train"][0]
    assert (outcomes[0].study_id, outcomes[0].labels) == (prepared["study_id"], tuple(prepared["labels"]))
    assert len(outcomes[0].contents) == len(prepared["images"])


def test_image_paths_and_missing_images_are_distinguished_from_stored_images(tmp_path):
    IMAGES[1].save(tmp_path / "a.png")
    cells = [{"bytes": None, "path": "a.png"}, None, {"bytes": b"no image", "path": "b.png"}]
    datasets.Dataset.from_dict({"image": cells, "report": ["Clear."] * 3}).save_to_disk(str(tmp_path / "stored"))
    path, absent, inside = given(tmp_path / "stored", image_root=tmp_path)
    assert same(path.study(ImageOptions()).images[0], 1)
    assert absent == Rejection(study_id="row 2", reason="row 2 names no image")
    with pytest.raises(ValueError, match=r"^train\[2\]: its content is none of PNG, JPEG"):
        inside.study(ImageOptions())


def test_other_folders_and_damaged_data_sets_are_rejected_by_name(on_disk, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty is not a Hugging Face data set \(it has no dataset_dict"):
        given(tmp_path / "empty")
    (file,) = (on_disk / "train").glob("*.arrow")
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"stored is a damaged data set \(.*\); write or download it again"):
        given(on_disk)
    (tmp_path / "parquet").mkdir()
    (tmp_path / "parquet" / "train.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(ValueError, match=r"parquet is a damaged data set"):
        given(tmp_path / "parquet")


def test_unavailable_data_set_of_the_hub_is_an_error_with_the_reason(tmp_path):
    source = table_source(hub_id="nobody/nothing")
    with pytest.raises(ValueError, match=r"--hub-id nobody/nothing cannot be loaded: .*[Oo]ffline"):
        source.plan(PlanContext(work=tmp_path))


@pytest.mark.parametrize("options", [{}, {"hub_id": "a/b", "table": "c.csv"}])
def test_exactly_one_table_must_be_named(options):
    with pytest.raises(ValueError, match=r"name one table: a file, a folder, or a data set of the hub by --hub-id"):
        table_source(**options)
