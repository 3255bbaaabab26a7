"""The whole correction loop: ten studies are read, corrected, prepared and trained on."""

import pytest
from accelerate import Accelerator

from data import prepare
from data.corrections.store import CorrectionStore
from data.study import load_studies
from data.synthetic.source import make_study
from eval.metrics.rouge import rouge_l
from page.corrections import save_correction
from page.study.edit import Edit
from page.study.read import read_files
from train import finetune
from train.loop.validation import validate
from train.studies.dataset import Collator, StudyDataset
from vlm.generator import GenerationOptions, ReportGenerator
from vlm.schema.findings import FINDINGS, POSITIVE, UNLABELED
from vlm.schema.report_format import compose_report

OPTIONS = ["--batch-size=8", "--max-report-tokens=40", "--num-validation-reports=0", "--num-workers=0"]
WRITING = GenerationOptions(max_new_tokens=16)
NUM_CORRECTED = 10
CORRECTED_TEXTS = (("A rib is broken.", "Fracture"), ("Clear chest, nothing acute.", "No Finding"))
"""The reader's text, alternating between studies. The synthetic reports do not use these words, so the model can only
learn them from the corrections."""


@pytest.fixture(scope="module")
def start(small_dataset, tmp_path_factory):
    """A small model after a short training on the small data set."""
    output = tmp_path_factory.mktemp("start") / "run"
    sizes = ["--encoder=nano", "--decoder=nano", "--image-size=32", "--vocab-size=300", "--no-lora"]
    finetune.main([f"--dataset={small_dataset}", f"--output-dir={output}", *sizes, *OPTIONS, "--num-epochs=1"])
    return output


@pytest.fixture(scope="module")
def corrected(start, tmp_path_factory):
    """A prepared data set of ten studies, read by the model and corrected with the functions of the page."""
    folder = tmp_path_factory.mktemp("corrected")
    generator = ReportGenerator.from_pretrained(start)
    store = CorrectionStore(folder / "store")
    for number in range(NUM_CORRECTED):
        study = make_study(77, number, 48)
        files = [folder / f"{number}-{view}.png" for view in range(len(study.images))]
        for image, file in zip(study.images, files, strict=True):
            image.save(file)
        *_, reading = read_files(generator, files, indication=study.indication, options=WRITING)
        sentence, finding = CORRECTED_TEXTS[number % 2]
        edit = Edit(findings=sentence, states=tuple(POSITIVE if name == finding else UNLABELED for name in FINDINGS))
        save_correction(store, reading, edit, generator=generator)
    root, out = str(folder / "store"), str(folder / "prepared")
    prepare.main(
        ["corrections", "--root", root, "--out", out, "--split-fractions", "1", "0", "0", "--num-workers", "1"]
    )
    return folder / "prepared"


def evaluate(checkpoint, rows):
    """Losses on these studies, and mean ROUGE-L of the generated reports."""
    generator = ReportGenerator.from_pretrained(checkpoint)
    model, tokenizer, image = generator.model, generator.tokenizer, generator.config.image
    studies = StudyDataset(rows, tokenizer, image, max_report_tokens=40)
    collator = Collator(geometry=image, grid=model.encoder.grid, pad_token_id=tokenizer.pad_token_id)
    losses, _ = validate(
        model,
        studies,
        collator,
        Accelerator(cpu=True),
        batch_size=10,
        num_reports=0,
        max_new_tokens=1,
        finding_weight=1.0,
        change_weight=0.0,
    )
    written = generator.generate(
        rows["images"][:], view_positions=rows["view_positions"][:], indications=rows["indication"][:], options=WRITING
    )
    references = [compose_report(findings=row["findings"], impression=row["impression"]) for row in rows]
    return losses.metrics, rouge_l([report.report for report in written], references).score


def test_training_on_ten_corrections_moves_the_model_toward_them_without_forgetting(
    start, corrected, small_dataset, small_studies, tmp_path
):
    extra = [f"--extra-dataset={corrected}", "--extra-repeats=24", f"--init-from={start}"]
    arguments = [f"--dataset={small_dataset}", f"--output-dir={tmp_path / 'run'}", *extra, *OPTIONS]
    finetune.main([*arguments, "--num-epochs=1", "--learning-rate=1e-2"])
    rows = load_studies(corrected)["train"]
    assert len(rows) == NUM_CORRECTED
    (before, near_before), (after, near_after) = evaluate(start, rows), evaluate(tmp_path / "run", rows)
    assert after["report_loss"] < 0.5 * before["report_loss"]
    assert after["finding_loss"] < 0.9 * before["finding_loss"]
    assert near_after > near_before + 0.1
    held_before, held_after = (evaluate(model, small_studies["test"])[0] for model in (start, tmp_path / "run"))
    assert held_after["report_loss"] < 1.15 * held_before["report_loss"]
    assert held_after["finding_loss"] < 1.25 * held_before["finding_loss"]
    card = (tmp_path / "run" / "best" / "README.md").read_text()
    assert "| train | corrections | unknown | 10 |" in card
