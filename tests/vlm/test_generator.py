"""ReportGenerator: images in, reports with findings and maps out, whole or as they are written."""

import dataclasses
import itertools
import shutil

import jaxtyping
import numpy as np
import pytest
import torch
from PIL import Image

from vlm.checkpoint.store import Checkpoint, load_checkpoint, save_checkpoint
from vlm.config import LoraSettings
from vlm.generator import GenerationOptions, ReportGenerator
from vlm.inputs.batch import batch_views
from vlm.inputs.image import letterbox
from vlm.inputs.tokenizer import encode_report
from vlm.schema.findings import NUM_FINDINGS
from vlm.schema.preprocessing import Preprocessing, preprocess
from vlm.schema.report_format import split_report
from vlm.uncertainty import Calibration

SHORT = GenerationOptions(max_new_tokens=12)


@pytest.fixture(scope="module")
def generator(tiny_checkpoint):
    return ReportGenerator.from_pretrained(tiny_checkpoint, device="cpu")


@pytest.fixture(scope="module")
def memorized(tiny_config, tiny_tokenizer):
    """A generator whose model has learned to write one report, with characters of several bytes, whatever it sees."""
    from vlm.model import ReportModel

    torch.manual_seed(0)
    model = ReportModel(tiny_config()).eval()
    text = "Findings: Größe ≥ 5 °C 肺炎 🫁. Impression: ok."
    ids = torch.tensor([encode_report(tiny_tokenizer, text, max_tokens=80)])
    optimizer = torch.optim.Adam(model.decoder.parameters(), lr=0.01)
    embeds = torch.zeros(1, 4 + 14, 16)
    for _ in range(60):
        inputs = torch.cat([embeds, model.decoder.embed(ids[:, :-1])], dim=1)
        logits, _ = model.decoder(inputs, torch.ones(inputs.shape[:2], dtype=torch.long), 18)
        loss = torch.nn.functional.cross_entropy(logits[0], ids[0, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():  # image tokens say nothing
        for parameter in (*model.vision_projector.project[2].parameters(), *model.finding_projector.parameters()):
            parameter.zero_()
        model.finding_presence.zero_()
    return ReportGenerator(Checkpoint(model=model, tokenizer=tiny_tokenizer, calibration=Calibration())), text


def assert_same(report, other):
    for field in dataclasses.fields(report):
        one, two = getattr(report, field.name), getattr(other, field.name)
        if field.name in ("finding_probabilities", "token_log_probabilities"):
            assert one == pytest.approx(two, abs=1e-5)
        elif field.name == "attention_maps":
            np.testing.assert_allclose(one, two, atol=1e-5)
        else:
            assert one == two, field.name


def test_image_list_and_list_of_lists_are_studies(generator, images):
    [lone] = generator.generate(images[0], options=SHORT)
    [listed] = generator.generate([images[0]], options=SHORT)
    [nested] = generator.generate([[images[0]]], options=SHORT)
    assert_same(lone, listed)
    assert_same(lone, nested)
    one, two = generator.generate(images[:2], options=SHORT)
    assert_same(one, lone)
    assert one.attention_maps.shape == two.attention_maps.shape == (14, 1, 4, 4)
    [both] = generator.generate([images[:2]], options=SHORT)
    assert both.attention_maps.shape == (14, 2, 4, 4)
    assert both.finding_probabilities != one.finding_probabilities


@pytest.mark.parametrize("num_beams", [1, 3])
def test_batch_of_unequal_studies_gives_the_same_as_each_alone(num_beams, generator, images):
    options = GenerationOptions(max_new_tokens=12, num_beams=num_beams)
    studies = [images[:3], images[3], images[4:]]
    positions = [["PA", "LATERAL", "AP"], ["UNKNOWN"], ["AP", "LL"]]
    indications = ["cough", "", "pain in the chest"]
    together = generator.generate(studies, view_positions=positions, indications=indications, options=options)
    assert [report.attention_maps.shape[1] for report in together] == [3, 1, 2]
    for number, report in enumerate(together):
        [alone] = generator.generate(
            [studies[number]],
            view_positions=[positions[number]],
            indications=[indications[number]],
            options=options,
        )
        assert_same(report, alone)


def test_parts_of_a_report_are_consistent(generator, images, tiny_checkpoint):
    [report] = generator.generate([images[:2]], view_positions=[["PA", "LATERAL"]], options=SHORT)
    assert report.report == "".join(report.tokens)
    assert len(report.tokens) == len(report.token_log_probabilities) == 12
    assert all(score <= 0 for score in report.token_log_probabilities)
    assert report.is_truncated
    sections = split_report(report.report)
    assert (report.findings, report.impression) == (sections.findings, sections.impression)
    np.testing.assert_allclose(report.attention_maps.sum(axis=(1, 2, 3)), 1, atol=1e-5)
    model = load_checkpoint(tiny_checkpoint).model
    squares = [[letterbox(image, 32) for image in images[:2]]]
    with torch.inference_mode():
        _, findings = model.encode_images(**batch_views(squares, [["PA", "LATERAL"]], model.config.image))
    expected = (findings.logits[0] / 1.5).sigmoid()  # the temperature of tiny_checkpoint
    assert report.finding_probabilities == pytest.approx(expected.tolist(), abs=1e-6)
    [probabilities] = generator.classify([images[:2]], view_positions=[["PA", "LATERAL"]])
    assert probabilities == pytest.approx(report.finding_probabilities, abs=1e-6)


def test_view_positions_and_indication_change_the_report(generator, images):
    [plain] = generator.generate(images[0], options=SHORT)
    [lateral] = generator.generate(images[0], view_positions=[["LATERAL"]], options=SHORT)
    [asked] = generator.generate(images[0], indications=["cough"], options=SHORT)
    assert lateral.finding_probabilities != plain.finding_probabilities
    assert asked.finding_probabilities == pytest.approx(plain.finding_probabilities)
    assert asked.token_log_probabilities != plain.token_log_probabilities


def test_last_item_of_the_stream_equals_generate(generator, images):
    views, positions = images[:2], ["PA", "LATERAL"]
    stream = list(generator.stream(views, view_positions=positions, indication="cough", options=SHORT))
    [report] = generator.generate([views], view_positions=[positions], indications=["cough"], options=SHORT)
    assert_same(stream[-1], report)
    assert stream[0].report == "" and stream[0].finding_probabilities == pytest.approx(report.finding_probabilities)
    assert len(stream) == 13
    for before, after in itertools.pairwise(stream):
        assert after.report.startswith(before.report)


def test_stream_has_whole_characters_up_to_the_end(memorized, images):
    generator, text = memorized
    options = GenerationOptions(max_new_tokens=80)
    [report] = generator.generate(images[0], options=options)
    assert report.report == text == "".join(report.tokens)
    assert (report.findings, report.impression) == ("Größe ≥ 5 °C 肺炎 🫁.", "ok.")
    assert not report.is_truncated
    assert len(report.tokens) == len(report.token_log_probabilities)
    *writing, last = generator.stream(images[0], options=options)
    assert_same(last, report)
    assert all(part.is_truncated and text.startswith(part.report) for part in writing)
    assert not any("\ufffd" in part.report for part in writing)


def test_character_cut_by_the_length_limit_is_marked(memorized, images):
    generator, _ = memorized
    num_tokens = len(generator.tokenizer.encode("Findings: Größe ≥ 5 °C 肺")) - 1
    options = GenerationOptions(max_new_tokens=num_tokens)
    [report] = generator.generate(images[0], options=options)
    assert report.report == "Findings: Größe ≥ 5 °C \ufffd" == "".join(report.tokens)
    assert_same(list(generator.stream(images[0], options=options))[-1], report)


def test_features_have_length_1_and_do_not_depend_on_the_batch(generator, images):
    together = generator.features([images[:2], images[2]], view_positions=[["PA", "LATERAL"], ["AP"]])
    alone = generator.features([images[2]], view_positions=[["AP"]])
    assert together.dtype == np.float32
    assert np.linalg.norm(together, axis=1) == pytest.approx([1.0, 1.0])
    assert together[1] == pytest.approx(alone[0], abs=1e-5)
    assert np.abs(together[0] - together[1]).max() > 1e-3


def test_heatmaps_have_the_sizes_of_the_images(generator, images):
    views = images[:2]
    [report] = generator.generate([views], options=SHORT)
    first, second = generator.heatmaps(report, views)
    assert first.shape == (14, views[0].height, views[0].width)
    assert second.shape == (14, views[1].height, views[1].width)
    for finding in range(14):
        hottest = [view[finding].max() for view in (first, second)]
        strongest = [view.max() for view in report.attention_maps[finding]]
        assert np.argmax(hottest) == np.argmax(strongest)
        assert 0 <= max(hottest) <= 1 + 1e-6
    with pytest.raises(ValueError, match="attention over 2 views does not fit 1 images"):
        generator.heatmaps(report, views[0])


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ({"images": []}, ValueError, "there is no study to report on"),
        ({"images": [[]]}, ValueError, "study 0 has no image"),
        ({"images": ["chest.png"]}, TypeError, "study 0: expected a PIL image, got str; read files first"),
        ({"images": [np.zeros((4, 4))]}, TypeError, "study 0: expected a PIL image, got ndarray"),
        ({"images": "one", "indications": []}, ValueError, "indications has 0 entries for 1 studies"),
        ({"images": "one", "view_positions": [["PA"]] * 2}, ValueError, "view_positions has 2 entries for 1 studies"),
        (
            {"images": "one", "view_positions": [["PA", "LATERAL"]]},
            ValueError,
            "study 0 has 1 images but 2 view positions",
        ),
        ({"images": Image.new("I;16", (8, 8))}, ValueError, "mode 'I;16' has more than 8 bits"),
    ],
)
def test_invalid_input_is_rejected(arguments, error, message, generator, images):
    if arguments["images"] == "one":
        arguments = arguments | {"images": images[0]}
    jaxtyping.config.update("jaxtyping_disable", True)  # users run without the checks of these tests
    try:
        with pytest.raises(error, match=message):
            generator.generate(**arguments)
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


