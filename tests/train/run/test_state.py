"""Full states: back to exactly where the run stood."""

import copy
import json

import pytest
import torch
from torch import nn

from train.run.state import (
    Position,
    drop_old_states,
    latest_state,
    load_state,
    save_random_state,
    save_state,
    state_folder,
)


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


def _save(folder, model, optimizer, position):
    save_random_state(folder, 0)
    save_state(folder, model, optimizer, position)


def test_a_loaded_state_goes_on_to_the_same_losses(tmp_path):
    inputs = torch.randn(8, 5, 3)
    model = _model()
    optimizer = _optimizer(model)
    _steps(model, optimizer, inputs[:4])
    _save(state_folder(tmp_path, 4), model, optimizer, Position(step=4, epoch=1, best=(0.5, -1.0), best_epoch=0))
    expected = _steps(model, optimizer, inputs[4:])

    other = copy.deepcopy(_model())
    other_optimizer = _optimizer(other)
    torch.manual_seed(999)
    position = load_state(latest_state(tmp_path), other, other_optimizer)
    assert position == Position(step=4, epoch=1, best=(0.5, -1.0), best_epoch=0)
    assert _steps(other, other_optimizer, inputs[4:]) == expected


def test_a_half_written_state_is_never_the_latest(tmp_path):
    model = _model()
    _save(state_folder(tmp_path, 1), model, _optimizer(model), Position(step=1))
    (tmp_path / "step-00000002.partial").mkdir()
    assert latest_state(tmp_path) == state_folder(tmp_path, 1)


def test_only_the_newest_states_are_kept(tmp_path):
    for step in (5, 10, 100):
        state_folder(tmp_path, step).mkdir()
    drop_old_states(tmp_path, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000010", "step-00000100"]


def test_a_state_of_another_model_is_rejected_by_name(tmp_path):
    model = _model()
    folder = state_folder(tmp_path, 1)
    _save(folder, model, _optimizer(model), Position(step=1))
    other = nn.Sequential(nn.Linear(3, 4))
    with pytest.raises(ValueError, match="step-00000001 is a state of another model"):
        load_state(folder, other, _optimizer(other))


def test_a_state_of_fewer_processes_is_rejected(tmp_path):
    model = _model()
    folder = state_folder(tmp_path, 1)
    _save(folder, model, _optimizer(model), Position(step=1))
    with pytest.raises(ValueError, match="fewer processes"):
        load_state(folder, model, _optimizer(model), rank=1)


def test_states_hold_no_pickle(tmp_path):
    model = _model()
    folder = state_folder(tmp_path, 1)
    _save(folder, model, _optimizer(model), Position(step=1))
    assert {path.suffix for path in folder.iterdir()} == {".safetensors", ".json"}
    assert json.loads((folder / "position.json").read_text())["step"] == 1
