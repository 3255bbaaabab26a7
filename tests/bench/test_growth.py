"""Growth: the figures of a program are those of its own process; simulated studies can be prepared and scored."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench import growth
from bench.speed.simulated import write_predictions, write_studies
from eval.predictions.prediction import Prediction, read_lines
from vlm.schema.findings import POSITIVE, UNCERTAIN


def test_figures_of_a_program_are_saved_and_kept(tmp_path, capsys):
    output = tmp_path / "growth.json"
    for number in ("4", "3"):
        growth.main(["--numbers", number, "--only", "prepare", "--output", str(output)])
    assert "4 studies, data.prepare table" in capsys.readouterr().out
    measured = json.loads(output.read_text())["programs"]["data.prepare table"]
    assert list(measured) == ["3", "4"]
    for figures in measured.values():
        assert 0.1 < figures["cpu_seconds"] < 60
        assert 20 < figures["peak_mib"] < 2000


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells the memory")
def test_memory_of_a_program_is_its_peak_without_files(tmp_path):
    (tmp_path / "file").write_bytes(bytes(100 * 2**20))
    program = (
        "import numpy as np, time, sys\n"
        "a = np.ones(30 * 2**20, dtype=np.uint8); time.sleep(.2); del a\n"
        f"print(np.memmap({str(tmp_path / 'file')!r}, dtype=np.uint8, mode='r').sum())"
    )
    (tmp_path / "uses_memory.py").write_text(program)
    (tmp_path / "uses_none.py").write_text("import numpy as np, time; time.sleep(.2)")
    peaks = {}
    for module in ("uses_memory", "uses_none"):
        figures = tmp_path / f"{module}.json"
        command = [sys.executable, "-m", "bench.speed.program", str(figures), module]
        subprocess.run(command, check=True, env=os.environ | {"PYTHONPATH": str(tmp_path)}, cwd=growth.ROOT)
        peaks[module] = json.loads(figures.read_text())["peak_mib"]
    assert 25 <= peaks["uses_memory"] - peaks["uses_none"] <= 45


def test_failed_program_is_named_with_its_message(tmp_path):
    with pytest.raises(RuntimeError, match=r"(?s)data.audit .*missing ended with status 2.*missing"):
        growth._run(tmp_path / "figures.json", ["data.audit", str(tmp_path / "missing")])


def test_wrong_options_are_rejected():
    with pytest.raises(ValueError, match="--only train is not measured; choose from prepare, audit, drafts, score"):
        growth.GrowthOptions(only=("train",))
    with pytest.raises(ValueError, match="--numbers are"):
        growth.GrowthOptions(numbers=(0,))


def test_simulated_studies_are_the_same_for_every_number(tmp_path):
    few, many = (write_studies(tmp_path / str(number), number) for number in (3, 5))
    assert many.read_text().startswith(few.read_text())
    images = [path.read_bytes() for path in (tmp_path / "5" / "images").iterdir()]
    assert len(set(images)) == 5


def test_simulated_predictions_agree_with_their_reference_more_than_by_chance(tmp_path):
    write_predictions(tmp_path / "predictions.jsonl", 60)
    predictions = read_lines(tmp_path / "predictions.jsonl", Prediction)
    assert len({prediction.report for prediction in predictions}) > 50
    present, absent = [], []
    for prediction in predictions:
        for label, probability in zip(prediction.reference_labels, prediction.probabilities, strict=True):
            (present if label in (POSITIVE, UNCERTAIN) else absent).append(probability)
    assert sum(present) / len(present) > sum(absent) / len(absent) + 0.1
