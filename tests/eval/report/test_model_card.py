"""The model card: written from files only, for one checkpoint."""

import json
import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from eval.report import model_card as program
from page.cards.layout import model_card as shown_card
from tests.helpers.html import Tags
from vlm.checkpoint.provenance import LearnedStudies, Provenance, TrainingRun, load_provenance, save_provenance
from vlm.checkpoint.store import SHIPPED, SHIPPED_CHECKPOINT, checkpoint_hash, load_checkpoint, save_checkpoint

ROOT = Path(__file__).parents[3]
MACRO_F1 = {"model": 0.588, "shuffled images": 0.107, "nearest neighbor": 0.673}


def estimate(value):
    return {"value": value, "low": value - 0.05, "high": value + 0.05, "num_undefined": 0}


def system(value):
    """A model or a control with the same value for every score."""
    finding = {"support": 57, "f1": estimate(value), "auroc": estimate(value)}
    return {
        "metrics": dict.fromkeys(("macro_f1", "macro_auroc", "micro_accuracy", "cider"), estimate(value)),
        "per_finding": [{"finding": name} | finding for name in ("Pneumothorax", "Edema")],
        "distinct_ratio": 0.9,
    }


DOCUMENT = {
    "verdict": {"image": "The reports depend on the image.", "facts": ["391 different reports for 336 patients."]},
    "run": {"dataset": "runs/studies", "split": "test"},
    "studies": {"given": 430, "written": 427, "rejected": 3},
    "convention": "uncertain counts as positive",
    "systems": {name: system(value) for name, value in MACRO_F1.items()},
}


def learned(source, license, number=10, split="train"):
    return LearnedStudies(split=split, source=source, license=license, num_studies=number, num_with_report=number)


SYNTHETIC, KERMANY = learned("synthetic", "Apache-2.0", 3000), learned("kermany", "CC BY 4.0", 4100)
BASE = TrainingRun(program="train/finetune.py", what="all weights trained, epochs: 4 of reports", studies=(SYNTHETIC,))
LAST = TrainingRun(program="train/finetune.py", what="LoRA of rank 16, epochs: 1 of reports", studies=(KERMANY,))


@pytest.fixture
def checkpoint(tiny_checkpoint, tmp_path):
    """A copy with a record of training on both sources, one after the other."""
    folder = shutil.copytree(tiny_checkpoint, tmp_path / "tiny")
    save_provenance(folder, Provenance(runs=(BASE, LAST)))
    return folder


def evaluation(folder, path, **parts):
    """A saved evaluation of that checkpoint."""
    run = DOCUMENT["run"] | {"checkpoint_hash": checkpoint_hash(str(folder))}
    path.write_text(json.dumps(DOCUMENT | {"run": run} | parts), encoding="utf-8")
    return path


def write(folder, *arguments):
    program.main(["--checkpoint", str(folder), *map(str, arguments)])
    return (folder / "README.md").read_text(encoding="utf-8")


def test_card_has_data_licenses_scores_limits_and_commands(checkpoint, tmp_path):
    results = evaluation(checkpoint, tmp_path / "synthetic_test_studies.json")
    recipe = tmp_path / "rebuild.sh"
    recipe.write_text("python -m data.prepare synthetic --out x\n")
    notes = tmp_path / "notes.md"
    notes.write_text("- It cannot read 2 patients on one image.\n")
    card = write(checkpoint, "--results", results, "--recipe", recipe, "--notes", notes)
    assert f"# {SHIPPED}" in card
    assert "license_name: Apache-2.0; CC BY 4.0" in card
    assert "\n2. train/finetune.py: LoRA of rank 16, epochs: 1 of reports\n" in card
    assert "| 2 | train | kermany | CC BY 4.0 | 4,100 | 4,100 |" in card
    assert "Daniel Kermany, Kang Zhang, Michael Goldbaum" in card
    assert "It was not trained on adult images with real reports" in card
    assert "### Synthetic test studies" in card
    assert "427 of 430 studies" in card
    assert "**The reports depend on the image.**\n\n- 391 different reports for 336 patients." in card
    assert "| model | .588 [.538, .638] |" in card
    assert "| shuffled images | .107 [.057, .157] |" in card
    assert "| nearest neighbor | .673 [.623, .723] |" in card
    assert "| Pneumothorax | 57 | .588 [.538, .638] | .588 [.538, .638] |" in card
    assert "python -m data.prepare synthetic --out x" in card
    assert "- It cannot read 2 patients on one image." in card
    assert (
        "sigmoid(logit / 1.500). The temperature and the threshold of each finding were fitted on 10 validation studies"
        in card
    )


def test_last_command_writes_the_card_again(checkpoint, tmp_path):
    results = evaluation(checkpoint, tmp_path / "synthetic studies.json")
    card = write(checkpoint, "--results", results)
    again = tmp_path / "again.md"
    program.main([*last_command(card), "--output", str(again)])
    assert again.read_text(encoding="utf-8") == card


