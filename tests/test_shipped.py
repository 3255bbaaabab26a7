"""The checkpoint that ships with the project is the default, and its weights do what the model card says."""

import json
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import app
from data.synthetic.source import make_study
from eval import batch, show
from eval.controls import neighbors
from page import report
from vlm.checkpoint import store as shipped
from vlm.checkpoint.store import SHIPPED, SHIPPED_CHECKPOINT, checkpoint_hash, fetch_checkpoint
from vlm.generator import GenerationOptions, ReportGenerator
from vlm.schema.findings import FINDING_INDEX, FINDINGS, POSITIVE, is_lateral

ROOT = Path(__file__).parent.parent
MAX_BYTES = 30_000_000
SECTIONS = ("Training data", "Evaluation", "Limits", "How it was made")


@pytest.fixture
def stand_in(tiny_checkpoint, monkeypatch):
    """Replace the shipped checkpoint by a tiny one."""
    monkeypatch.setattr(shipped, "SHIPPED_CHECKPOINT", tiny_checkpoint)
    return tiny_checkpoint


@pytest.fixture(scope="module")
def weights():
    if not SHIPPED_CHECKPOINT.is_dir():
        pytest.skip(f"{SHIPPED_CHECKPOINT} is missing")
    return SHIPPED_CHECKPOINT


@pytest.fixture(scope="module")
def generator(weights):
    return ReportGenerator.from_pretrained(device="cpu")


@pytest.fixture(scope="module")
def studies():
    """Twelve synthetic studies that were not used in training."""
    return [make_study(990_001, number, 224) for number in range(12)]


@pytest.fixture(scope="module")
def reports(generator, studies):
    return write(generator, studies)


def write(generator, studies, images_of=None):
    images = [[generator.preprocess(image) for image in study.images] for study in images_of or studies]
    return generator.generate(
        images,
        view_positions=[study.view_positions for study in images_of or studies],
        indications=[study.indication for study in studies],
        options=GenerationOptions(max_new_tokens=128),
    )


def test_the_shipped_checkpoint_is_the_default(stand_in, images):
    generator = ReportGenerator.from_pretrained()
    assert generator.name == SHIPPED
    short = GenerationOptions(max_new_tokens=8)
    [read] = generator.generate(images[0], options=short)
    [expected] = ReportGenerator.from_pretrained(stand_in).generate(images[0], options=short)
    assert read.report == expected.report
    assert checkpoint_hash(SHIPPED) == checkpoint_hash(str(stand_in))


def far_enough(*arguments):
    raise ValueError("far enough")


def test_programs_use_it_and_name_it_in_their_first_line(stand_in, small_dataset, tmp_path, monkeypatch, capfd):
    first_line = f"Model: {SHIPPED}, the shipped checkpoint"
    studies = ["--dataset", str(small_dataset)]
    image = tmp_path / "chest.png"
    make_study(1, 2, 48).images[0].save(image)
    monkeypatch.setattr(app, "build_app", far_enough)
    monkeypatch.setattr(app.signal, "signal", lambda number, handler: None)
    monkeypatch.setenv("GRADIO_TEMP_DIR", "restored after the test")
    with pytest.raises(ValueError, match="far enough"):
        app.main([])
    assert capfd.readouterr().out.splitlines()[0] == first_line
    out = tmp_path / "evaluation"
    batch.main([*studies, "--output-dir", str(out), "--controls", "--max-new-tokens", "4", "--num-studies", "2"])
    assert capfd.readouterr().out.splitlines()[0] == first_line
    assert json.loads((out / "run.json").read_text())["checkpoint"] == SHIPPED
    show.main([*studies, "--output", str(tmp_path / "study.png"), "--max-new-tokens", "4"])
    assert capfd.readouterr().out.splitlines()[0] == first_line
    neighbors.main([*studies, "--output", str(tmp_path / "neighbors.jsonl")])
    assert capfd.readouterr().out.splitlines()[0] == first_line
    report.main([str(image), "--max-new-tokens", "4", "--write-anyway"])
    assert capfd.readouterr().err.splitlines()[0] == first_line


def test_missing_weights_give_an_error_with_the_fix(tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "SHIPPED_CHECKPOINT", tmp_path / "tiny")
    with pytest.raises(ValueError, match=r"cxrscribe-tiny, .*, is not in .*tiny; download the project again"):
        fetch_checkpoint(SHIPPED)


