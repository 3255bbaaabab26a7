"""Source `table`: ids without absolute paths, and pseudonyms by option."""

import json
import re

import pytest
from PIL import Image

from data.prepare import main
from data.study import load_studies
from tests.helpers.sources.tables import csv_of, table_source

KEY = b"k" * 32


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    for name in ("Zebra_1", "Zebra_2", "Zebra_3"):
        Image.new("L", (64, 64), 80).save(tmp_path / "images" / f"{name}.png")
    return tmp_path


def prepare(table, out, *options):
    main(["table", str(table), "--out", str(out), "--num-workers", "1", "--split-fractions", "1", "0", "0", *options])
    return load_studies(out)["train"]


def test_ids_of_studies_without_one_are_paths_below_the_image_folder(folder):
    absolute = [{"image": str(folder / "images" / f"Zebra_{number}.png"), "findings": "Clear."} for number in (1, 2)]
    absolute.append({"image": "C:\\Users\\Doe\\x.png", "findings": "Clear."})
    studies = prepare(csv_of(folder, absolute), folder / "out")
    assert studies["study_id"] == ["images/Zebra_1.png", "images/Zebra_2.png"]
    [entry] = map(json.loads, (folder / "out" / "rejected.jsonl").read_text().splitlines())
    assert entry["study_id"] == "x.png"


def test_pseudonyms_replace_ids_and_paths_everywhere(folder, capsys):
    rows = [
        {"image": "images/Zebra_1.png", "study_id": "Zebra-s1", "subject_id": "Zebra-p", "findings": "Clear."},
        {"image": "images/Zebra_2.png", "study_id": "Zebra-s2", "subject_id": "Zebra-p", "findings": "Clear lungs."},
        {"image": "images/Zebra_4.png", "study_id": "Zebra-s4", "subject_id": "Zebra-q", "findings": "Clear."},
        {"image": "images/Zebra_3.png", "study_id": "Zebra-s5", "subject_id": "Zebra-q", "findings": ""},
        {"image": "../Zebra_3.png", "study_id": "Zebra-s6", "subject_id": "Zebra-q", "findings": "Clear."},
    ]
    (folder / "key").write_bytes(KEY)
    table = csv_of(folder, rows)
    given = ("--pseudonyms", "--pseudonym-key", str(folder / "key"), "--pseudonym-map", str(folder / "map.jsonl"))
    studies = prepare(table, folder / "out", *given)
    assert len(set(studies["study_id"])) == 2 and len(set(studies["subject_id"])) == 1
    assert all(re.fullmatch("study-[0-9a-f]{20}", name) for name in studies["study_id"])
    entries = [json.loads(line) for line in (folder / "out" / "rejected.jsonl").read_text().splitlines()]
    assert entries[0]["reason"] == "row 3 image 1: does not exist"
    assert [entry["files"] for entry in entries] == [[f"row {number} image 1"] for number in (3, 4, 5)]
    assert "Zebra" not in capsys.readouterr().out
    assert not [path for path in (folder / "out").rglob("*") if path.is_file() and b"Zebra" in path.read_bytes()]
    links = [json.loads(line) for line in (folder / "map.jsonl").read_text().splitlines()]
    assert [link["original_study_id"] for link in links] == [row["study_id"] for row in rows]
    assert links[0]["files"] == {"row 1 image 1": "images/Zebra_1.png"}
    assert [link["study_id"] for link in links[:2]] == studies["study_id"][:]
    assert prepare(table, folder / "again", *given[:3])["study_id"] == studies["study_id"][:]


def test_a_map_needs_pseudonyms(tmp_path):
    with pytest.raises(ValueError, match="--pseudonym-map and --pseudonym-key need --pseudonyms"):
        table_source(tmp_path / "t.csv", pseudonym_map=tmp_path / "map")
