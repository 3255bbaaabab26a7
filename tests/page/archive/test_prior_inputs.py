"""Prior studies and view positions of a manifest, and prior studies of a prepared data set, without a run."""

import datasets
import pyarrow
import pyarrow.parquet
import pytest

from tests.helpers.prior_studies import prior_rows
from vlm.schema.preprocessing import Preprocessing

pytest.importorskip("ray", reason="Ray is not installed; install the extra `scale`")
open_input = pytest.importorskip("page.archive.inputs").open_input
pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own


@pytest.fixture
def manifest(tmp_path, images):
    """One study with a prior study of two images, one without."""
    for number, image in enumerate(images[:4]):
        image.save(tmp_path / f"{number}.png")
    rows = {
        "study_id": ["a", "b"],
        "images": ["0.png", "1.png"],
        "prior_images": [["2.png", "3.png"], None],
        "prior_view_positions": [["AP", "LATERAL"], None],
        "prior_report": ["The heart is enlarged.", None],
    }
    pyarrow.parquet.write_table(pyarrow.table(rows), tmp_path / "m.parquet")
    return tmp_path / "m.parquet"


def source_of(archive, row):
    return archive.source_of(row, Preprocessing())


def test_manifest_gives_the_prior_study_of_each_row(manifest):
    archive = open_input(manifest, reads_priors=True)
    [with_prior, without] = pyarrow.parquet.read_table(manifest).rename_columns({"study_id": "study"}).to_pylist()
    prior = source_of(archive, with_prior).prior
    assert prior.report == "The heart is enlarged."
    assert [read().view_position for read in prior.images] == ["AP", "LATERAL"]
    assert source_of(archive, without).prior is None
    with pytest.raises(ValueError, match="has a prior_report but no prior_images"):
        source_of(archive, without | {"prior_report": "Clear."})
    with pytest.raises(ValueError, match="2 images but 1 view positions"):
        source_of(archive, with_prior | {"prior_view_positions": ["AP"]})


def test_unknown_view_position_of_a_manifest_is_a_note_and_leaves_that_of_the_header(manifest, dicom):
    lateral = dicom(ViewPosition="LL").rename(manifest.parent / "side.dcm")
    row = {"study": "a", "images": [lateral.name], "view_positions": ["Lat"]}
    [read] = source_of(open_input(manifest, reads_priors=True), row).images
    assert (read().view_position, read().notes) == (
        "LL",
        ("side.dcm: has the view position 'LAT' in the manifest, which is not known; give PA, AP or LATERAL.",),
    )
    [read] = source_of(open_input(manifest, reads_priors=True), row | {"view_positions": [" pa "]}).images
    assert (read().view_position, read().notes) == ("PA", ())


def test_manifest_with_prior_studies_needs_a_checkpoint_that_compares(manifest):
    with pytest.raises(ValueError, match="trained without prior studies and cannot compare; use another --checkpoint"):
        open_input(manifest)


def test_prior_studies_of_a_data_set_are_read_if_the_checkpoint_compares(tmp_path):
    rows = prior_rows(0, 4)
    datasets.DatasetDict(test=rows).save_to_disk(str(tmp_path / "prepared"))
    archive = open_input(tmp_path / "prepared", reads_priors=True)
    assert archive.notes == ()
    counts = []
    for index in range(4):
        source = source_of(archive, {"study": "x", "split": "test", "index": index})
        expected = rows[index]
        counts.append(len(expected["prior_images"]))
        assert len(source.prior.images if source.prior else ()) == counts[-1]
        if source.prior:
            assert source.prior.images[0]().image.tobytes() == expected["prior_images"][0].tobytes()
            assert source.prior.interval_days == expected["prior_interval_days"]
    assert min(counts) == 0 < max(counts)
    unread = open_input(tmp_path / "prepared")
    assert "because the checkpoint was trained without prior studies" in unread.notes[0]
    source = source_of(unread, {"study": "x", "split": "test", "index": counts.index(max(counts))})
    assert source.prior is None
