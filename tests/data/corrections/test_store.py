"""Corrections are whole or not there, whoever saves at once and whenever the program is killed."""

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.corrections.correction import Correction, image_hash, study_hash
from data.corrections.store import (
    COLUMNS,
    SCHEMA_VERSION,
    STORE_FILE,
    CorrectionStore,
    image_file,
    list_corrections,
    open_table,
    read_correction,
)
from data.images.read import read_image
from vlm.schema.findings import FINDING_INDEX, FINDINGS, NEGATIVE, POSITIVE, UNCERTAIN, UNLABELED, UNLABELED_STUDY
from vlm.schema.preprocessing import Preprocessing

ROOT = Path(__file__).parents[3]


def correction(**changes):
    return replace(
        Correction(
            view_positions=("PA",),
            indication="Cough.",
            original_findings="The lungs are clear.",
            findings="There is a small left effusion.",
            impression="Effusion.",
            probabilities=tuple(number / 20 for number in range(14)),
            thresholds=(0.5,) * 14,
            states=UNLABELED_STUDY,
            preprocessing=Preprocessing(clahe=True, normalize="minmax"),
            model_name="mine",
            model_hash="abc",
            reader="Dr A",
        ),
        **changes,
    )


def states(**by_finding):
    set_states = list(UNLABELED_STUDY)
    for name, state in by_finding.items():
        set_states[FINDING_INDEX[name.replace("_", " ")]] = state
    return tuple(set_states)


def gray_image(number=0, side=40):
    return Image.fromarray(np.random.default_rng(number).integers(0, 256, (side, side + 3), dtype=np.uint8))


def saved_in(folder):
    with open_table(folder) as table:
        return [read_correction(table, entry.number) for entry in list_corrections(table)]


