"""The options of an archive run reach the worker, and what cannot work is explained before Ray starts."""

import re
import shutil

import pyarrow
import pytest

from page.archive.__main__ import ArchiveOptions, main, worker_options
from page.archive.reader import Reader
from page.study.read import read_files
from page.study.row import study_row
from page.study.upload import read_upload
from page.study.worklist import StudySource
from vlm.generator import GenerationOptions, ReportGenerator
from vlm.operating_point import OperatingPoint, RocCurve
from vlm.schema.findings import FINDINGS, NUM_FINDINGS
from vlm.uncertainty import save_curves


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_rows_are_those_of_a_single_study_with_the_same_options(tiny_checkpoint, tmp_path, images, precision):
    checkpoint = shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint")
    curve = RocCurve(thresholds=(0.99, 0.01), sensitivities=(0.1, 1.0), specificities=(1.0, 0.1))
    save_curves(checkpoint, (curve,) * NUM_FINDINGS)
    path = tmp_path / "one.png"
    images[0].save(path)
    options = ArchiveOptions(
        input=tmp_path,
        output=tmp_path / "out",
        checkpoint=str(checkpoint),
        max_new_tokens=6,
        num_candidates=3,
        operating_point="sensitivity=0.9",
        precision=precision,
        write_anyway=True,
    )

    def source_of(row, preprocessing):
        image = read_upload(path.read_bytes(), path.name, preprocessing)
        return StudySource(name=path.name, files=(path.name,), images=(lambda: image,))

    [row] = Reader(source_of, worker_options(options))(pyarrow.table({"study": [path.name]})).to_pylist()
    generator = ReportGenerator.from_pretrained(checkpoint, precision=precision)
    generator = generator.at(OperatingPoint.parse("sensitivity=0.9"))
    generation = GenerationOptions(max_new_tokens=6, num_candidates=3)
    *_, reading = read_files(generator, [path], options=generation, write_anyway=True)
    expected = study_row(generator, reading, path.name, files=[path.name])
    assert (row["report"], row["model"]) == (expected.report, expected.model)
    assert set(row["predicted_positive"]) == {name for name in FINDINGS if row[name] >= 0.01} != set()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--operating-point", "sensitivity=0.9"], r"has no ROC curves.*python -m train.fit_roc adds"),
        (["--operating-point", "recall"], "unknown operating point 'recall'"),
        (["--num-candidates", "17"], "--num-candidates is 17; give 1 to 16"),
        (["--precision", "int8", "--device", "cuda"], "--precision int8 works on a CPU only"),
    ],
)
def test_options_that_cannot_work_are_explained_before_workers_start(tiny_checkpoint, tmp_path, capsys, flags, message):
    given = ["--input", str(tmp_path), "--output", str(tmp_path / "out"), "--checkpoint", str(tiny_checkpoint)]
    with pytest.raises((ValueError, SystemExit)) as stopped:
        main([*given, *flags])
    printed = " ".join((str(stopped.value) + capsys.readouterr().err).replace("│", " ").split())
    assert re.search(message, printed)
    assert not (tmp_path / "out").exists()
