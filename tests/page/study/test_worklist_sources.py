"""Files of many studies grouped into studies; malicious zips."""

import pytest

import page.study.sources
import page.study.zip_archive
from data.images.pixels import ImageRejected
from page.study.sources import SourceFile, group_studies, open_sources
from tests.helpers.files.zip_files import png, with_oversized_directory, with_second_directory, zipped


def studies_in(*sources):
    with open_sources(sources) as (files, rejections):
        return [(name, [file.name for file in study]) for name, study in group_studies(files)], [
            str(rejected) for rejected in rejections
        ]


def test_images_of_a_subfolder_are_one_study_and_the_common_parent_is_ignored(tmp_path):
    names = ["out/a/1.png", "out/a/2.png", "out/b/c/1.png", "out/top.png", "__MACOSX/out/._top.png", "out/.DS_Store"]
    studies, rejections = studies_in(zipped(tmp_path / "x.zip", dict.fromkeys(names, png())))
    assert studies == [
        ("a", ["out/a/1.png", "out/a/2.png"]),
        ("out/b/c/1.png", ["out/b/c/1.png"]),
        ("out/top.png", ["out/top.png"]),
    ]
    assert rejections == []


def test_files_of_a_single_or_large_folder_are_one_study_each(tmp_path):
    one = zipped(tmp_path / "one.zip", {f"scans/{number}.png": png() for number in range(3)})
    many = {f"normal/{number}.png": png() for number in range(7)} | {"ill/1.png": png(), "ill/2.png": png()}
    assert [len(files) for _, files in studies_in(one)[0]] == [1, 1, 1]
    assert sorted(len(files) for _, files in studies_in(zipped(tmp_path / "many.zip", many))[0]) == [1] * 7 + [2]


def test_dicom_files_are_grouped_by_study_uid(tmp_path, dicom):
    content = {uid: dicom(StudyInstanceUID=uid).read_bytes() for uid in ("1.2.3", "1.2.4")}
    loose = tmp_path / "loose"
    loose.write_bytes(content["1.2.3"])
    archive = zipped(
        tmp_path / "x.zip", {"a/1": content["1.2.3"], "a/2": content["1.2.4"], "b/3": content["1.2.3"], "b/4": png()}
    )
    assert studies_in(archive, loose)[0] == [("a/1", ["a/1", "b/3", "loose"]), ("a/2", ["a/2"]), ("b/4", ["b/4"])]


def test_dicom_studies_of_one_folder_with_invalid_uids_stay_apart(tmp_path, dicom):
    content = [dicom(StudyInstanceUID=uid).read_bytes() for uid in ("1.2.03", "1.2.04", "1.2.03")]
    names = ["a/1", "a/2", "a/3"]
    archive = zipped(tmp_path / "x.zip", dict(zip(names, content, strict=True)) | {"b": png()})
    assert studies_in(archive)[0] == [("a/1", ["a/1", "a/3"]), ("a/2", ["a/2"]), ("b", ["b"])]


