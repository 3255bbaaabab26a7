"""Saved states: a resumed run continues exactly."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import nn

from train.run.state import Progress, RunStates, ValidationResult


def _model():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))
    model[0].requires_grad_(False)
    return model


def _optimizer(model):
    return torch.optim.AdamW([parameter for parameter in model.parameters() if parameter.requires_grad], lr=0.1)


def _steps(model, optimizer, inputs):
    losses = []
    for row in inputs:
        loss = model(row).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def _states(folder, model, optimizer, *, keep=9):
    return RunStates(folder, model, optimizer, Accelerator(cpu=True), keep=keep)


def test_loaded_state_continues_with_the_same_losses(tmp_path):
    inputs = torch.randn(8, 5, 3)
    model = _model()
    optimizer = _optimizer(model)
    _steps(model, optimizer, inputs[:4])
    progress = Progress(step=4, epoch=1, best_epoch=0)
    best = ValidationResult(
        metrics={"report_cider": 0.1 + 0.2, "report_macro_f1": None},
        loss=float(np.float32(0.3)),
        studies={"cider": np.array([0.1, 0.2]), "number": np.array([0, 3])},
    )
    _states(tmp_path, model, optimizer).save(progress, {"best": best})
    expected = _steps(model, optimizer, inputs[4:])

    other = _model()
    other_optimizer = _optimizer(other)
    torch.manual_seed(999)
    found, found_validations = _states(tmp_path, other, other_optimizer).resume()
    assert found == progress
    found_best = found_validations["best"]
    assert found_validations.keys() == {"best"}
    assert replace(found_best, studies={}) == replace(best, studies={})
    for name, values in best.studies.items():
        np.testing.assert_array_equal(found_best.studies[name], values, strict=True)
    assert _steps(other, other_optimizer, inputs[4:]) == expected


def test_run_without_a_state_starts_from_the_beginning(tmp_path):
    model = _model()
    assert _states(tmp_path, model, _optimizer(model)).resume() == (Progress(), {})


def test_unfinished_state_is_ignored_and_deleted(tmp_path):
    model = _model()
    states = _states(tmp_path, model, _optimizer(model))
    states.save(Progress(step=1))
    partial = tmp_path / "states" / "step-00000002.partial"
    partial.mkdir()
    assert states.resume() == (Progress(step=1), {})
    assert not partial.exists()


def test_only_the_newest_states_are_kept(tmp_path):
    model = _model()
    states = _states(tmp_path, model, _optimizer(model), keep=2)
    for step in (5, 10, 100):
        states.save(Progress(step=step))
    assert [path.name for path in states.complete()] == ["step-00000010", "step-00000100"]
    assert len(list((tmp_path / "states").iterdir())) == 2


def test_state_of_another_model_is_rejected(tmp_path):
    model = _model()
    _states(tmp_path, model, _optimizer(model)).save(Progress(step=1))
    other = nn.Sequential(nn.Linear(3, 4))
    with pytest.raises(ValueError, match="step-00000001 is a state of another model"):
        _states(tmp_path, other, _optimizer(other)).resume()


@pytest.mark.parametrize(("num_saved", "num_resumed"), [(1, 2), (2, 1)])
def test_state_of_another_number_of_processes_is_rejected(tmp_path, num_saved, num_resumed):
    model = _model()
    states = _states(tmp_path, model, _optimizer(model))
    states.save(Progress(step=1))
    folder = tmp_path / "states" / "step-00000001"
    for rank in range(1, num_saved):
        shutil.copy(folder / "random-0.safetensors", folder / f"random-{rank}.safetensors")
    states.accelerator = SimpleNamespace(process_index=0, num_processes=num_resumed)
    with pytest.raises(ValueError, match=rf"{num_saved} process\(es\), but this one has {num_resumed}; "):
        states.resume()


def test_states_contain_no_pickle(tmp_path):
    model = _model()
    _states(tmp_path, model, _optimizer(model)).save(Progress(step=1))
    folder = tmp_path / "states" / "step-00000001"
    assert {path.suffix for path in folder.iterdir()} == {".safetensors", ".json"}
    assert json.loads((folder / "progress.json").read_text())["step"] == 1
