"""Which models can be divided among processes, and the decoder that runs in all of them."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from train.run.shard import check_shard, match_batches

TWO = SimpleNamespace(num_processes=2, device=torch.device("cpu"))


def test_model_that_cannot_be_divided_is_rejected_with_the_reason():
    check_shard(nn.Linear(2, 2), TWO, with_priors=False)
    with pytest.raises(ValueError, match=r"batch normalization, such as cnn or resnet; .* or give a ViT"):
        check_shard(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)), TWO, with_priors=False)
    with pytest.raises(ValueError, match=r"--shard trains no comparison .* give --prior off"):
        check_shard(nn.Linear(2, 2), TWO, with_priors=True)
    with pytest.raises(ValueError, match=r"only one; start several: accelerate launch .* train/finetune.py --shard"):
        gpu = SimpleNamespace(num_processes=1, device=torch.device("cuda"))
        check_shard(nn.Linear(2, 2), gpu, with_priors=False)


def _batch(length, name):
    return {"input_ids": torch.ones(3, length), "attention_mask": torch.ones(3, length), "name": name}


def test_batch_without_reports_gets_a_masked_token_only_if_another_process_has_reports():
    """The other process has reports in the second and third batch."""
    given = [_batch(1, "a"), _batch(1, "b"), _batch(5, "c")]
    accelerator = SimpleNamespace(device=torch.device("cpu"), reduce=lambda own: own + torch.tensor([0.0, 1.0, 1.0]))
    first, second, third = match_batches(given, accelerator)
    assert first is given[0] and third is given[2]
    assert second["name"] == "b"
    assert second["input_ids"].shape == (3, 2)
    assert second["attention_mask"].tolist() == [[1, 0]] * 3
