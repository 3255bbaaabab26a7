"""eval/show.py: how the study is chosen, what is drawn, and the table."""

import datasets
import numpy as np
import pytest
from PIL import Image
from rich.console import Console

import eval.show
from data.study import FEATURES, LATER_COLUMNS
from eval.metrics.laterality import stated_sentences
from eval.predictions.prediction import Prediction, write_lines
from eval.report.heatmaps import findings_to_show
from eval.report.study import HeatPanel
from eval.report.study_figure import StudyFigure, draw_study
from eval.show import choose_study, findings_table
from vlm.schema.findings import CHANGES, FINDING_INDEX, UNKNOWN_CHANGE
from vlm.schema.study_report import StudyReport

EDEMA, EFFUSION, DEVICES = (FINDING_INDEX[name] for name in ("Edema", "Pleural Effusion", "Support Devices"))


def codes(**states: int) -> list[int]:
    """Labels with some findings set, such as edema=1."""
    labels = [0] * 14
    for name, state in states.items():
        labels[{"edema": EDEMA, "effusion": EFFUSION, "devices": DEVICES}[name]] = state
    return labels


def make_row(study_id: str, labels: list[int], num_views: int = 1) -> dict:
    return {
        "study_id": study_id,
        "subject_id": study_id,
        "images": [Image.new("L", (32, 24), 40 * view + 40) for view in range(num_views)],
        "view_positions": ["PA", "LATERAL"][:num_views],
        "indication": "Cough for $5 <3 weeks.",
        "findings": "There is pulmonary edema. There is a pleural effusion.",
        "impression": "",
        "labels": labels,
        "boxes": [{"finding": EFFUSION, "view": 0, "box": [0.5, 0.5, 1.0, 1.0]}],
        **LATER_COLUMNS,
        "source": "",
        "license": "",
    }


STUDIES = datasets.Dataset.from_list(
    [
        make_row("normal", codes()),
        make_row("device and edema", codes(edema=1, devices=1)),
        make_row("two", codes(edema=1, effusion=3), num_views=2),
        make_row("also two", codes(edema=1, effusion=1)),
    ],
    features=FEATURES,
)


class FakeGenerator:
    """The attention peak of effusion is in the lower right of the first view, that of edema in the second view."""

    thresholds = (0.5,) * 14
    reads_priors = False

    def generate(self, images, view_positions, indications, priors, options):
        self.num_tokens, self.priors = options.max_new_tokens, priors
        maps = np.zeros((14, len(images[0]), 4, 4), np.float32)
        maps[:, 0, 3, 3] = 1.0
        maps[EDEMA] = 0
        maps[EDEMA, -1] = 1 / 16
        text = "There is a pleural effusion."
        return [
            StudyReport(
                report=f"Findings: {text}",
                findings=text,
                impression="",
                finding_probabilities=tuple(0.9 if finding == EFFUSION else 0.25 for finding in range(14)),
                attention_maps=maps,
                tokens=(),
                token_log_probabilities=(),
                is_truncated=False,
            )
        ]

    def heatmaps(self, report, images):
        return [np.zeros((14, image.height, image.width), np.float32) for image in images]


@pytest.fixture
def show(tmp_path, monkeypatch):
    datasets.DatasetDict({"test": STUDIES}).save_to_disk(tmp_path / "studies")
    generator, drawn = FakeGenerator(), []
    monkeypatch.setattr(eval.show.ReportGenerator, "from_pretrained", lambda name: generator)
    monkeypatch.setattr(eval.show, "draw_study", lambda figure, path: drawn.append(figure))

    def run(*flags, reads_priors=False):
        generator.reads_priors = reads_priors
        argv = ["--checkpoint", "c", "--dataset", str(tmp_path / "studies"), "--output", str(tmp_path / "study.png")]
        eval.show.main([*argv, *flags])
        return drawn[-1], generator

    return run


def test_first_study_with_two_findings_is_chosen():
    row, how = choose_study(STUDIES, "", None)
    assert row["study_id"] == "two"
    assert how == "the first study of the split with at least two findings (Support Devices not counted)"


def test_study_can_be_requested():
    row, how = choose_study(STUDIES, "also two", None)
    assert (row["study_id"], how) == ("also two", "study also two, as requested")


def test_first_study_is_shown_if_none_has_two_findings():
    row, how = choose_study(STUDIES.select([0, 1]), "", None)
    assert (row["study_id"], how) == ("normal", "the first study of the split, because no study has two findings")


def test_unknown_study_is_rejected():
    with pytest.raises(ValueError, match="--study-id 'tow' is not among the 4 studies, such as 'normal'"):
        choose_study(STUDIES, "tow", None)


def test_predictions_of_other_studies_are_rejected():
    with pytest.raises(ValueError, match="--predictions has other studies"):
        choose_study(STUDIES, "", {"elsewhere": Prediction(study_id="elsewhere", report="")})


def test_agreeing_findings_are_shown_first_then_missed_then_added():
    probabilities = [0.1] * 14
    probabilities[0], probabilities[3] = 0.9, 0.8
    assert findings_to_show(codes(edema=1, effusion=3), codes(effusion=1, devices=1), probabilities) == [
        EFFUSION, EDEMA, DEVICES,
    ]  # fmt: skip
    assert findings_to_show(codes(), codes(), probabilities) == [0]


def test_heatmap_is_on_the_view_with_the_attention_peak(show):
    image, _ = show()
    assert [panel.finding for panel in image.panels] == [EFFUSION, EDEMA]
    effusion, edema = image.panels
    assert effusion.image.getpixel((5, 5))[0] == 40
    assert edema.image.getpixel((5, 5))[0] == 80
    assert effusion.boxes == ((0.5, 0.5, 1.0, 1.0),)
    assert edema.boxes == ()


