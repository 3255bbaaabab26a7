"""A worker of an archive run, without Ray: a row for every input row, whatever happens to it."""

import pyarrow
import pytest

import page.archive.reader
from page.archive.reader import MAX_FAILURES, Reader, WorkerOptions
from page.study.record import checkpoint_identity
from page.study.row import model_name
from page.study.upload import UploadedImage
from page.study.worklist import ReadOptions, StudySource
from vlm.generator import GenerationOptions


@pytest.fixture
def reader(tiny_checkpoint, images):
    """A worker for studies that are named after an image; "bug" has an unexpected error, "none" has no image."""

    def source_of(row, preprocessing):
        if row["study"] == "none":
            raise ValueError("names no image")

        def read():
            if row["study"].startswith("bug"):
                raise TypeError("secret.dcm")
            return UploadedImage(name="image 1", image=images[int(row["study"])])

        return StudySource(name=row["study"], files=("image 1",), images=(read,))

    reading = ReadOptions(generation=GenerationOptions(max_new_tokens=4))
    options = WorkerOptions(
        checkpoint=str(tiny_checkpoint),
        model=model_name(checkpoint_identity(str(tiny_checkpoint))),
        device="cpu",
        num_cpus=1,
        num_gpus=0,
        batch_size=4,
        reading=reading,
    )
    return Reader(source_of, options)


def test_each_row_gets_a_row_in_order(reader, caplog):
    rows = reader(pyarrow.table({"study": ["0", "none", "bug", "1"]})).to_pylist()
    assert [(row["study"], row["state"]) for row in rows] == [
        ("0", "read"), ("none", "rejected"), ("bug", "rejected"), ("1", "read"),
    ]  # fmt: skip
    assert rows[1]["reason"] == "names no image"
    assert rows[2]["reason"].startswith("an unexpected error (TypeError)")
    assert "secret" not in str(rows) + caplog.text
    assert {row["model"] for row in rows} == {reader.options.model}


def test_worker_gives_up_if_everything_fails(reader):
    with pytest.raises(TypeError):
        reader(pyarrow.table({"study": [f"bug {number}" for number in range(MAX_FAILURES)]}))


def test_another_model_on_a_machine_is_an_error(reader, monkeypatch):
    monkeypatch.setattr(page.archive.reader, "generator_name", lambda generator: "other [1]")
    with pytest.raises(ValueError, match=r"a machine of the cluster has the model other \[1\]"):
        Reader(reader.source_of, reader.options)