def last_command(card):
    line = re.findall(r"^python -m eval\.report\.model_card (.+)$", card, flags=re.MULTILINE)[-1]
    return shlex.split(line)


def test_each_source_has_a_row(checkpoint, tmp_path):
    metrics = {"macro_f1": estimate(0.588)}
    groups = [{"group": name, "num_studies": 7, "metrics": metrics} for name in ("synthetic", "kermany")]
    results = evaluation(checkpoint, tmp_path / "both.json", by_group={"source": groups})
    card = write(checkpoint, "--results", results)
    assert "By source:" in card
    assert "| kermany | 7 | .588 [.538, .638] |" in card


def test_statement_probe_has_a_section(checkpoint, tmp_path):
    document = {
        "statements": ["bacterial", "viral"],
        "checkpoint_hash": checkpoint_hash(str(checkpoint)),
        "dataset": "runs/kermany",
        "split": "test",
        "num_studies": 12,
        "num_patients": 11,
        "num_stating": [8, 4],
        "num_left_out": 3,
        "rejected": [],
        **dict.fromkeys(("auroc", "auroc_shuffled", "difference"), estimate(0.8123)),
        "prompts": ["Findings: There is"],
        "share_of_reports": 1.0,
        "mean_probability_of_either": 0.9,
    }
    path = tmp_path / "bacterial_or_viral.json"
    path.write_text(json.dumps(document))
    card = write(checkpoint, "--results", path)
    assert "### Bacterial or viral" in card
    assert "AUROC: .812 [.762, .862]" in card


def test_results_of_another_checkpoint_are_rejected(checkpoint, tmp_path):
    path = evaluation(checkpoint, tmp_path / "other.json")
    document = json.loads(path.read_text())
    document["run"]["checkpoint_hash"] = "0123456789abcdef"
    path.write_text(json.dumps(document))
    with pytest.raises(
        ValueError, match=r"other\.json is an evaluation of the checkpoint with hash 0123456789abcdef, but .*tiny has"
    ):
        write(checkpoint, "--results", path)


@pytest.mark.parametrize(
    ("flag", "content", "message"),
    [
        ("--results", None, "--results .*file does not exist"),
        ("--results", "{", "is not valid JSON"),
        ("--results", "[]", "is neither a metrics.json of eval/batch.py"),
        ("--notes", "Its AUROC is .93 there.", r"holds the number '\.93'"),
        ("--notes", "Right in 93 % of cases.", "holds the number '93 %'"),
        ("--recipe", "x" * 2**17, "has 131,072 bytes; the maximum is 65,536"),
    ],
)
def test_unusable_file_is_rejected(checkpoint, tmp_path, flag, content, message):
    path = tmp_path / "file"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=message):
        write(checkpoint, flag, path)


def test_no_limits_are_claimed_for_an_unknown_source(checkpoint):
    save_provenance(checkpoint, Provenance(runs=(replace(LAST, studies=(SYNTHETIC, learned("our hospital", ""))),)))
    card = write(checkpoint)
    assert "no adult reports with real images" not in card
    assert "our hospital: see its own license." in card
    assert "The model has not been evaluated." in card


def test_card_of_weights_without_provenance(tiny_checkpoint, tmp_path):
    folder = shutil.copytree(tiny_checkpoint, tmp_path / "found")
    assert "found, without a record of its training data" in write(folder)
    assert load_provenance(folder).studies == ()


def test_card_of_a_model_that_only_classifies(checkpoint, tmp_path):
    loaded = load_checkpoint(checkpoint)
    loaded.model.config = replace(loaded.model.config, writes_reports=False)
    save_checkpoint(tmp_path / "silent", loaded)
    card = write(tmp_path / "silent")
    assert "it was not trained on reports and writes none" in card
    assert "- It writes no reports." in card


def test_provenance_does_not_change_the_checkpoint_hash(checkpoint, tiny_checkpoint):
    assert checkpoint_hash(str(checkpoint)) == checkpoint_hash(str(tiny_checkpoint))


def test_web_page_shows_the_whole_card(checkpoint, tmp_path):
    write(checkpoint, "--results", evaluation(checkpoint, tmp_path / "synthetic.json"))
    html = shown_card(checkpoint)
    assert "<h4>Limits</h4>" in html
    assert html.count("<table>") == 4
    assert Tags(html).text.count("|") == 0


def test_the_shipped_card_is_what_its_command_writes(tmp_path, monkeypatch):
    if not SHIPPED_CHECKPOINT.is_dir():
        pytest.skip(f"{SHIPPED_CHECKPOINT} is not there yet")
    monkeypatch.chdir(ROOT)
    card = (SHIPPED_CHECKPOINT / "README.md").read_text(encoding="utf-8")
    program.main([*last_command(card), "--output", str(tmp_path / "card.md")])
    assert (tmp_path / "card.md").read_text(encoding="utf-8") == card
