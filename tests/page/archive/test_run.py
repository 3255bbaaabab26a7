"""Archive runs on a local Ray: every study has one row, also if workers or the program are killed."""

import io
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from page.archive.__main__ import main
from page.archive.output import RUN_FILE, ReportFolder, RunRecord
from page.archive.reader import WorkerOptions
from page.study.record import checkpoint_identity
from page.study.row import model_name
from page.study.worklist import ReadOptions
from tests.helpers.processes.killed_worker import KillingSource
from vlm.generator import GenerationOptions
from vlm.schema.preprocessing import Preprocessing
from vlm.schema.strict_json import read_json

ray = pytest.importorskip("ray", reason="Ray is not installed; install the extra `scale`")
run = pytest.importorskip("page.archive.run")
open_input = pytest.importorskip("page.archive.inputs").open_input
ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own
TOKENS = 4


@pytest.fixture(scope="module")
def worker(tiny_checkpoint):
    """Of a local Ray with room for two workers."""
    options = WorkerOptions(
        checkpoint=str(tiny_checkpoint),
        model=model_name(checkpoint_identity(str(tiny_checkpoint))),
        device="cpu",
        num_cpus=1,
        num_gpus=0,
        batch_size=1,
        reading=ReadOptions(generation=GenerationOptions(max_new_tokens=TOKENS)),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        with run.connected("", options, num_workers=2):
            yield options


def record_of(worker):
    identity = checkpoint_identity(worker.checkpoint)
    settings = {"write_anyway": False, "include_identity": False, "structured": False}
    return RunRecord(model=worker.model, program_version=identity.program_version, max_new_tokens=TOKENS, **settings)


def png(number):
    file = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 256, (6, 5), dtype=np.uint8)
    Image.fromarray(pixels).resize((50, 60)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "in"
    root.mkdir()
    for number in range(12):
        (root / f"{number:02}.png").write_bytes(png(number))
    return root


def rows_of(output):
    rows = pyarrow.parquet.read_table(output).to_pylist()
    found = {row["study"]: row for row in rows}
    assert len(found) == len(rows)
    return found


def test_killed_workers_and_poisoned_files_cost_no_other_study(worker, folder, tmp_path, monkeypatch):
    """Study 05 kills its worker once, study 07 always; 02 is cut and 03 is no image."""
    (folder / "02.png").write_bytes(png(2)[:60])
    (folder / "03.png").write_text("no image")
    monkeypatch.setattr(run, "MAX_RETRIES", 0)
    archive = open_input(folder)
    killing = KillingSource(source_of=archive.source_of, once="05.png", always="07.png", marker=tmp_path / "killed")
    with ReportFolder(tmp_path / "out", record_of(worker), rows_per_file=5) as reports:
        run.read_archive(replace(archive, source_of=killing), reports, worker, num_workers=2)
    rows = rows_of(tmp_path / "out")
    assert sorted(rows) == sorted(archive.ids)
    rejected = {study: row["reason"] for study, row in rows.items() if row["state"] == "rejected"}
    assert sorted(rejected) == ["02.png", "03.png", "07.png"]
    assert rejected["07.png"] == run.LOST
    assert reports.counts(archive.ids) == {"read": 9, "rejected": 3}
    assert (tmp_path / "killed").exists()


def test_killed_program_continues_on_the_same_cluster(worker, folder, tmp_path):
    for number in range(12, 60):
        (folder / f"{number:02}.png").write_bytes(png(number))
    output = tmp_path / "out"
    command = [sys.executable, "-m", "page.archive", "--input", str(folder), "--output", str(output)]
    command += ["--checkpoint", worker.checkpoint, "--max-new-tokens", str(TOKENS), "--batch-size", "1"]
    command += ["--studies-per-file", "1", "--address", ray.get_runtime_context().gcs_address]
    program = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not list(output.glob("*.parquet")) and program.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    program.send_signal(signal.SIGKILL)
    program.communicate()
    before = rows_of(output)
    assert 0 < len(before) < 60
    record = read_json(output / RUN_FILE, RunRecord)
    archive = open_input(folder)
    with ReportFolder(output, record, rows_per_file=100) as reports:
        assert reports.done == set(before)
        run.read_archive(archive, reports, worker, num_workers=1)
    after = rows_of(output)
    assert sorted(after) == sorted(archive.ids)
    assert {study: after[study] for study in before} == before
    assert reports.counts(archive.ids) == {"read": 60}


def test_manifest_of_paths_and_contents_is_streamed(worker, folder, tmp_path):
    images = [["in/00.png", "in/01.png"], ["in/02.png"], None, ["in/gone.png"]]
    positions = [["PA", "lateral"], None, None, ["PA", "AP"]]
    columns = {"study_id": list("abcd"), "images": images, "view_positions": positions}
    pyarrow.parquet.write_table(
        pyarrow.table(columns | {"indication": ["cough", None, "", ""]}), tmp_path / "m.parquet"
    )
    archive = open_input(tmp_path / "m.parquet")
    with ReportFolder(tmp_path / "out", record_of(worker), rows_per_file=5) as reports:
        run.read_archive(archive, reports, worker, num_workers=1)
    rows = rows_of(tmp_path / "out")
    assert [rows[study]["state"] for study in "abcd"] == ["read", "read", "rejected", "rejected"]
    assert rows["a"]["view_positions"] == ["PA", "LATERAL"]
    assert rows["a"]["files"] == ["in/00.png", "in/01.png"]
    assert rows["c"]["reason"] == "its row in the manifest names no image"
    assert rows["d"]["reason"] == "its row has 1 images but 2 view positions; give one for each"

    contents = pyarrow.table({"study_id": ["x", "y"], "images": [png(1), b"no image"]})
    pyarrow.parquet.write_table(contents, tmp_path / "c.parquet")
    archive = open_input(tmp_path / "c.parquet")
    [row] = archive.dataset(["x"], 1).take_all()
    source = archive.source_of(row, Preprocessing())
    assert (source.name, source.files, source.images[0]().image.size) == ("x", ("image 1",), (50, 60))


def test_program_without_pending_studies_starts_no_ray(worker, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(run, "connected", None)
    archive = open_input(folder)
    with ReportFolder(tmp_path / "out", record_of(worker), rows_per_file=5) as reports:
        run.read_archive(archive, reports, worker, num_workers=1)
    arguments = ["--input", str(folder), "--output", str(tmp_path / "out"), "--checkpoint", worker.checkpoint]
    main([*arguments, "--max-new-tokens", str(TOKENS)])
    assert capsys.readouterr().out.startswith(
        "12 studies = 12 read + 0 blocked + 0 rejected; 12 of them had a row before"
    )


def test_prepared_data_set_is_read_by_split(small_dataset, small_studies):
    archive = open_input(small_dataset, split="test")
    assert archive.ids == tuple(small_studies["test"]["study_id"])
    row = {"study": archive.ids[1], "split": "test", "index": 1}
    source = archive.source_of(row, Preprocessing())
    assert len(source.images) == len(small_studies["test"][1]["images"])
    assert source.images[0]().image.tobytes() == small_studies["test"][1]["images"][0].tobytes()
    assert len(open_input(small_dataset).ids) == 28
    with pytest.raises(ValueError, match="--split dev is not in"):
        open_input(small_dataset, split="dev")


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({"study_id": ["a"]}, "has no column 'images'; it needs study_id and images"),
        ({"study_id": [1], "images": ["a.png"]}, "the column 'study_id' is int64; it must be text"),
        ({"study_id": ["a"], "images": [3]}, "the column 'images' is int64; it must be paths or bytes"),
        ({"study_id": ["a", "a"], "images": ["1.png", "2.png"]}, "2 rows have the study_id 'a'; put the images"),
        ({"study_id": ["a", None], "images": ["1.png", "2.png"]}, "row 2 has no study_id"),
        (
            {"study_id": pyarrow.array([], pyarrow.string()), "images": pyarrow.array([], pyarrow.string())},
            "has no study",
        ),
    ],
)
def test_manifest_that_cannot_be_used_is_explained(tmp_path, columns, problem):
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "m.parquet")
    with pytest.raises(ValueError, match=problem):
        open_input(tmp_path / "m.parquet")


def test_input_that_is_none_of_the_three_is_named(tmp_path):
    (tmp_path / "m.csv").write_text("study_id")
    (tmp_path / "empty").mkdir()
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests" / "m.parquet").touch()
    for name, problem in (
        ("m.csv", "is no Parquet file"),
        ("gone", "does not exist"),
        ("empty", "holds no file"),
        ("manifests", "holds no image; if it holds manifests, name one of its Parquet files"),
    ):
        with pytest.raises(ValueError, match=problem):
            open_input(tmp_path / name)