def check_whole(folder):
    """The database is sound, and every image that it names is there."""
    with closing(sqlite3.connect(folder / STORE_FILE)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    for saved in saved_in(folder):
        for name in saved.images:
            assert image_hash(read_image(folder / image_file(name))) == name


def test_a_correction_comes_back_as_it_was_saved(tmp_path):
    given = correction(view_positions=("PA", "LATERAL"), states=states(Edema=NEGATIVE, Fracture=UNCERTAIN))
    saved = CorrectionStore(tmp_path / "new" / "store").save(given, [gray_image(0), gray_image(1)])
    assert saved_in(tmp_path / "new" / "store") == [saved]
    assert saved.correction == given
    assert saved.images == (image_hash(gray_image(0)), image_hash(gray_image(1)))
    assert datetime.now(UTC) - datetime.fromisoformat(saved.saved_at) < timedelta(minutes=1)
    check_whole(tmp_path / "new" / "store")


def test_the_folder_is_its_owners_alone_and_images_have_no_metadata(tmp_path):
    image = gray_image()
    image.info["Comment"] = "DOE^JANE"
    saved = CorrectionStore(tmp_path / "store").save(correction(), [image])
    assert (tmp_path / "store").stat().st_mode & 0o077 == 0
    content = (tmp_path / "store" / image_file(saved.images[0])).read_bytes()
    assert b"DOE" not in content
    assert {content[start : start + 4] for start in (12,)} == {b"IHDR"}
    assert not {b"tEXt", b"iTXt", b"eXIf", b"zTXt"} & {content[i : i + 4] for i in range(len(content))}


def test_nothing_that_was_saved_is_ever_replaced(tmp_path):
    store = CorrectionStore(tmp_path)
    first = store.save(correction(), [gray_image()])
    second = store.save(correction(findings="No effusion."), [gray_image()])
    other = store.save(correction(), [gray_image(1)])
    assert store.history([gray_image()]) == [first, second]
    assert [saved.number for saved in (first, second, other)] == [1, 2, 3]


def test_a_study_goes_by_its_pixels_in_any_order():
    one, other = image_hash(gray_image(0)), image_hash(gray_image(1))
    assert study_hash([one, other]) == study_hash([other, one]) != study_hash([one])
    assert image_hash(Image.new("L", (20, 30))) != image_hash(Image.new("L", (30, 20)))


def test_the_columns_are_those_of_this_version_of_the_schema():
    """Whoever changes them must raise SCHEMA_VERSION, or older files would be misread."""
    assert SCHEMA_VERSION == 1
    assert set(COLUMNS) == {
        *("number", "saved_at", "program_version", "study", "images", "view_positions", "indication"),
        *(
            "original_findings",
            "original_impression",
            "findings",
            "impression",
            "probabilities",
            "thresholds",
            "states",
        ),
        *("preprocessing", "model_name", "model_hash", "reader", "subject_id"),
    }


PROGRAM = """
import os, resource, signal, sys, time
from pathlib import Path
import numpy as np
from PIL import Image
from data.corrections.correction import Correction
from data.corrections.store import CorrectionStore
from vlm.schema.findings import UNLABELED_STUDY
from vlm.schema.preprocessing import Preprocessing

def save(store, seed, side=200, findings="The lungs are clear."):
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side + 3), dtype=np.uint8)
    correction = Correction(
        view_positions=("PA",), findings=findings, probabilities=(0.5,) * 14, thresholds=(0.5,) * 14,
        states=UNLABELED_STUDY, preprocessing=Preprocessing(), model_name="", model_hash="",
    )
    return store.save(correction, [Image.fromarray(pixels)]).number

folder, *numbers = Path(sys.argv[1]), *map(int, sys.argv[2:])
"""

KILLED_AGAIN_AND_AGAIN = """
for number in range(12):
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        store = CorrectionStore(folder)
        for seed in range(10_000 * number, 10_000 * (number + 1)):
            os.write(writer, b"%d\\n" % save(store, seed))
    os.close(writer)
    said = os.read(reader, 100)
    time.sleep(0.003 * number)  # so that kills fall on different moments of a save
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    while more := os.read(reader, 100):
        said += more
    print(said.decode(), end="")
"""

SAVES = """
store = CorrectionStore(folder)
for seed in range(*numbers):
    print(save(store, seed))
"""

FULL_DISK = """
room, side = numbers
store = CorrectionStore(folder)
resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
try:
    save(store, 7, side, "clear " * 20_000)
except ValueError as error:
    print(error)
"""


def start(program, folder, *numbers):
    command = [sys.executable, "-c", PROGRAM + program, str(folder), *map(str, numbers)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def said_by(running):
    lines = running.communicate()[0].splitlines()
    assert running.returncode == 0
    return lines


def test_a_kill_during_a_save_loses_nothing_that_was_acknowledged(tmp_path):
    acknowledged = {int(line) for line in said_by(start(KILLED_AGAIN_AND_AGAIN, tmp_path))}
    numbers = {saved.number for saved in saved_in(tmp_path)}
    assert len(acknowledged) >= 12
    assert acknowledged <= numbers
    check_whole(tmp_path)
    assert CorrectionStore(tmp_path).save(correction(), [gray_image()]).number > max(numbers)


def test_several_programs_that_save_at_once_lose_nothing(tmp_path):
    programs = [start(SAVES, tmp_path / "new", 100 * number, 100 * number + 6) for number in range(3)]
    numbers = [int(line) for program in programs for line in said_by(program)]
    assert sorted(numbers) == list(range(1, 19))
    check_whole(tmp_path / "new")


@pytest.mark.parametrize(("room", "side"), [(2_000, 300), (60_000, 40)], ids=["for the image", "for the row"])
def test_a_disk_that_fills_is_said_and_what_was_saved_before_stays(tmp_path, room, side):
    """The system's limit on a file's size stands for the disk's."""
    before = CorrectionStore(tmp_path).save(correction(), [gray_image()])
    [said] = said_by(start(FULL_DISK, tmp_path, room, side))
    assert str(tmp_path) in said
    assert "was not saved; make room" in said or "is full or fails" in said
    assert "saved" in said
    assert saved_in(tmp_path) == [before]
    assert not list(tmp_path.glob("images/*.partial"))
    check_whole(tmp_path)
    CorrectionStore(tmp_path).save(correction(), [gray_image(7, side)])


def test_what_cannot_be_a_correction_is_rejected_in_words(tmp_path):
    store = CorrectionStore(tmp_path / "store")
    with pytest.raises(ValueError, match="the report is empty and no finding is set; write or set what you see"):
        store.save(correction(findings=" ", impression=""), [gray_image()])
    with pytest.raises(ValueError, match="2 images but 1 view positions"):
        store.save(correction(), [gray_image(), gray_image(1)])
    with pytest.raises(ValueError, match="mode RGB and 43 x 40 pixels"):
        store.save(correction(), [gray_image().convert("RGB")])
    with pytest.raises(ValueError, match="mode L and 1103 x 1100 pixels"):
        store.save(correction(), [gray_image(0, 1100)])
    with pytest.raises(ValueError, match="No Finding cannot be present beside Edema; take one of them back"):
        correction(states=states(No_Finding=POSITIVE, Edema=UNCERTAIN))
    with pytest.raises(ValueError, match="reader's name has 101 characters"):
        correction(reader="x" * 101)
    with pytest.raises(ValueError, match="signs that cannot be shown; give one line"):
        correction(reader="Dr\nA")
    with pytest.raises(ValueError, match=r"states has 7; a finding's state is one of"):
        correction(states=(7,) * 14)
    with pytest.raises(ValueError, match="thresholds has 3 values; one for each of 14 findings"):
        correction(thresholds=(0.5,) * 3)
    assert not saved_in(tmp_path / "store")


def test_no_finding_goes_with_devices_and_with_what_is_denied():
    given = states(No_Finding=POSITIVE, Support_Devices=POSITIVE, Edema=NEGATIVE)
    assert correction(states=given).states == given


def test_a_folder_that_cannot_be_used_is_named(tmp_path):
    with pytest.raises(
        ValueError, match=r"empty holds no corrections \(no corrections.sqlite in it\); name the folder"
    ):
        saved_in(tmp_path / "empty")
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match=r"file cannot be used for corrections \(.*\); name a folder"):
        CorrectionStore(tmp_path / "file")
    (tmp_path / "other").mkdir()
    with closing(sqlite3.connect(tmp_path / "other" / STORE_FILE)) as connection:
        connection.execute("CREATE TABLE recipes (cake TEXT)")
    with pytest.raises(ValueError, match="it is of another version or program; name another folder"):
        CorrectionStore(tmp_path / "other")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / STORE_FILE).write_bytes(b"no database at all" * 100)
    for opened in (CorrectionStore, saved_in):
        with pytest.raises(ValueError, match=r"corrections.sqlite cannot be used \(file is not a database\)"):
            opened(tmp_path / "damaged")


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("states", "[1, 2", "correction 1 is damaged"),
        ("states", json.dumps([9] * 14), "correction 1: states has 9"),
        ("probabilities", '["high"]', "correction 1: probabilities: expected float"),
        ("images", '["../../etc/passwd"]', r"correction 1 is damaged \(it names no images\)"),
    ],
)
def test_a_damaged_row_is_named_and_its_images_cannot_lead_out_of_the_folder(tmp_path, column, value, message):
    CorrectionStore(tmp_path).save(correction(), [gray_image()])
    with closing(sqlite3.connect(tmp_path / STORE_FILE)) as connection, connection:
        connection.execute(f"UPDATE corrections SET {column} = ?", [value])
    with pytest.raises(ValueError, match=message):
        saved_in(tmp_path)


def test_an_image_that_was_lost_is_written_anew_and_leftovers_of_kills_go(tmp_path):
    store = CorrectionStore(tmp_path)
    saved = store.save(correction(), [gray_image()])
    path = tmp_path / image_file(saved.images[0])
    path.write_bytes(path.read_bytes()[:50])
    old, new = tmp_path / "images" / "old.partial", tmp_path / "images" / "new.partial"
    for leftover in (old, new):
        leftover.write_bytes(b"half")
    os.utime(old, (0, 0))
    CorrectionStore(tmp_path).save(correction(), [gray_image()])
    check_whole(tmp_path)
    assert (old.exists(), new.exists()) == (False, True)


def test_findings_not_touched_are_unlabeled_and_every_finding_has_a_place():
    assert correction().states == (UNLABELED,) * len(FINDINGS)
