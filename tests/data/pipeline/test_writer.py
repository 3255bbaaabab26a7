"""A preparation that is killed or runs out of disk space resumes, and its result is the same to the byte."""

import csv
import errno
import hashlib
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from data.images.encode import encode_png
from data.pipeline import writer
from data.prepare import main
from data.study import load_studies

NUM_STUDIES = 30


@pytest.fixture
def table(tmp_path):
    """Studies; every seventh has a damaged image and is rejected."""
    folder = tmp_path / "source"
    folder.mkdir()
    with (folder / "studies.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "findings"])
        for number in range(NUM_STUDIES):
            pixels = np.random.default_rng(number).integers(0, 256, size=(120, 120), dtype=np.uint8)
            content = encode_png(Image.fromarray(pixels))
            (folder / f"{number}.png").write_bytes(content if number % 7 else content[:99])
            rows.writerow([f"{number}.png", "The lungs are clear."])
    return folder / "studies.csv"


@pytest.fixture(autouse=True)
def small_commits(monkeypatch):
    monkeypatch.setattr(writer, "COMMIT_STUDIES", 4)


def prepare(table: Path, out: Path, *options: str) -> None:
    main(["table", str(table), "--out", str(out), "--num-workers", "1", "--no-find-burned-in-text", *options])


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


class SimulatedKillError(Exception):
    """Simulates a kill."""


def interrupt(monkeypatch, after: int, error: Exception) -> None:
    """Make the next run fail with `error` after `after` studies."""
    add = writer.DatasetWriter.add

    def failing(self, raw_study, outcome):
        if self.num_done == after:
            raise error
        add(self, raw_study, outcome)

    monkeypatch.setattr(writer.DatasetWriter, "add", failing)


def test_the_folder_has_no_temporary_files_at_the_end(tmp_path, table):
    prepare(table, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *("dataset_dict.json", "preparation.json", "rejected.jsonl"),
        *("test", "train", "validation", "warnings.jsonl"),
    ]
    assert sorted(path.name for path in (tmp_path / "out" / "train").iterdir()) == [
        *("data-00000.arrow", "dataset_info.json", "state.json"),
    ]
    assert not (tmp_path / "out.partial").exists()


@pytest.mark.parametrize("after", [0, 1, 4, 17, NUM_STUDIES - 1])
def test_a_resumed_run_writes_the_same_bytes(tmp_path, table, monkeypatch, capsys, after):
    prepare(table, tmp_path / "whole")
    with monkeypatch.context() as patch:
        interrupt(patch, after, SimulatedKillError())
        with pytest.raises(SimulatedKillError):
            prepare(table, tmp_path / "out")
    capsys.readouterr()
    prepare(table, tmp_path / "out")
    printed = " ".join(capsys.readouterr().out.split())
    done = after // 4 * 4
    assert (f"interrupted run: {done} of {NUM_STUDIES} studies are done." in printed) == bool(done)
    assert f"given {NUM_STUDIES} = kept 25 + rejected 5" in printed
    assert digests(tmp_path / "out") == digests(tmp_path / "whole")


def test_a_damaged_shard_is_cut_back_and_rewritten(tmp_path, table, monkeypatch):
    prepare(table, tmp_path / "whole")
    with monkeypatch.context() as patch:
        interrupt(patch, 20, SimulatedKillError())
        with pytest.raises(SimulatedKillError):
            prepare(table, tmp_path / "out")
    shard = tmp_path / "out.partial" / "train" / "data-00000.arrow"
    content = bytearray(shard.read_bytes())
    content[-50] ^= 255
    shard.write_bytes(content)
    prepare(table, tmp_path / "out")
    assert digests(tmp_path / "out") == digests(tmp_path / "whole")


def test_a_full_shard_is_followed_by_a_new_one(tmp_path, table, monkeypatch):
    prepare(table, tmp_path / "one")
    monkeypatch.setattr("data.pipeline.shards.SHARD_BYTES", 50_000)
    prepare(table, tmp_path / "several")
    assert len(list((tmp_path / "several" / "train").glob("*.arrow"))) > 2
    one, several = load_studies(tmp_path / "one"), load_studies(tmp_path / "several")
    for split in one:
        assert list(one[split]["study_id"]) == list(several[split]["study_id"])
        assert one[split].num_rows == several[split].num_rows


def test_a_killed_process_is_resumed(tmp_path):
    command = [sys.executable, "-m", "data.prepare", "synthetic", "--num-studies=100", "--size=96", "--num-workers=2"]
    run = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "cwd": tmp_path}
    process = subprocess.Popen([*command, "--out=out"], start_new_session=True, **run)
    journal = tmp_path / "out.partial" / "journal.jsonl"
    deadline = time.monotonic() + 120
    while process.poll() is None and not (journal.exists() and journal.stat().st_size):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.wait()
    while process_group_lives(process.pid):  # its workers end by themselves
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.communicate()
    assert not (tmp_path / "out").exists()
    done = subprocess.run([*command, "--out=out"], check=False, **run)
    assert done.returncode == 0, done.stdout
    assert "Resuming an interrupted run: 64 of 100 studies are done." in " ".join(done.stdout.split())
    main(["synthetic", "--num-studies=100", "--size=96", "--num-workers=1", "--out", str(tmp_path / "whole")])
    counts = json.loads((tmp_path / "out" / "preparation.json").read_text())["counts"]
    assert (counts["given"], counts["kept"], counts["rejected"]) == (100, 100, 0)
    made = {split: rows["study_id"] for split, rows in load_studies(tmp_path / "out").items()}
    whole = {split: rows["study_id"] for split, rows in load_studies(tmp_path / "whole").items()}
    assert {split: list(ids) for split, ids in made.items()} == {split: list(ids) for split, ids in whole.items()}


