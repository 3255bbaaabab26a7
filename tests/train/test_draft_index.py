"""The program that adds an index to a checkpoint: same reports, errors."""

import shutil
from dataclasses import replace

import pytest

from train.draft_index import main
from vlm.checkpoint.store import load_checkpoint, merge_checkpoint, save_checkpoint
from vlm.drafting import DRAFTS_FILE
from vlm.generator import GenerationOptions, ReportGenerator

OPTIONS = GenerationOptions(max_new_tokens=30)


@pytest.fixture
def folder(tiny_checkpoint, tmp_path):
    return shutil.copytree(tiny_checkpoint, tmp_path / "own")


def test_checkpoint_gets_an_index_and_writes_the_same_reports(folder, small_dataset, images, tmp_path, capsys):
    before = ReportGenerator.from_pretrained(folder, device="cpu")
    assert before.drafts is None
    main(["--checkpoint", str(folder), "--dataset", str(small_dataset)])
    assert "entries from 16 training reports" in capsys.readouterr().out
    after = ReportGenerator.from_pretrained(folder, device="cpu")
    assert after.drafts.next_tokens
    for views in (images[:2], images[2:3]):
        [expected], [report] = (one.generate([views], options=OPTIONS) for one in (before, after))
        assert report.report == expected.report
        *_, streamed = after.stream(views, options=OPTIONS)
        assert streamed.report == expected.report
    merge_checkpoint(folder, tmp_path / "merged")
    assert load_checkpoint(tmp_path / "merged").drafts == after.drafts


def test_checkpoint_or_data_that_cannot_have_an_index_is_named(folder, small_dataset, build_model, tmp_path):
    checkpoint = load_checkpoint(folder)
    for name, settings in (("lstm", {"kind": "lstm"}), ("classifier", {"writes_reports": False})):
        model = build_model(**settings)
        save_checkpoint(tmp_path / name, replace(checkpoint, model=model))
        with pytest.raises(ValueError, match="no GPT-2 that writes reports"):
            main(["--checkpoint", str(tmp_path / name), "--dataset", str(small_dataset)])
        assert not (tmp_path / name / DRAFTS_FILE).exists()
