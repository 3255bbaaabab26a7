"""A run of eval.batch on tiny studies, with a fake generator that reads the answer from the image.

The fake has the signature of vlm.generator.ReportGenerator.generate; the tests are about what happens to the reports.
"""

import json

import datasets
import pytest

import eval.batch
from data.study import FEATURES
from tests.helpers.fake_generator import FakeGenerator, make_row


@pytest.fixture(scope="module")
def fake_studies(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "studies"
    splits = {
        split: datasets.Dataset.from_list([make_row(number, split) for number in range(size)], features=FEATURES)
        for split, size in (("train", 6), ("validation", 6), ("test", 16))
    }
    datasets.DatasetDict(splits).save_to_disk(folder)
    return folder


@pytest.fixture
def run_batch(fake_studies, tmp_path, monkeypatch):
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    (checkpoint / "config.json").write_text("{}")

    def run_once(*flags, generator=None, output="out", checkpoint=checkpoint, dataset=fake_studies, baseline=None):
        generator = generator or FakeGenerator()

        def load(name):
            return generator if name == str(checkpoint) else baseline

        monkeypatch.setattr(eval.batch.ReportGenerator, "from_pretrained", lambda name, device, precision: load(name))
        argv = ["--checkpoint", str(checkpoint), "--dataset", str(dataset), "--output-dir", str(tmp_path / output)]
        eval.batch.main([*argv, "--batch-size", "3", "--num-resamples", "50", *flags])
        return tmp_path / output

    return run_once


@pytest.fixture(scope="session")
def metrics():
    return lambda folder: json.loads((folder / "metrics.json").read_text(encoding="utf-8"))


@pytest.fixture
def tiny_bert(tmp_path):
    """Folder with the configuration and the tokenizer of a BERT with 3 layers; a test adds the weights."""
    from transformers import BertConfig, BertTokenizer

    words = "the heart is normal in size no pleural effusion large clear lungs ."
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words.split()]
    folder = tmp_path / "tiny_bert"
    BertTokenizer(vocab={word: index for index, word in enumerate(words)}).save_pretrained(folder)
    BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=24,
        initializer_range=0.3,
    ).save_pretrained(folder)
    return folder
