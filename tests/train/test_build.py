"""The model that the options describe."""

import torch

from train import build
from train.build import build_model, build_tokenizer
from train.options import ArchitectureOptions, FinetuneOptions
from vlm.checkpoint.store import SHIPPED, load_checkpoint


def test_the_encoder_can_be_that_of_the_shipped_checkpoint(tiny_checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(build, "SHIPPED_CHECKPOINT", tiny_checkpoint)
    options = FinetuneOptions(
        dataset=str(tmp_path),
        output_dir=str(tmp_path / "run"),
        encoder=SHIPPED,
        decoder="nano",
        lora=False,
        architecture=ArchitectureOptions(vocab_size=300),
    )
    model = build_model(options, build_tokenizer(options, ["No pneumothorax."]))
    shipped = load_checkpoint(tiny_checkpoint).model.encoder.state_dict()
    encoder = model.encoder.state_dict()
    assert encoder.keys() == shipped.keys()
    assert all(torch.equal(encoder[name], weights) for name, weights in shipped.items())