def test_color_image_is_preprocessed_like_training_images(build_model, tiny_tokenizer):
    model = build_model(preprocessing=Preprocessing(normalize="minmax", clahe=True))
    generator = ReportGenerator(Checkpoint(model=model, tokenizer=tiny_tokenizer, calibration=Calibration()))
    gray = Image.fromarray(np.arange(50, 178, dtype=np.uint8).reshape(8, 16))
    expected = preprocess(gray, Preprocessing(normalize="minmax", clahe=True))
    assert np.array_equal(np.asarray(generator.preprocess(gray.convert("RGB"))), np.asarray(expected))
    assert not np.array_equal(np.asarray(expected), np.asarray(gray))


def test_model_without_report_training_only_classifies(tiny_checkpoint, generator, images):
    checkpoint = load_checkpoint(tiny_checkpoint)
    checkpoint.model.config = dataclasses.replace(checkpoint.model.config, writes_reports=False)
    silent = ReportGenerator(checkpoint, device="cpu")
    [read, other] = silent.generate(images[:2], options=SHORT)
    assert (read.report, read.tokens, read.is_truncated) == ("", (), False)
    assert read.finding_probabilities == pytest.approx(generator.classify(images[0])[0], abs=1e-5)
    assert read.finding_probabilities != other.finding_probabilities
    [streamed] = silent.stream(images[0], options=SHORT)
    assert_same(streamed, read)


