"""The stage of each epoch."""

import pytest

from train.loop.tasks import Stage, stage_epochs, stage_of
from train.options import FinetuneOptions, StageOptions


def options(tmp_path, num_epochs, **epochs):
    return FinetuneOptions(dataset=str(tmp_path), output_dir="", num_epochs=num_epochs, stages=StageOptions(**epochs))


def test_findings_come_before_text_and_text_before_reports(tmp_path):
    run = options(tmp_path, findings_epochs=2, text_only_epochs=1, num_epochs=6)
    assert [stage_of(epoch, run) for epoch in range(6)] == [
        *[Stage.FINDINGS] * 2,
        Stage.TEXT,
        *[Stage.REPORTS] * 3,
    ]


def test_stage_without_epochs_is_left_out(tmp_path):
    assert stage_epochs(options(tmp_path, num_epochs=3)) == {Stage.REPORTS: range(3)}
    assert stage_epochs(options(tmp_path, findings_epochs=3, num_epochs=3)) == {Stage.FINDINGS: range(3)}


@pytest.mark.parametrize("text_only_epochs", [-1, 5])
def test_too_many_text_only_epochs_are_rejected(tmp_path, text_only_epochs):
    with pytest.raises(ValueError, match=r"--text-only-epochs must be in 0\.\.4"):
        options(tmp_path, findings_epochs=2, text_only_epochs=text_only_epochs, num_epochs=6)