def process_group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_two_runs_cannot_write_to_the_same_folder(tmp_path, table):
    (tmp_path / "out.partial").mkdir()
    with (
        FileLock(tmp_path / "out.partial" / "lock"),
        pytest.raises(ValueError, match=r"another run is writing to .*out \(it holds .*out\.partial\); wait for it"),
    ):
        prepare(table, tmp_path / "out")
    prepare(table, tmp_path / "out")


def test_an_unfinished_run_with_other_options_is_replaced_only_with_overwrite(tmp_path, table, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt(patch, 20, SimulatedKillError())
        with pytest.raises(SimulatedKillError):
            prepare(table, tmp_path / "out")
    with pytest.raises(
        ValueError, match=r"unfinished run with other options \(image_options.max_side, seed\): use the"
    ):
        prepare(table, tmp_path / "out", "--seed", "3", "--max-side", "64")
    prepare(table, tmp_path / "out", "--seed", "3", "--max-side", "64", "--overwrite")
    prepare(table, tmp_path / "whole", "--seed", "3", "--max-side", "64")
    assert digests(tmp_path / "out") == digests(tmp_path / "whole")


def drop_first_study(table: Path) -> None:
    lines = table.read_text().splitlines(keepends=True)
    table.write_text("".join([lines[0], *lines[2:]]))


def change_text(table: Path) -> None:
    table.write_text(table.read_text().replace("3.png,The lungs are clear.", "3.png,Left pleural effusion."))


def add_labels(table: Path) -> None:
    table.write_text(table.read_text().replace("findings", "findings,Edema").replace("clear.", "clear.,positive"))


def add_view_positions(table: Path) -> None:
    table.write_text(table.read_text().replace("findings", "findings,view_position").replace("clear.", "clear.,PA"))


def replace_image(table: Path) -> None:
    (table.parent / "3.png").write_bytes((table.parent / "4.png").read_bytes())


def touch_image(table: Path) -> None:
    os.utime(table.parent / "3.png", ns=(0, 0))


def delete_image(table: Path) -> None:
    (table.parent / "3.png").unlink()


@pytest.mark.parametrize(
    "change",
    [drop_first_study, change_text, add_labels, add_view_positions, replace_image, touch_image, delete_image],
)
def test_a_run_is_not_resumed_after_its_source_changed(tmp_path, table, monkeypatch, change):
    with monkeypatch.context() as patch:
        interrupt(patch, 20, SimulatedKillError())
        with pytest.raises(SimulatedKillError):
            prepare(table, tmp_path / "out")
    change(table)
    with pytest.raises(ValueError, match=r"the source has changed since .*out\.partial was started .*; delete that f"):
        prepare(table, tmp_path / "out")


def test_a_change_to_a_study_that_is_still_to_be_done_is_taken_over(tmp_path, table, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt(patch, 20, SimulatedKillError())
        with pytest.raises(SimulatedKillError):
            prepare(table, tmp_path / "out")
    (table.parent / "25.png").write_bytes((table.parent / "26.png").read_bytes())
    prepare(table, tmp_path / "out")
    prepare(table, tmp_path / "whole")
    assert digests(tmp_path / "out") == digests(tmp_path / "whole")


def test_a_full_disk_is_reported_with_the_space_needed_and_the_run_can_be_resumed(tmp_path, table, monkeypatch):
    prepare(table, tmp_path / "whole")
    with monkeypatch.context() as patch:
        interrupt(patch, 16, OSError(errno.ENOSPC, "No space left on device"))
        with pytest.raises(ValueError) as caught:
            prepare(table, tmp_path / "out")
    message = str(caught.value)
    assert message.startswith(f"the disk of {tmp_path} is full: 0.2 MiB are written, about 0.2 MiB more are needed, ")
    assert message.endswith("free some space and run the same command again; it resumes where it stopped")
    prepare(table, tmp_path / "out")
    assert digests(tmp_path / "out") == digests(tmp_path / "whole")


def test_a_file_size_limit_stops_the_run_and_nothing_is_lost(tmp_path, table):
    prepare(table, tmp_path / "whole")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, hard))
    try:
        with pytest.raises(ValueError, match=r"the disk of .* is full"):
            prepare(table, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    prepare(table, tmp_path / "out")
    assert digests(tmp_path / "out") == digests(tmp_path / "whole")


def test_a_run_killed_at_its_last_step_is_completed_by_the_next(tmp_path, table, monkeypatch):
    prepare(table, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr("data.pipeline.staging.StagingFolder.publish", lambda self: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            prepare(table, tmp_path / "out")
    with pytest.raises(ValueError, match=r"an earlier run was killed at its last step; .*out is complete now"):
        prepare(table, tmp_path / "out")
    assert digests(tmp_path / "out") == digests(tmp_path / "whole")
