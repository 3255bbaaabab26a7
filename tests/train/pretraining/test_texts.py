"""Pretraining on reports: tokens in the loss, and positions."""

import pytest
import torch

from train.pretraining.texts import IGNORED, LanguageModel, ReportTexts, reports_of
from vlm.schema.report_format import compose_report


@pytest.fixture
def texts(small_studies, tiny_tokenizer):
    return ReportTexts(small_studies["train"], tiny_tokenizer, max_report_tokens=40, max_position_shift=9)


@pytest.fixture
def model(tiny_tokenizer):
    return LanguageModel("nano", tiny_tokenizer).eval()


def test_only_the_report_counts_in_the_loss(small_studies, tiny_tokenizer, texts):
    row = small_studies["train"][0]
    report = compose_report(findings=row["findings"], impression=row["impression"])
    texts.max_report_tokens = 1000
    texts.indications[0] = "cough"
    prompt = tiny_tokenizer.encode("Indication: cough\n")
    end = tiny_tokenizer.eos_token_id
    batch = texts.collate([texts[0]])
    learned = [*tiny_tokenizer.encode(report), end]
    assert batch["input_ids"].tolist() == [[*prompt, end, *learned]]
    assert batch["labels"].tolist() == [[IGNORED] * (len(prompt) + 1) + learned]


def test_truncated_report_has_no_end_token(tiny_tokenizer, texts):
    text = texts[0]
    assert len(text.token_ids) == text.report_start + 41
    assert text.token_ids[-1] != tiny_tokenizer.eos_token_id


def test_padding_does_not_change_the_loss(texts, model):
    texts.max_report_tokens = 1000
    samples = [texts[0], texts[1]]
    assert len(samples[0].token_ids) != len(samples[1].token_ids)
    with torch.no_grad():
        apart = sum(model(**texts.collate([sample])) for sample in samples)
        together = model(**texts.collate(samples))
    assert float(together) == pytest.approx(float(apart), rel=1e-5)


def test_loss_equals_that_of_transformers(texts, model):
    batch = texts.collate([texts[0], texts[1]])
    with torch.no_grad():
        mean = model.language_model(**batch).loss
    assert model(**batch).item() == pytest.approx(float(mean) * int((batch["labels"] != IGNORED).sum()), rel=1e-5)


def test_start_position_is_random_in_each_epoch(texts):
    def starts():
        return [texts[number].position for number in range(len(texts))]

    first = starts()
    assert starts() == first
    assert len(set(first)) > 3
    assert set(first) <= set(range(10))
    texts.epoch = 1
    assert starts() != first
    positions = texts.collate([texts[0]])["position_ids"][0]
    assert positions.tolist() == list(range(texts[0].position, texts[0].position + len(texts[0].token_ids)))


def test_studies_without_a_report_are_left_out(small_studies):
    rows = small_studies["train"].map(
        lambda row, number: {"findings": "" if number else "Clear.", "impression": "", "indication": f"pain {number}"},
        with_indices=True,
        keep_in_memory=True,
    )
    assert reports_of(rows) == (["Findings: Clear."], ["pain 0"])
