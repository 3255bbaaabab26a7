"""Which epochs teach what."""

import pytest

from train.loop.trainer import Stage, stage_epochs, stage_of
from train.options import FinetuneOptions


def options(tmp_path, **epochs):
    return FinetuneOptions(dataset=str(tmp_path), output_dir="", **epochs)


def test_findings_come_before_language_and_language_before_reports(tmp_path):
    run = options(tmp_path, findings_epochs=2, text_only_epochs=1, num_epochs=6)
    assert [stage_of(epoch, run) for epoch in range(6)] == [
        *[Stage.FINDINGS] * 2,
        Stage.LANGUAGE,
        *[Stage.REPORTS] * 3,
    ]


def test_a_stage_without_epochs_is_left_out(tmp_path):
    assert stage_epochs(options(tmp_path, num_epochs=3)) == {Stage.REPORTS: range(3)}
    assert stage_epochs(options(tmp_path, findings_epochs=3, num_epochs=3)) == {Stage.FINDINGS: range(3)}


@pytest.mark.parametrize("text_only_epochs", [-1, 5])
def test_more_text_only_epochs_than_there_are_left_are_rejected(tmp_path, text_only_epochs):
    with pytest.raises(ValueError, match=r"--text-only-epochs must lie in 0\.\.4"):
        options(tmp_path, findings_epochs=2, text_only_epochs=text_only_epochs, num_epochs=6)
