"""The checkpoint that ships: read where no other is named, and worth shipping. What must hold of the real weights is
skipped while they are not there."""

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
from eval.controls import neighbours
from page import report
from vlm.checkpoint import store as shipped
from vlm.checkpoint.store import SHIPPED, SHIPPED_CHECKPOINT, checkpoint_hash, fetch_checkpoint
from vlm.generator import GenerationOptions, ReportGenerator
from vlm.schema.findings import FINDING_INDEX, FINDINGS, POSITIVE

ROOT = Path(__file__).parent.parent
MAX_BYTES = 20_000_000
SECTIONS = ("What it was trained on", "How good it is", "What it cannot do", "How it was made")


@pytest.fixture
def stand_in(tiny_checkpoint, monkeypatch):
    """Another checkpoint in the place of the one that ships."""
    monkeypatch.setattr(shipped, "SHIPPED_CHECKPOINT", tiny_checkpoint)
    return tiny_checkpoint


@pytest.fixture(scope="module")
def weights():
    if not SHIPPED_CHECKPOINT.is_dir():
        pytest.skip(f"{SHIPPED_CHECKPOINT} is not there yet")
    return SHIPPED_CHECKPOINT


@pytest.fixture(scope="module")
def generator(weights):
    return ReportGenerator.from_pretrained(device="cpu")


@pytest.fixture(scope="module")
def studies():
    """Twelve synthetic studies that no training has seen."""
    return [make_study(990_001, number, 224) for number in range(12)]


@pytest.fixture(scope="module")
def written(generator, studies):
    return write(generator, studies)


def write(generator, studies, images_of=None):
    images = [[generator.preprocess(image) for image in study.images] for study in images_of or studies]
    return generator.generate(
        images,
        view_positions=[study.view_positions for study in images_of or studies],
        indications=[study.indication for study in studies],
        options=GenerationOptions(max_new_tokens=128),
    )


def test_whoever_names_no_checkpoint_gets_the_one_that_ships(stand_in, images):
    generator = ReportGenerator.from_pretrained()
    assert generator.name == SHIPPED
    short = GenerationOptions(max_new_tokens=8)
    [read] = generator.generate(images[0], options=short)
    [expected] = ReportGenerator.from_pretrained(stand_in).generate(images[0], options=short)
    assert read.report == expected.report
    assert checkpoint_hash(SHIPPED) == checkpoint_hash(str(stand_in))


def far_enough(*arguments):
    raise ValueError("far enough")


def test_programs_read_with_it_and_say_so_first(stand_in, small_dataset, tmp_path, monkeypatch, capfd):
    first_line = f"Model: {SHIPPED}, which ships with the project"
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
    neighbours.main([*studies, "--output", str(tmp_path / "neighbours.jsonl")])
    assert capfd.readouterr().out.splitlines()[0] == first_line
    report.main([str(image), "--max-new-tokens", "4", "--write-anyway"])
    assert capfd.readouterr().err.splitlines()[0] == first_line


def test_a_copy_without_its_weights_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "SHIPPED_CHECKPOINT", tmp_path / "tiny")
    with pytest.raises(ValueError, match=r"cxrscribe-tiny, .*, is not in .*tiny; fetch the project again"):
        fetch_checkpoint(SHIPPED)


def test_a_folder_of_the_same_name_is_taken_by_its_path_alone(stand_in, tiny_checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = tmp_path / SHIPPED
    own.symlink_to(tiny_checkpoint)
    assert fetch_checkpoint(SHIPPED) == stand_in
    assert fetch_checkpoint(f"./{SHIPPED}").resolve() == own.resolve()
    assert fetch_checkpoint(Path(SHIPPED)) == Path(SHIPPED)


def test_an_installed_package_holds_the_weights():
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["vlm"]
    packed = {path for pattern in patterns for path in (ROOT / "vlm").glob(pattern) if path.is_file()}
    assert packed == {path for path in (ROOT / "vlm/weights").rglob("*") if path.is_file()}


def test_it_is_small_safe_and_stands_alone(weights):
    files = [path for path in weights.rglob("*") if path.is_file()]
    in_all = [path for path in (ROOT / "vlm/weights").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in in_all) <= MAX_BYTES
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".md", ".txt"}
    config = json.loads((weights / "config.json").read_text())
    assert (config["encoder"]["base"], config["decoder"]["base"], config["lora"]) == (None, None, None)
    assert not list(weights.glob("*adapter*"))


def test_it_knows_its_images_and_its_probabilities_are_calibrated(generator):
    assert generator.ood_detector is not None
    assert generator.calibration.num_studies >= 200
    assert all(generator.calibration.is_known)


def test_different_studies_get_different_reports(written):
    assert len({one.report for one in written}) >= 10
    assert not any(one.is_truncated for one in written)
    assert all(one.findings and one.impression for one in written)


def test_another_patients_image_gets_another_report(generator, studies, written):
    shuffled = write(generator, studies, images_of=[*studies[1:], studies[0]])
    assert sum(one.report != other.report for one, other in zip(written, shuffled, strict=True)) >= 10


def test_a_report_is_the_same_each_time_and_beside_others(generator, studies, written):
    assert [one.report for one in write(generator, studies[:3])] == [one.report for one in written[:3]]


def test_the_probabilities_of_present_findings_stand_above_those_of_absent_ones(studies, written):
    labels = np.array([study.labels for study in studies])
    probabilities = np.array([one.finding_probabilities for one in written])
    assert probabilities[labels == POSITIVE].mean() > 0.5
    assert probabilities[(labels == 0) | (labels == 2)].mean() < 0.2


def test_it_calls_and_names_a_pneumothorax(generator):
    """Of synthetic studies with one, drawn by their number alone."""
    from data.reports.labeler.labeler import label_report

    index = FINDING_INDEX["Pneumothorax"]
    drawn = (make_study(990_002, number, 224) for number in range(300))
    ill = [study for study in drawn if study.labels[index] == POSITIVE][:8]
    called = write(generator, ill)
    threshold = generator.thresholds[index]
    assert sum(one.finding_probabilities[index] >= threshold for one in called) >= 6
    assert sum(label_report(one.report)[index] == POSITIVE for one in called) >= 6


def test_noise_is_doubted_and_a_synthetic_chest_is_not(generator, studies):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (224, 224), dtype=np.uint8))
    chest = generator.preprocess(studies[0].images[0])
    far, near = generator.ood_detector.distances(generator.image_features([noise, chest]))
    assert far > 1 > near


def test_its_card_tells_what_must_be_known(weights):
    card = (weights / "README.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.+)$", card, flags=re.MULTILINE)
    assert [heading for heading in SECTIONS if heading not in headings] == []
    flat = " ".join(card.split())
    for said in ("Not a medical device", "no adult reports with real images", "CC BY 4.0", "Kermany", "children"):
        assert said in flat, said
    assert all(f"| {finding} |" in card for finding in FINDINGS)
    assert "shuffled images" in card