def test_symbolic_links_out_of_a_folder_are_named_and_not_followed(tmp_path):
    (tmp_path / "secret.png").write_bytes(png())
    for name in ("a/1.png", "a/2.png", "b/1.png"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(png())
    (tmp_path / "in" / "link.png").symlink_to(tmp_path / "secret.png")
    with open_sources([tmp_path / "in"]) as (files, _):
        studies = [(name, [file.name for file in study]) for name, study in group_studies(files)]
        [link] = [file for file in files if file.name == "link.png"]
        with pytest.raises(ImageRejected, match=r"link\.png: is a link to a file outside the archive"):
            link.read()
    assert studies == [("link.png", ["link.png"]), ("a", ["a/1.png", "a/2.png"]), ("b/1.png", ["b/1.png"])]


def test_subfolders_of_a_folder_keep_their_names_when_files_are_added(tmp_path):
    for name in ("x/p/1.png", "x/p/2.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(png())
    before = studies_in(tmp_path)[0]
    (tmp_path / "y.png").write_bytes(png())
    assert before == [("x/p", ["x/p/1.png", "x/p/2.png"])]
    assert studies_in(tmp_path)[0] == [("y.png", ["y.png"]), *before]


def test_folder_can_skip_files_and_has_no_limit_on_request(tmp_path, monkeypatch):
    for name in ("1.png", "2.png", "out/3.png", "DICOMDIR"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(png())
    monkeypatch.setattr(page.study.sources, "MAX_FILES", 2)
    with pytest.raises(ValueError, match="more than the 10,000 files"), open_sources([tmp_path]):
        pass
    with open_sources([tmp_path], is_limited=False, skipped=[tmp_path / "out"]) as (files, _):
        assert [file.name for file in files] == ["1.png", "2.png"]


def test_studies_of_the_same_name_get_numbers(tmp_path):
    archives = [zipped(tmp_path / f"{name}.zip", {"chest.png": png()}) for name in "xy"]
    assert [name for name, _ in studies_in(*archives)[0]] == ["chest.png", "chest.png (2)"]


def test_files_of_a_zip_can_be_read_after_the_upload_is_removed(tmp_path):
    path = zipped(tmp_path / "x.zip", {"a.png": png(7), "b.png": png(9)})
    with open_sources([path]) as (files, _):
        path.unlink()
        assert [file.read() for file in files] == [png(7), png(9)]


def test_equal_names_in_two_zips_are_two_studies(tmp_path):
    archives = [zipped(tmp_path / f"{name}.zip", {"chest.png": png()}) for name in "xy"]
    assert len(studies_in(*archives)[0]) == 2


def test_unusable_sources_are_named_and_the_others_are_kept(tmp_path):
    (tmp_path / "broken.zip").write_bytes(zipped(tmp_path / "whole.zip", {"a.png": png()}).read_bytes()[:40])
    studies, rejections = studies_in(
        tmp_path / "broken.zip",
        tmp_path / "gone.png",
        zipped(tmp_path / "none.zip", {"d/": b""}),
        tmp_path / "whole.zip",
    )
    assert [name for name, _ in studies] == ["a.png"]
    assert rejections == [
        "broken.zip: is a damaged zip: its end is missing; fetch or export it again",
        "gone.png: no longer exists; upload it again",
        "none.zip: holds no file",
    ]


def test_too_many_files_are_rejected_before_reading(tmp_path, monkeypatch):
    monkeypatch.setattr(page.study.sources, "MAX_FILES", 3)
    four = zipped(tmp_path / "four.zip", {f"{number}.png": png() for number in range(4)})
    assert studies_in(four) == (
        [],
        ["four.zip: holds more than the 10,000 files of one worklist; split them into several worklists"],
    )
    two = zipped(tmp_path / "two.zip", {"1.png": png(), "2.png": png()})
    with pytest.raises(ValueError, match="more than the 10,000 files"):
        studies_in(two, two)


@pytest.mark.parametrize("trick", [with_oversized_directory, with_second_directory])
def test_oversized_zip_directory_is_not_opened(tmp_path, monkeypatch, trick):
    path = zipped(tmp_path / "x.zip", {"a.png": png()})
    path.write_bytes(trick(path.read_bytes()))
    monkeypatch.setattr(page.study.zip_archive.zipfile, "ZipFile", None)  # would raise another error
    assert studies_in(path)[1][0].startswith("x.zip: holds more than the 10,000 files")


def test_every_file_belongs_to_one_study():
    files = [
        SourceFile(name=str(number), folder=folder, study_uid=uid, read=bytes)
        for number, (folder, uid) in enumerate([("a", ""), ("a", "1.2"), ("", ""), ("b", "1.2"), ("a", ""), ("", "")])
    ]
    studies = group_studies(files)
    assert [[file.name for file in study] for _, study in studies] == [["0", "4"], ["1", "3"], ["2"], ["5"]]