def test_table_shows_truth_probability_and_report(show, capsys):
    show()
    lines = capsys.readouterr().out.splitlines()
    cells = {
        line.split("│")[1].strip(): [cell.strip() for cell in line.split("│")[2:6]] for line in lines if "│" in line
    }
    assert cells["Pleural Effusion"] == ["uncertain", "90%", "50%", "present"]
    assert cells["Edema"] == ["present", "25%", "50%", "–"]
    assert len(cells) == 14
    assert any("the first study of the split with at least two findings" in line for line in lines)


def test_saved_predictions_give_report_and_probabilities(show, tmp_path):
    saved = Prediction(study_id="also two", report="Findings: There is pulmonary edema.", probabilities=(0.75,) * 14)
    write_lines(tmp_path / "predictions.jsonl", [saved])
    image, generator = show("--predictions", str(tmp_path / "predictions.jsonl"))
    assert image.title.startswith("Study also two")
    assert [sentence.text for sentence in image.generated] == ["There is pulmonary edema."]
    assert image.probabilities == (0.75,) * 14
    assert generator.num_tokens == 1


def test_prior_is_drawn_beside_the_image_and_its_changes_are_listed(show, tmp_path, capsys):
    changes = [0] * 14
    changes[EFFUSION], changes[EDEMA], changes[-1] = CHANGES.index("new"), CHANGES.index("resolved"), UNKNOWN_CHANGE
    row = make_row("compared", codes(effusion=1)) | {
        "prior_images": [Image.new("L", (32, 24), 200)],
        "prior_view_positions": ["AP"],
        "prior_interval_days": 12,
        "changes": changes,
    }
    studies = datasets.Dataset.from_list([row], features=FEATURES)
    datasets.DatasetDict({"test": studies}).save_to_disk(tmp_path / "compared")
    saved = Prediction(
        study_id="compared",
        report="Findings: New effusion.",
        change_probabilities=tuple(map(tuple, np.eye(len(CHANGES))[changes].tolist())),
    )
    write_lines(tmp_path / "predictions.jsonl", [saved])
    flags = ("--dataset", str(tmp_path / "compared"), "--predictions", str(tmp_path / "predictions.jsonl"))
    unread, _ = show(*flags)
    assert unread.prior is None  # the checkpoint does not read priors
    figure, generator = show(*flags, reads_priors=True)
    [prior] = generator.priors
    assert prior.interval_days == 12
    assert figure.prior.getpixel((0, 0)) == 200
    assert figure.prior_title == "prior study, 12 days earlier"
    assert (figure.true_changes[EDEMA], figure.stated_changes[EFFUSION]) == ("resolved", "new")
    lines = [line.split("│")[1:5] for line in capsys.readouterr().out.splitlines() if line.count("│") == 5]
    cells = {name.strip(): [cell.strip() for cell in rest] for name, *rest in lines}
    assert cells["Pleural Effusion"] == ["new", "new", "new"]
    assert cells["Edema"] == ["resolved", "–", "resolved"]
    draw_study(figure, tmp_path / "study.png")
    with Image.open(tmp_path / "study.png") as drawn:
        assert drawn.size == (1600, 820)
        assert drawn.convert("L").getpixel((170, 270)) == 200


def test_missing_predictions_file_is_rejected(show):
    with pytest.raises(ValueError, match=r"--predictions none.jsonl does not exist; eval/batch.py writes it"):
        show("--predictions", "none.jsonl")


def make_figure(report: str) -> StudyFigure:
    def label(sentence):
        return codes(edema=int("edema" in sentence))

    return StudyFigure(
        title="Study $a$",
        footer="",
        image=Image.new("L", (640, 320), 60),
        panels=(HeatPanel(finding=EDEMA, image=Image.new("RGB", (640, 320)), boxes=((0.0, 0.0, 0.5, 0.5),)),),
        probabilities=(0.4,) * 14,
        thresholds=(0.5,) * 14,
        labels=tuple(codes(edema=1)),
        named=tuple(codes()),
        generated=tuple(stated_sentences(report)),
        reference=(),
    )


@pytest.mark.parametrize(
    "report",
    [
        "",
        "Findings: Costs $5 and $6. There is edema.",
        "Findings: " + "very long. " * 400,
        "Findings: \x06 \x03x �edema 胸水.",
    ],
    ids=["empty", "dollars", "long", "undrawable"],
)
def test_any_report_is_drawn_at_full_size_without_warnings(report, tmp_path):
    draw_study(make_figure(report), tmp_path / "new" / "study.png")
    with Image.open(tmp_path / "new" / "study.png") as drawn:
        assert drawn.size == (1600, 820)


def test_finding_has_the_same_color_in_heatmap_title_and_text(tmp_path):
    draw_study(make_figure("Findings: edema edema edema."), tmp_path / "study.png")
    with Image.open(tmp_path / "study.png") as drawn:
        pixels = np.asarray(drawn.convert("RGB"))
    is_finding_color = (pixels == (0x4C, 0xC3, 0xD9)).all(axis=2)
    title, text = is_finding_color[60:110, 320:620], is_finding_color[430:560, :800]
    assert title.any()
    assert text.any()
    assert not is_finding_color[430:560, 800:].any()


def test_table_fits_into_80_columns():
    console = Console(width=80, record=True)
    console.print(findings_table(make_figure("")))
    assert "Enlarged Cardiomediastinum" in console.export_text()
