"""Tokenizers: trained on reports, GPT-2's own; prompts, reports, pieces of text."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from vlm.inputs.tokenizer import TextPieces, encode_prompt, encode_report, load_tokenizer, train_tokenizer

GPT2_FILES = Path("../shared/data/gpt2_tokenizer")
AWKWARD = [
    "The heart is enlarged .  Two  spaces , and\ta tab\nand lines\r\n",
    " leading and trailing ",
    "Größe ≥ 5 °C, 肺炎 🫁, café, a\u0301, ZWJ 👩\u200d⚕️, \ufffd",
    "don't 's 're cm2 3.5x4 <|end ___ XXXX",
    "",
]


@pytest.mark.parametrize("text", AWKWARD)
def test_decoding_an_encoded_text_gives_the_text(text, tiny_tokenizer, tmp_path):
    assert tiny_tokenizer.decode(tiny_tokenizer.encode(text)) == text
    tiny_tokenizer.save_pretrained(tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert loaded.decode(loaded.encode(text)) == text


def test_vocabulary_is_learned_from_the_texts_within_its_size():
    tokenizer = train_tokenizer(["pleural effusion"] * 3, vocab_size=265)
    assert len(tokenizer) == 265
    assert len(tokenizer.encode("pleural effusion")) < len(tokenizer.encode("larulep noisuffe"))
    large = train_tokenizer(["pleural effusion"] * 3, vocab_size=400)
    assert large.convert_ids_to_tokens(large.encode("pleural effusion")) == ["pleural", "Ġeffusion"]
    assert len(large) < 300


def test_trained_tokenizer_has_one_special_token_for_start_end_and_padding(tiny_tokenizer):
    assert tiny_tokenizer.bos_token_id == tiny_tokenizer.eos_token_id == tiny_tokenizer.pad_token_id == 0
    assert tiny_tokenizer.convert_ids_to_tokens(0) == "<|endoftext|>"


def test_saving_and_loading_keeps_every_id(tiny_tokenizer, tmp_path):
    tiny_tokenizer.save_pretrained(tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert loaded.get_vocab() == tiny_tokenizer.get_vocab()
    assert (loaded.bos_token_id, loaded.eos_token_id, loaded.pad_token_id) == (0, 0, 0)


@pytest.mark.skipif(not GPT2_FILES.is_dir(), reason=f"GPT-2's vocabulary is not at {GPT2_FILES}")
def test_vocabulary_of_gpt2_gives_its_known_ids(tmp_path):
    tokenizer = load_tokenizer(GPT2_FILES)
    assert len(tokenizer) == 50257
    assert tokenizer.encode("Hello world") == [15496, 995]
    assert tokenizer.encode("The quick brown fox") == [464, 2068, 7586, 21831]
    assert tokenizer.eos_token_id == tokenizer.bos_token_id == tokenizer.pad_token_id == 50256
    for text in AWKWARD:
        assert tokenizer.decode(tokenizer.encode(text)) == text
    tokenizer.save_pretrained(tmp_path)
    assert load_tokenizer(tmp_path).encode("Hello world") == [15496, 995]


def test_incomplete_tokenizer_is_rejected(tiny_tokenizer, tmp_path):
    with pytest.raises(ValueError, match=r"tokenizer.json is missing; the folder has no tokenizer"):
        load_tokenizer(tmp_path)
    (tmp_path / "vocab.json").write_text("{}")
    with pytest.raises(ValueError, match=r"has vocab.json but no merges.txt"):
        load_tokenizer(tmp_path)
    whole = tmp_path / "whole"
    tiny_tokenizer.save_pretrained(whole)
    text = (whole / "tokenizer.json").read_text()
    (whole / "tokenizer.json").write_text(text[: len(text) // 2])
    with pytest.raises(ValueError, match=r"no tokenizer can be read from .*whole"):
        load_tokenizer(whole)
    (whole / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match=r"no tokenizer can be read from .*whole"):
        load_tokenizer(whole)
    with pytest.raises(ValueError, match="no tokenizer can be read from 'nobody/has-this'"):
        load_tokenizer("nobody/has-this")


def test_report_has_start_and_end_token(tiny_tokenizer):
    ids = encode_report(tiny_tokenizer, "Clear.", max_tokens=100)
    assert ids[0] == ids[-1] == 0
    assert tiny_tokenizer.decode(ids[1:-1]) == "Clear."


def test_truncated_report_has_no_end_token(tiny_tokenizer):
    whole = encode_report(tiny_tokenizer, "Clear lungs, no effusion.", max_tokens=100)
    to_learn = len(whole) - 1
    assert encode_report(tiny_tokenizer, "Clear lungs, no effusion.", max_tokens=to_learn) == whole
    cut = encode_report(tiny_tokenizer, "Clear lungs, no effusion.", max_tokens=to_learn - 1)
    assert cut == whole[:-1]
    assert encode_report(tiny_tokenizer, "Clear lungs, no effusion.", max_tokens=3) == whole[:4]


def test_prompt_has_the_indication_and_is_empty_without_one(tiny_tokenizer):
    ids = encode_prompt(tiny_tokenizer, " cough ")
    assert tiny_tokenizer.decode(ids) == "Indication: cough\n"
    assert encode_prompt(tiny_tokenizer, "  \n") == []
    assert encode_prompt(tiny_tokenizer, "word " * 200) == encode_prompt(tiny_tokenizer, "word " * 300)
    assert len(encode_prompt(tiny_tokenizer, "word " * 200)) == 48


@pytest.mark.parametrize("text", AWKWARD)
def test_pieces_join_to_the_text_and_have_whole_characters(text, tiny_tokenizer):
    stream = TextPieces(tiny_tokenizer)
    ids = tiny_tokenizer.encode(text)
    pieces = [stream.add(token) for token in ids]
    assert "".join(pieces) + stream.finish() == text
    for piece in pieces:
        assert "\ufffd" not in piece or "\ufffd" in text


def test_incomplete_character_is_marked_at_the_end(tiny_tokenizer):
    stream = TextPieces(tiny_tokenizer)
    ids = tiny_tokenizer.encode("ok 肺")[:-1]
    assert "".join(stream.add(token) for token in ids) == "ok "
    assert stream.finish() == "\ufffd" == tiny_tokenizer.decode(ids)[3:]


def test_pieces_of_invalid_bytes_join_to_the_decoded_text(tiny_tokenizer):
    ids = [(7 * number) % len(tiny_tokenizer) for number in range(1, 200)]
    stream = TextPieces(tiny_tokenizer)
    assert "".join([*map(stream.add, ids), stream.finish()]) == tiny_tokenizer.decode(ids)


def test_piece_is_decoded_with_a_bounded_context(tiny_tokenizer, monkeypatch):
    ids = tiny_tokenizer.encode("The heart is enlarged. " * 20)
    decode, lengths = tiny_tokenizer.decode, []
    monkeypatch.setattr(tiny_tokenizer, "decode", lambda ids: lengths.append(len(ids)) or decode(ids))
    stream = TextPieces(tiny_tokenizer)
    for token in ids:
        stream.add(token)
    assert len(ids) > 100 and max(lengths) == 2


@pytest.mark.parametrize("vocabulary", [{"<|endoftext|>": 0}, {"<|endoftext|>": 0, "x": 1}])
def test_tokenizer_that_cannot_write_a_sentence_is_rejected(vocabulary, tmp_path):
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(vocabulary, unk_token="<|endoftext|>")),
        bos_token="<|endoftext|>",
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
    )
    tokenizer.save_pretrained(str(tmp_path))
    with pytest.raises(ValueError, match=f"has {len(vocabulary)} tokens and cannot write a report: it turns"):
        load_tokenizer(tmp_path)
