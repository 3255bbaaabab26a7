"""Source `open_i` with packed archives: complete, truncated and malicious ones."""

import io
import re

import numpy as np
from PIL import Image

from data.prepare import main
from data.study import load_studies
from tests.helpers.sources.open_i import annotation, given, image_bytes, pack, packed, report, unpacked


def test_packed_archives_give_a_data_set(tmp_path, capsys):
    root = packed(tmp_path / "root")
    out = tmp_path / "out"
    main(["open_i", "--root", str(root), "--out", str(out), "--num-workers", "1", "--split-fractions", "1", "0", "0"])
    rows = load_studies(out)["train"]
    assert rows["study_id"] == rows["subject_id"] == ["CXR1", "CXR2", "CXR3"]
    expected = [np.asarray(Image.open(io.BytesIO(image_bytes(index)))) for index in (4, 5)]
    assert all(np.array_equal(np.asarray(a), b) for a, b in zip(rows[0]["images"], expected, strict=True))
    assert (rows[0]["indication"], rows[0]["findings"], rows[0]["impression"]) == (
        "Cough.",
        "Lungs are clear.",
        "No disease.",
    )
    assert (rows[0]["mesh_terms"], rows[0]["view_positions"]) == (["normal"], ["UNKNOWN", "UNKNOWN"])
    assert (rows[0]["source"], rows[0]["license"]) == ("open_i", "CC BY-NC-ND 4.0")
    assert "given 3 = kept 3 + rejected 0" in capsys.readouterr().out
    assert sorted(path.name for path in root.iterdir()) == ["NLMCXR_png.tgz", "NLMCXR_reports.tgz"]


def test_unpacked_files_give_the_same_studies_as_archives(tmp_path):
    def contents(raw_studies):
        return {
            study_id: (
                raw_study.split,
                raw_study.indication,
                raw_study.findings,
                raw_study.impression,
                raw_study.mesh_terms,
                len(raw_study.files),
            )
            for study_id, raw_study in raw_studies.items()
        }

    from_archives, *_ = given(packed(tmp_path / "packed"))
    from_files, *_ = given(unpacked(tmp_path / "loose", {f"{number}.xml": report(number) for number in (1, 2, 3)}))
    assert contents(from_archives) == contents(from_files)


def test_unpacked_images_are_used_again_after_a_kill(tmp_path):
    root = packed(tmp_path / "root")
    before, *_ = given(root)
    (root / "NLMCXR_png.tgz").write_bytes(b"gone")
    after, rejected, _ = given(root)
    assert before == after and not rejected


def test_truncated_image_archive_keeps_readable_images_and_rejects_the_rest(tmp_path):
    root = packed(tmp_path / "root")
    content = (root / "NLMCXR_png.tgz").read_bytes()
    (root / "NLMCXR_png.tgz").write_bytes(content[: len(content) // 2])  # CXR3 is whole, CXR2 is cut
    kept, rejected, _ = given(root)
    assert list(kept) == ["CXR3"]
    assert list(rejected) == ["CXR1", "CXR2"]
    ends_early = r"NLMCXR_png\.tgz ends early or is damaged after \d files \(.*\); download it again"
    assert re.fullmatch(rf"image 1_IM-01-1001, 1_IM-01-2001 of 1\.xml is not in .*root; {ends_early}", rejected["CXR1"])
    assert re.search(rf"\.png is cut off where NLMCXR_png\.tgz ends early; {ends_early}$", rejected["CXR2"])
    packed(root)
    assert list(given(root)[0]) == ["CXR1", "CXR2", "CXR3"]


def test_truncated_report_archive_is_reported_and_known_studies_are_named(tmp_path):
    root = packed(tmp_path / "root")
    letters = np.random.default_rng(0).integers(97, 123, size=(4, 9000), dtype=np.uint8)  # gzip halves them at most
    texts = {f"{n}.xml": report(n, FINDINGS=letters[n].tobytes().decode()).encode() for n in (1, 2, 3)}
    pack(root / "NLMCXR_reports.tgz", texts)
    content = (root / "NLMCXR_reports.tgz").read_bytes()
    (root / "NLMCXR_reports.tgz").write_bytes(content[: len(content) // 2])
    listed = annotation(tmp_path / "annotation.json", train=["CXR1_IM-01", "CXR3_IM-03"])
    kept, rejected, notes = given(root, annotation=listed)
    assert list(kept) == ["CXR1"]
    assert rejected["CXR2"] == "2.xml is cut off where NLMCXR_reports.tgz ends early"
    assert "is in the annotation, but no report of it was found; NLMCXR_reports.tgz ends early" in rejected["CXR3"]
    assert any("ends early" in note and "download it again" in note for note in notes)


def test_paths_in_an_archive_are_not_followed(tmp_path):
    root = packed(tmp_path / "root", (1,))
    names = ["../../../CXR1_IM-01-1001.png", "/CXR1_IM-01-2001.png", "../../outside.png"]
    pack(root / "NLMCXR_png.tgz", {name: image_bytes() for name in names})
    kept, *_ = given(root)
    assert sorted(path.name for path in (tmp_path / "work").iterdir()) == ["1_IM-01-1001.png", "1_IM-01-2001.png"]
    assert kept["CXR1"].image_root == tmp_path / "work"
    assert not list(tmp_path.rglob("outside.png"))