def test_a_folder_with_the_same_name_is_used_only_if_given_as_a_path(stand_in, tiny_checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = tmp_path / SHIPPED
    own.symlink_to(tiny_checkpoint)
    assert fetch_checkpoint(SHIPPED) == stand_in
    assert fetch_checkpoint(f"./{SHIPPED}").resolve() == own.resolve()
    assert fetch_checkpoint(Path(SHIPPED)) == Path(SHIPPED)


def test_the_installed_package_includes_the_weights():
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["vlm"]
    packed = {path for pattern in patterns for path in (ROOT / "vlm").glob(pattern) if path.is_file()}
    assert packed == {path for path in (ROOT / "vlm/weights").rglob("*") if path.is_file()}


def test_it_is_small_uses_safetensors_and_needs_no_base(weights):
    files = [path for path in weights.rglob("*") if path.is_file()]
    in_all = [path for path in (ROOT / "vlm/weights").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in in_all) <= MAX_BYTES
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".md", ".txt"}
    config = json.loads((weights / "config.json").read_text())
    assert (config["encoder"]["base"], config["decoder"]["base"], config["lora"]) == (None, None, None)
    assert not list(weights.glob("*adapter*"))


def test_it_has_an_ood_detector_and_calibrated_probabilities(generator):
    assert generator.ood_detector is not None
    assert generator.calibration.num_studies >= 200
    assert all(generator.calibration.is_known)


def test_different_studies_get_different_reports(reports):
    assert len({one.report for one in reports}) >= 10
    assert not any(one.is_truncated for one in reports)
    assert all(one.findings and one.impression for one in reports)


def test_another_image_gets_another_report(generator, studies, reports):
    shuffled = write(generator, studies, images_of=[*studies[1:], studies[0]])
    assert sum(one.report != other.report for one, other in zip(reports, shuffled, strict=True)) >= 10


def test_reports_are_deterministic_and_do_not_depend_on_the_batch(generator, studies, reports):
    assert [one.report for one in write(generator, studies[:3])] == [one.report for one in reports[:3]]


def test_probabilities_are_high_for_present_and_low_for_absent_findings(studies, reports):
    labels = np.array([study.labels for study in studies])
    probabilities = np.array([one.finding_probabilities for one in reports])
    assert probabilities[labels == POSITIVE].mean() > 0.5
    assert probabilities[(labels == 0) | (labels == 2)].mean() < 0.2


def test_it_predicts_and_reports_a_pneumothorax(generator):
    from data.reports.labeler.labeler import label_report

    index = FINDING_INDEX["Pneumothorax"]
    candidates = (make_study(990_002, number, 224) for number in range(300))
    with_pneumothorax = [study for study in candidates if study.labels[index] == POSITIVE][:8]
    predicted = write(generator, with_pneumothorax)
    threshold = generator.thresholds[index]
    assert sum(one.finding_probabilities[index] >= threshold for one in predicted) >= 6
    assert sum(label_report(one.report)[index] == POSITIVE for one in predicted) >= 6


def test_noise_is_out_of_distribution_and_a_synthetic_chest_is_not(generator, studies):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (224, 224), dtype=np.uint8))
    chest = generator.preprocess(studies[0].images[0])
    far, near = generator.ood_detector.distances(generator.image_features([noise, chest]))
    assert far > 1 > near


def test_it_tells_drawn_lateral_views_from_frontal_ones(generator, studies):
    images = [generator.preprocess(image) for study in studies for image in study.images]
    positions = [position for study in studies for position in study.view_positions]
    features = generator.image_features(images)
    lateral = np.array([is_lateral(position) for position in positions])
    assert 0 < lateral.sum() < len(lateral)
    assert (generator.ood_detector.looks_lateral(features) == lateral).all()
    assert not generator.ood_detector.looks_frontal(features)[lateral].any()


def test_its_model_card_states_data_scores_and_limits(weights):
    card = (weights / "README.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.+)$", card, flags=re.MULTILINE)
    assert [heading for heading in SECTIONS if heading not in headings] == []
    flat = " ".join(card.split())
    for fact in ("Not a medical device", "no report of an adult with real images", "CC BY 4.0", "Kermany", "children"):
        assert fact in flat, fact
    assert all(f"| {finding} |" in card for finding in FINDINGS)
    assert "shuffled images" in card
