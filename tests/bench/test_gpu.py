"""bench.gpu on a CPU: the program runs, and says that its figures mean nothing there."""

import json

import pytest
import torch

from bench import gpu


def test_program_measures_both_sides_and_a_training_step(tmp_path, capsys):
    output = tmp_path / "gpu.json"
    record = gpu.main(["--device", "cpu", "--output", str(output)])
    assert json.loads(output.read_text()) == json.loads(json.dumps(record))
    assert [one["num_studies"] for one in record["generation"]] == [1, 64]
    assert all(one["ratio"] > 0 and one["bandwidth_share"] > 0 for one in record["generation"])
    assert record["training"]["flops"] > 0
    assert record["training"]["flops_utilization"] > 0
    assert record["note"] == gpu.MEANINGLESS
    assert "mean nothing" in capsys.readouterr().out


@pytest.mark.skipif(torch.cuda.is_available(), reason="tests a machine without a GPU")
def test_machine_without_gpu_is_an_error_with_the_fix():
    with pytest.raises(ValueError, match=r"no NVIDIA GPU .* give --device cpu"):
        gpu.GpuOptions()
