"""The store of corrections: saving is atomic, whatever else saves at the same time and whenever a process is killed."""

import json
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
    ADDED_IN_2,
    COLUMNS,
    SCHEMA_VERSION,
    STORE_FILE,
    CorrectionStore,
    image_file,
)
from data.images.read import read_image
from tests.helpers.corrections import corrections_of, saved_corrections
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


def check_store(folder):
    """Check that the database is valid and has every image that it names."""
    with closing(sqlite3.connect(folder / STORE_FILE)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    for saved in saved_corrections(folder):
        for name in saved.images:
            assert image_hash(read_image(folder / image_file(name))) == name


def test_saved_correction_is_read_back_unchanged(tmp_path):
    given = correction(view_positions=("PA", "LATERAL"), states=states(Edema=NEGATIVE, Fracture=UNCERTAIN))
    saved = CorrectionStore(tmp_path / "new" / "store").save(given, [gray_image(0), gray_image(1)])
    assert saved_corrections(tmp_path / "new" / "store") == [saved]
    assert saved.correction == given
    assert saved.images == (image_hash(gray_image(0)), image_hash(gray_image(1)))
    assert datetime.now(UTC) - datetime.fromisoformat(saved.saved_at) < timedelta(minutes=1)
    check_store(tmp_path / "new" / "store")


def test_folder_is_private_and_images_have_no_metadata(tmp_path):
    image = gray_image()
    image.info["Comment"] = "DOE^JANE"
    saved = CorrectionStore(tmp_path / "store").save(correction(), [image])
    assert (tmp_path / "store").stat().st_mode & 0o077 == 0
    content = (tmp_path / "store" / image_file(saved.images[0])).read_bytes()
    assert b"DOE" not in content
    assert {content[start : start + 4] for start in (12,)} == {b"IHDR"}
    assert not {b"tEXt", b"iTXt", b"eXIf", b"zTXt"} & {content[i : i + 4] for i in range(len(content))}


def test_later_corrections_do_not_replace_earlier_ones(tmp_path):
    store = CorrectionStore(tmp_path)
    first = store.save(correction(), [gray_image()])
    second = store.save(correction(findings="No effusion."), [gray_image()])
    other = store.save(correction(), [gray_image(1)])
    assert corrections_of(tmp_path, [gray_image()]) == [first, second]
    assert [saved.number for saved in (first, second, other)] == [1, 2, 3]


def test_study_hash_depends_on_pixels_and_not_on_image_order():
    one, other = image_hash(gray_image(0)), image_hash(gray_image(1))
    assert study_hash([one, other]) == study_hash([other, one]) != study_hash([one])
    assert image_hash(Image.new("L", (20, 30))) != image_hash(Image.new("L", (30, 20)))


def test_columns_match_the_schema_version():
    """A change of the columns needs a new SCHEMA_VERSION; without it older files would be misread."""
    assert SCHEMA_VERSION == 2
    assert set(COLUMNS) == {
        *("prior_images", "prior_view_positions", "prior_report", "prior_interval_days"),
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


def test_prior_study_is_saved_and_read_back(tmp_path):
    prior = {"prior_report": "Findings: No effusion.", "prior_interval_days": 30}
    given = correction(prior_view_positions=("AP", "LATERAL"), **prior)
    saved = CorrectionStore(tmp_path).save(given, [gray_image(0)], [gray_image(1), gray_image(2)])
    assert saved_corrections(tmp_path) == [saved]
    assert saved.correction == given
    assert saved.prior_images == (image_hash(gray_image(1)), image_hash(gray_image(2)))
    assert saved.study == study_hash([image_hash(gray_image(0))])  # the same study as without the prior
    for name in saved.prior_images:
        assert image_hash(read_image(tmp_path / image_file(name))) == name
    with pytest.raises(ValueError, match="1 prior images but 0 prior view positions"):
        CorrectionStore(tmp_path).save(correction(), [gray_image()], [gray_image(1)])
    with pytest.raises(ValueError, match="a prior report or interval, but no prior image; give the images too"):
        correction(**prior)
    with pytest.raises(ValueError, match="prior_interval_days is -1; a prior study is earlier, so give 0 or more"):
        correction(prior_view_positions=("PA",), prior_interval_days=-1)


def test_store_of_schema_1_is_read_and_upgraded_when_the_page_opens_it(tmp_path):
    first = CorrectionStore(tmp_path).save(correction(), [gray_image()])
    with closing(sqlite3.connect(tmp_path / STORE_FILE)) as connection, connection:
        for name in ADDED_IN_2:
            connection.execute(f"ALTER TABLE corrections DROP COLUMN {name}")
        connection.execute("PRAGMA user_version = 1")
    assert saved_corrections(tmp_path) == [first]
    store = CorrectionStore(tmp_path)
    second = store.save(correction(prior_view_positions=("PA",)), [gray_image(1)], [gray_image(2)])
    assert saved_corrections(tmp_path) == [first, second]
    CorrectionStore(tmp_path)  # an upgrade is done once
    with closing(sqlite3.connect(tmp_path / STORE_FILE)) as connection, connection:
        connection.execute("PRAGMA user_version = 3")
    with pytest.raises(ValueError, match="has schema 3, and this program knows up to 2"):
        CorrectionStore(tmp_path)


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

KILLED_REPEATEDLY = """
for number in range(12):
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        store = CorrectionStore(folder)
        for seed in range(10_000 * number, 10_000 * (number + 1)):
            os.write(writer, b"%d\\n" % save(store, seed))
    os.close(writer)
    output = os.read(reader, 100)
    time.sleep(0.003 * number)  # so that each kill happens at another moment of a save
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    while more := os.read(reader, 100):
        output += more
    print(output.decode(), end="")
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


def output_of(running):
    lines = running.communicate()[0].splitlines()
    assert running.returncode == 0
    return lines


def test_kill_during_save_loses_no_acknowledged_correction(tmp_path):
    acknowledged = {int(line) for line in output_of(start(KILLED_REPEATEDLY, tmp_path))}
    numbers = {saved.number for saved in saved_corrections(tmp_path)}
    assert len(acknowledged) >= 12
    assert acknowledged <= numbers
    check_store(tmp_path)
    assert CorrectionStore(tmp_path).save(correction(), [gray_image()]).number > max(numbers)


def test_concurrent_processes_lose_no_correction(tmp_path):
    programs = [start(SAVES, tmp_path / "new", 100 * number, 100 * number + 6) for number in range(3)]
    numbers = [int(line) for program in programs for line in output_of(program)]
    assert sorted(numbers) == list(range(1, 19))
    check_store(tmp_path / "new")


READS = """
import sys, time
from pathlib import Path
from data.corrections.store import STORE_FILE, list_corrections, open_table
folder = Path(sys.argv[1])
while not (folder / STORE_FILE).is_file():
    pass
for _ in range(200):
    with open_table(folder) as table:
        list_corrections(table)
print("read")
"""


def test_store_that_another_process_creates_can_be_read_at_once(tmp_path):
    """A reader never finds a file without its table."""
    for number in range(2):
        reader = start(READS, tmp_path / f"new{number}")
        writer = start(SAVES, tmp_path / f"new{number}", 0, 3)
        assert output_of(reader) == ["read"]
        assert len(output_of(writer)) == 3


def test_creation_that_was_killed_is_repeated(tmp_path):
    (tmp_path / f"{STORE_FILE}.partial").write_bytes(b"half")
    (tmp_path / f"{STORE_FILE}.partial-wal").write_bytes(b"half")
    assert CorrectionStore(tmp_path).save(correction(), [gray_image()]).number == 1
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / STORE_FILE).touch()
    assert CorrectionStore(tmp_path / "empty").save(correction(), [gray_image()]).number == 1


@pytest.mark.parametrize(("room", "side"), [(2_000, 300), (60_000, 40)], ids=["for the image", "for the row"])
def test_full_disk_is_reported_and_earlier_corrections_stay(tmp_path, room, side):
    """A limit on the file size stands in for a full disk."""
    before = CorrectionStore(tmp_path).save(correction(), [gray_image()])
    [message] = output_of(start(FULL_DISK, tmp_path, room, side))
    assert str(tmp_path) in message
    assert "was not saved; free some space" in message or "is full or fails" in message
    assert "saved" in message
    assert saved_corrections(tmp_path) == [before]
    assert not list(tmp_path.glob("images/*.partial"))
    check_store(tmp_path)
    CorrectionStore(tmp_path).save(correction(), [gray_image(7, side)])


def test_invalid_corrections_are_rejected_with_the_reason(tmp_path):
    store = CorrectionStore(tmp_path / "store")
    with pytest.raises(ValueError, match="the report is empty and no finding is set; write a report or set a finding"):
        store.save(correction(findings=" ", impression=""), [gray_image()])
    with pytest.raises(ValueError, match="2 images but 1 view positions"):
        store.save(correction(), [gray_image(), gray_image(1)])
    with pytest.raises(ValueError, match="mode RGB and 43 x 40 pixels"):
        store.save(correction(), [gray_image().convert("RGB")])
    with pytest.raises(ValueError, match="mode L and 1103 x 1100 pixels"):
        store.save(correction(), [gray_image(0, 1100)])
    with pytest.raises(ValueError, match="No Finding contradicts Edema; clear one of them"):
        correction(states=states(No_Finding=POSITIVE, Edema=UNCERTAIN))
    with pytest.raises(ValueError, match="reader's name has 101 characters"):
        correction(reader="x" * 101)
    with pytest.raises(ValueError, match="characters that cannot be printed; give one line"):
        correction(reader="Dr\nA")
    with pytest.raises(ValueError, match=r"states has 7; the state of a finding is one of"):
        correction(states=(7,) * 14)
    with pytest.raises(ValueError, match="thresholds has 3 values; give one for each of the 14 findings"):
        correction(thresholds=(0.5,) * 3)
    assert not saved_corrections(tmp_path / "store")


def test_no_finding_is_compatible_with_devices_and_negative_findings():
    given = states(No_Finding=POSITIVE, Support_Devices=POSITIVE, Edema=NEGATIVE)
    assert correction(states=given).states == given


def test_unusable_folder_is_named_in_the_error(tmp_path):
    with pytest.raises(ValueError, match=r"empty has no corrections \(no corrections.sqlite in it\); name the"):
        saved_corrections(tmp_path / "empty")
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match=r"file cannot be used for corrections \(.*\); name a folder"):
        CorrectionStore(tmp_path / "file")
    (tmp_path / "other").mkdir()
    with closing(sqlite3.connect(tmp_path / "other" / STORE_FILE)) as connection:
        connection.execute("CREATE TABLE recipes (cake TEXT)")
    with pytest.raises(ValueError, match="another version or program wrote it; name another folder"):
        CorrectionStore(tmp_path / "other")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / STORE_FILE).write_bytes(b"no database at all" * 100)
    for opened in (CorrectionStore, saved_corrections):
        with pytest.raises(ValueError, match=r"corrections.sqlite cannot be used \(file is not a database\)"):
            opened(tmp_path / "damaged")


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("states", "[1, 2", "correction 1 is damaged"),
        ("states", json.dumps([9] * 14), "correction 1: states has 9"),
        ("probabilities", '["high"]', "correction 1: probabilities: expected float"),
        ("images", '["../../etc/passwd"]', r"correction 1 is damaged \(it names no images\)"),
        ("prior_images", '["../../etc/passwd"]', r"correction 1 is damaged \(it names no images\)"),
        ("prior_view_positions", '["PA"]', "another number of prior images than of their view positions"),
    ],
)
def test_damaged_row_is_named_and_cannot_point_outside_the_folder(tmp_path, column, value, message):
    CorrectionStore(tmp_path).save(correction(), [gray_image()])
    with closing(sqlite3.connect(tmp_path / STORE_FILE)) as connection, connection:
        connection.execute(f"UPDATE corrections SET {column} = ?", [value])
    with pytest.raises(ValueError, match=message):
        saved_corrections(tmp_path)


def test_damaged_image_is_rewritten_and_leftovers_of_kills_are_deleted(tmp_path):
    store = CorrectionStore(tmp_path)
    saved = store.save(correction(), [gray_image()])
    path = tmp_path / image_file(saved.images[0])
    path.write_bytes(path.read_bytes()[:50])
    leftover = tmp_path / "images" / "old.png.partial"
    leftover.write_bytes(b"half")
    CorrectionStore(tmp_path).save(correction(), [gray_image()])
    check_store(tmp_path)
    assert not leftover.exists()


def test_untouched_findings_are_unlabeled():
    assert correction().states == (UNLABELED,) * len(FINDINGS)