def test_beam_search_cannot_be_streamed(generator, images):
    with pytest.raises(ValueError, match="a report cannot be streamed with num_beams=2; use 1"):
        generator.stream(images[0], options=GenerationOptions(num_beams=2))


def test_folder_of_a_run_gives_its_best_checkpoint(tiny_checkpoint, generator, images, tmp_path):
    shutil.copytree(tiny_checkpoint, tmp_path / "run/best")
    of_run = ReportGenerator.from_pretrained(tmp_path / "run", device="cpu")
    [report] = of_run.generate(images[0], options=SHORT)
    assert_same(report, generator.generate(images[0], options=SHORT)[0])


def test_unknown_checkpoint_name_is_rejected():
    with pytest.raises(ValueError, match="nowhere/at/all is neither a checkpoint folder nor a hub repository"):
        ReportGenerator.from_pretrained("nowhere/at/all")
    with pytest.raises(ValueError, match="nobody/has-this is neither a checkpoint folder nor a hub repository"):
        ReportGenerator.from_pretrained("nobody/has-this")


def test_lstm_generates_reports(build_model, tiny_tokenizer, images, tmp_path):
    save_checkpoint(
        tmp_path / "lstm",
        Checkpoint(model=build_model(kind="lstm"), tokenizer=tiny_tokenizer, calibration=Calibration()),
    )
    generator = ReportGenerator.from_pretrained(tmp_path / "lstm", device="cpu")
    [report] = generator.generate([images[:2]], options=SHORT)
    assert len(report.tokens) == 12
    assert not generator.calibration.is_calibrated


