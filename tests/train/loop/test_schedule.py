"""Learning-rate schedule and parameter groups."""

import itertools

import pytest
import torch
from torch import nn

from train.loop.step import FAST_RATE, build_optimizer, learning_rate_factor, set_learning_rate


def test_learning_rate_rises_in_the_warm_up_and_falls_to_zero():
    factors = [learning_rate_factor(step, num_steps=100, warmup_fraction=0.1) for step in range(100)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[9] == factors[10] == pytest.approx(1.0)
    assert factors[55] == pytest.approx(0.5)
    assert all(later < earlier for earlier, later in itertools.pairwise(factors[10:]))
    assert factors[-1] < 0.001


def test_parameter_groups_without_decay_of_vectors_and_with_an_encoder_rate():
    model = nn.ModuleDict({"encoder": nn.Linear(2, 3), "head": nn.Linear(3, 1), "frozen": nn.Linear(1, 1)})
    model["frozen"].requires_grad_(False)
    optimizer = build_optimizer(model, learning_rate=1.0, encoder_learning_rate=0.1, weight_decay=0.05)
    set_learning_rate(optimizer, 0.5)
    found = {
        tuple(parameter.shape): (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    assert found == {(3, 2): (0.05, 0.05), (3,): (0.05, 0.0), (1, 3): (0.5, 0.05), (1,): (0.5, 0.0)}


def test_parts_that_start_at_0_learn_with_a_higher_rate():
    model = nn.ModuleDict({"severity_head": nn.Linear(2, 3), "finding_queries": nn.Linear(3, 1)})
    model.register_parameter("change_embedding", nn.Parameter(torch.zeros(5, 2)))
    optimizer = build_optimizer(model, learning_rate=0.1, encoder_learning_rate=None, weight_decay=0.0)
    set_learning_rate(optimizer, 0.5)
    rates = {parameter: group["lr"] for group in optimizer.param_groups for parameter in group["params"]}
    assert rates[model["severity_head"].weight] == rates[model["severity_head"].bias] == 0.05 * FAST_RATE
    assert rates[model.change_embedding] == 0.05 * FAST_RATE
    assert rates[model["finding_queries"].weight] == 0.05


def test_each_parameter_is_in_one_group():
    model = nn.Linear(4, 4)
    optimizer = build_optimizer(model, learning_rate=1.0, encoder_learning_rate=None, weight_decay=0.0)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    assert len(parameters) == 2
    assert isinstance(optimizer, torch.optim.AdamW)
