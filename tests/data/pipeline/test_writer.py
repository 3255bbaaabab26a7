"""A preparation that is killed, or finds no room, goes on where it was, and ends with the same bytes."""

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
    """Studies of which every seventh is rejected."""
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


class BrokenOffError(Exception):
    """Stands for a kill at a given moment."""


def break_off(monkeypatch, after: int, error: Exception) -> None:
    """The next run ends with the error after so many studies."""
    add = writer.DatasetWriter.add

    def failing(self, raw_study, outcome):
        if self.num_done == after:
            raise error
        add(self, raw_study, outcome)

    monkeypatch.setattr(writer.DatasetWriter, "add", failing)


def test_the_folder_holds_the_data_set_and_nothing_of_its_making(tmp_path, table):
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
def test_a_run_broken_off_anywhere_ends_with_the_same_bytes(tmp_path, table, monkeypatch, capsys, after):
    prepare(table, tmp_path / "whole")
    with monkeypatch.context() as patch:
        break_off(patch, after, BrokenOffError())
        with pytest.raises(BrokenOffError):
            prepare(table, tmp_path / "out")
    capsys.readouterr()
    prepare(table, tmp_path / "out")
    told = " ".join(capsys.readouterr().out.split())
    done = after // 4 * 4
    assert (f"broken off: {done} of {NUM_STUDIES} are done." in told) == bool(done)
    assert f"given {NUM_STUDIES} = kept 25 + rejected 5" in told
    assert digests(tmp_path / "out") == digests(tmp_path / "whole")


def test_a_damaged_shard_is_cut_back_and_made_again(tmp_path, table, monkeypatch):
    prepare(table, tmp_path / "whole")
    with monkeypatch.context() as patch:
        break_off(patch, 20, BrokenOffError())
        with pytest.raises(BrokenOffError):
            prepare(table, tmp_path / "out")
    shard = tmp_path / "out.partial" / "train" / "data-00000.arrow"
    content = bytearray(shard.read_bytes())
    content[-50] ^= 255
    shard.write_bytes(content)
    prepare(table, tmp_path / "out")
    assert digests(tmp_path / "out") == digests(tmp_path / "whole")


def test_rows_go_to_a_new_shard_when_one_is_full(tmp_path, table, monkeypatch):
    prepare(table, tmp_path / "one")
    monkeypatch.setattr("data.pipeline.shards.SHARD_BYTES", 50_000)
    prepare(table, tmp_path / "several")
    assert len(list((tmp_path / "several" / "train").glob("*.arrow"))) > 2
    one, several = load_studies(tmp_path / "one"), load_studies(tmp_path / "several")
    for split in one:
        assert list(one[split]["study_id"]) == list(several[split]["study_id"])
        assert one[split].num_rows == several[split].num_rows


def test_a_process_killed_in_the_middle_is_gone_on_with(tmp_path):
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
    assert "Going on with a run that was broken off: 64 of 100 are done." in " ".join(done.stdout.split())
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


def test_two_runs_do_not_write_to_one_folder(tmp_path, table):
    (tmp_path / "out.partial").mkdir()
    with (
        FileLock(tmp_path / "out.partial" / "lock"),
        pytest.raises(ValueError, match=r"another run is writing to .*out \(it holds .*out\.partial\); let it end"),
    ):
        prepare(table, tmp_path / "out")
    prepare(table, tmp_path / "out")


def test_other_options_do_not_go_on_with_an_unfinished_run_unless_it_may_be_overwritten(tmp_path, table, monkeypatch):
    with monkeypatch.context() as patch:
        break_off(patch, 20, BrokenOffError())
        with pytest.raises(BrokenOffError):
            prepare(table, tmp_path / "out")
    with pytest.raises(
        ValueError, match=r"unfinished run with other options \(image_options.max_side, seed\): give th"
    ):
        prepare(table, tmp_path / "out", "--seed", "3", "--max-side", "64")
    prepare(table, tmp_path / "out", "--seed", "3", "--max-side", "64", "--overwrite")
    prepare(table, tmp_path / "whole", "--seed", "3", "--max-side", "64")
    assert digests(tmp_path / "out") == digests(tmp_path / "whole")


def test_a_source_that_changed_in_between_is_told(tmp_path, table, monkeypatch):
    with monkeypatch.context() as patch:
        break_off(patch, 20, BrokenOffError())
        with pytest.raises(BrokenOffError):
            prepare(table, tmp_path / "out")
    lines = table.read_text().splitlines(keepends=True)
    table.write_text("".join([lines[0], *lines[2:]]))
    with pytest.raises(
        ValueError, match=r"what the source gives has changed since .*out\.partial was begun; delete th"
    ):
        prepare(table, tmp_path / "out")


def test_a_full_disk_tells_how_much_room_is_wanted_and_a_rerun_completes(tmp_path, table, monkeypatch):
    prepare(table, tmp_path / "whole")
    with monkeypatch.context() as patch:
        break_off(patch, 16, OSError(errno.ENOSPC, "No space left on device"))
        with pytest.raises(ValueError) as caught:
            prepare(table, tmp_path / "out")
    told = str(caught.value)
    assert told.startswith(
        f"there is no room left in {tmp_path}: 0.2 MiB are written, about 0.2 MiB more are needed, a"
    )
    assert told.endswith("Nothing is lost: make room and give the same command again; it goes on where it stopped")
    prepare(table, tmp_path / "out")
    assert digests(tmp_path / "out") == digests(tmp_path / "whole")


def test_a_file_that_may_not_grow_stops_the_run_and_loses_nothing(tmp_path, table):
    prepare(table, tmp_path / "whole")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, hard))
    try:
        with pytest.raises(ValueError, match="there is no room left"):
            prepare(table, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    prepare(table, tmp_path / "out")
    assert digests(tmp_path / "out") == digests(tmp_path / "whole")


def test_a_run_killed_at_its_very_last_step_is_completed_by_the_next(tmp_path, table, monkeypatch):
    prepare(table, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr("data.pipeline.staging.StagingFolder.publish", lambda self: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            prepare(table, tmp_path / "out")
    with pytest.raises(ValueError, match=r"an earlier run was all but done: .*out is complete now"):
        prepare(table, tmp_path / "out")
    assert digests(tmp_path / "out") == digests(tmp_path / "whole")