def test_loaded_generator_has_a_merged_adapter_and_the_same_output(build_model, tiny_tokenizer, images, tmp_path):
    model = build_model(lora=LoraSettings(rank=2, dropout=0.0))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_B." in name:
                parameter.normal_(std=0.3)
    checkpoint = Checkpoint(model=model, tokenizer=tiny_tokenizer, calibration=Calibration())
    save_checkpoint(tmp_path / "adapted", checkpoint)
    merged = ReportGenerator.from_pretrained(tmp_path / "adapted", device="cpu")
    assert not any(".lora_" in name for name, _ in merged.model.named_parameters())
    [report] = merged.generate(images[0], options=SHORT)
    [expected] = ReportGenerator(checkpoint, device="cpu").generate(images[0], options=SHORT)
    assert report.tokens == expected.tokens
    assert report.token_log_probabilities == pytest.approx(expected.token_log_probabilities, abs=1e-4)


def test_thresholds_decide_reports_only_if_the_calibration_says_so(build_model, tiny_tokenizer, images, tmp_path):
    model = build_model().eval()
    with torch.no_grad():
        model.finding_presence.mul_(50)  # the report depends on the findings
    thresholds = (0.02, 0.98) * (NUM_FINDINGS // 2)
    calibration = Calibration(temperature=2.0, thresholds=thresholds, num_studies=9)
    decided = dataclasses.replace(calibration, decides_reports=True)
    logits = torch.tensor(decided.decision_logits)
    torch.testing.assert_close((logits / 2.0).sigmoid(), torch.tensor(thresholds))
    reports = {}
    opposite = dataclasses.replace(decided, thresholds=thresholds[::-1])
    for name, given in (("by probability", calibration), ("by threshold", decided), ("by another", opposite)):
        save_checkpoint(tmp_path / name, Checkpoint(model=model, tokenizer=tiny_tokenizer, calibration=given))
        generator = ReportGenerator.from_pretrained(tmp_path / name)
        [reports[name]] = generator.generate(images[0], options=SHORT)
        assert [*generator.stream(images[0], options=SHORT)][-1].report == reports[name].report
    assert reports["by probability"].finding_probabilities == reports["by threshold"].finding_probabilities
    assert len({report.report for report in reports.values()}) == 3
