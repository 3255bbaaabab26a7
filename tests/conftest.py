"""Shared fixtures: a tiny report model with random weights, its checkpoint folder, and synthetic images.

Weights have a large standard deviation (0.3 instead of 0.02), so that an untrained model gives different outputs for
different inputs.
"""

import asyncio
import gc
import os
import sys
import warnings

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import numpy as np
import pytest
from PIL import Image

from tests.helpers.dicom.files import dicom  # noqa: F401
from tests.helpers.web.browser import address_of, browser, corrections, open_page, square_image, tall_image  # noqa: F401

SENTENCES = (
    "Findings: The heart is enlarged. There is a small left pleural effusion. Impression: Cardiomegaly.",
    "Findings: The lungs are clear. No pneumothorax. Impression: No acute cardiopulmonary abnormality.",
    "Indication: cough and fever for 3 days\n",
)


@pytest.fixture(autouse=True)
def same_random_numbers():
    """Start every test from the same seed, if torch is loaded."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(scope="session")
def tiny_tokenizer():
    from vlm.inputs.tokenizer import train_tokenizer

    return train_tokenizer(SENTENCES, vocab_size=300)


@pytest.fixture(scope="session")
def tiny_config(tiny_tokenizer):
    """`tiny_config(kind="lstm", lora=…, …)`: the configuration of a report model on 32 pixels, 4 x 4 patches."""
    from vlm.config import DecoderConfig, EncoderConfig, ImageGeometry, ReportModelConfig

    vit = {
        "model_type": "vit",
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "patch_size": 8,
        "initializer_range": 0.3,
    }
    vocab_size = len(tiny_tokenizer)
    decoders = {
        "gpt2": {
            "model_type": "gpt2",
            "n_embd": 16,
            "n_layer": 2,
            "n_head": 2,
            "n_positions": 96,
            "vocab_size": vocab_size,
            "initializer_range": 0.3,
            "bos_token_id": tiny_tokenizer.bos_token_id,
            "eos_token_id": tiny_tokenizer.eos_token_id,
        },
        "lstm": {"vocab_size": vocab_size, "n_embd": 16, "n_layer": 2, "dropout": 0.1},
    }

    def build(*, kind="gpt2", encoder=None, decoder=None, **settings):
        return ReportModelConfig(
            encoder=encoder or EncoderConfig(architecture=vit),
            decoder=decoder or DecoderConfig(kind=kind, architecture=decoders[kind]),
            image=ImageGeometry(size=32),
            num_query_heads=2,
            **{"pool": 2} | settings,
        )

    return build


@pytest.fixture(scope="session")
def build_model(tiny_config):
    """`build_model(seed=0, **settings)`: the report model of `tiny_config(**settings)`, in evaluation mode."""
    import torch

    from vlm.model import ReportModel

    def build(seed=0, **settings):
        torch.manual_seed(seed)
        model = ReportModel(tiny_config(**settings))
        torch.manual_seed(seed)  # random values for the adapters too
        with torch.no_grad():
            for module in (model.finding_queries, model.vision_projector, model.finding_projector):
                for parameter in module.parameters():
                    if parameter.ndim > 1:
                        parameter.normal_(std=0.3)
        return model.eval()

    return build


@pytest.fixture(scope="session")
def tiny_model(build_model):
    """Shared by all tests; do not change it."""
    return build_model()


@pytest.fixture(scope="session")
def tiny_lstm(build_model):
    """Shared by all tests; do not change it."""
    return build_model(kind="lstm")


@pytest.fixture(scope="session")
def tiny_checkpoint(build_model, tiny_tokenizer, tmp_path_factory):
    """A checkpoint folder with random weights. Shared by all tests; copy it before a change."""
    from vlm.checkpoint.store import Checkpoint, save_checkpoint
    from vlm.uncertainty import Calibration

    folder = tmp_path_factory.mktemp("checkpoint") / "tiny"
    calibration = Calibration(temperature=1.5, num_studies=10)
    save_checkpoint(folder, Checkpoint(model=build_model(), tokenizer=tiny_tokenizer, calibration=calibration))
    return folder


@pytest.fixture(scope="session")
def prior_checkpoint(build_model, tiny_tokenizer, tmp_path_factory):
    """Like `tiny_checkpoint`, of a model that compares with a prior study and writes what it finds."""
    import torch

    from vlm.checkpoint.store import Checkpoint, save_checkpoint
    from vlm.uncertainty import Calibration

    model = build_model(prior=True)
    with torch.no_grad():
        for parameter in (model.change_head.output, model.change_embedding):
            parameter.normal_(std=0.3)
    folder = tmp_path_factory.mktemp("prior_checkpoint") / "tiny"
    save_checkpoint(folder, Checkpoint(model=model, tokenizer=tiny_tokenizer, calibration=Calibration(num_studies=10)))
    return folder


@pytest.fixture
def encoder_passes():
    """`encoder_passes(generator)`: a list that gets the number of images of each later pass through its encoder."""
    hooks = []

    def count(generator):
        sizes = []
        hooks.append(generator.model.encoder.register_forward_hook(lambda *call: sizes.append(len(call[-1]))))
        return sizes

    yield count
    for hook in hooks:
        hook.remove()


@pytest.fixture(scope="session")
def images():
    """Six different gray images; none is square."""
    rng = np.random.default_rng(0)
    sizes = [(40, 32), (32, 40), (50, 45), (20, 64), (33, 32), (90, 30)]
    return [
        Image.fromarray(rng.integers(0, 256, (height // 8 + 1, width // 8 + 1), dtype=np.uint8)).resize((width, height))
        for width, height in sizes
    ]


@pytest.fixture(scope="session")
def study_batch(tiny_tokenizer, images):
    """Arguments of ReportModel.forward for three studies: two views and a report, one view and a longer report, one
    view without a report. `study_batch(only=[0])` has only these studies, with the padding that they need."""
    import torch

    from vlm.config import ImageGeometry
    from vlm.inputs.batch import batch_tokens, batch_views
    from vlm.inputs.image import letterbox
    from vlm.inputs.tokenizer import encode_prompt, encode_report

    views = [images[:2], images[2:3], images[3:4]]
    positions = [["PA", "LATERAL"], ["AP"], ["UNKNOWN"]]
    indications = ["cough", "", "chest pain for days"]
    reports = [SENTENCES[0][:30], SENTENCES[1][:60], ""]
    mask = torch.tensor([[True] * 14, [False] * 7 + [True] * 7, [True] * 14])
    targets = torch.tensor([[1.0, 0.0] * 7, [0.0, 1.0] * 7, [1.0] * 14])
    pad = tiny_tokenizer.pad_token_id

    def build(only=(0, 1, 2)):
        texts = [
            encode_report(tiny_tokenizer, reports[n], max_tokens=40) if reports[n] else [tiny_tokenizer.bos_token_id]
            for n in only
        ]
        squares = [[letterbox(image, 32) for image in views[n]] for n in only]
        prompt_ids, prompt_mask = batch_tokens(
            [encode_prompt(tiny_tokenizer, indications[n]) for n in only], pad_token_id=pad
        )
        input_ids, attention_mask = batch_tokens(texts, pad_token_id=pad)
        return batch_views(squares, [positions[n] for n in only], ImageGeometry(size=32)) | {
            "prompt_ids": prompt_ids,
            "prompt_mask": prompt_mask,
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "finding_targets": targets[list(only)],
            "finding_mask": mask[list(only)],
        }

    return build


@pytest.fixture(scope="session")
def study_prefix(study_batch):
    """`study_prefix(model, only=(0, 1, 2))`: the prefix that the model computes for these studies."""
    import torch

    def build(model, only=(0, 1, 2)):
        names = ("pixel_values", "view_indices", "view_mask", "prompt_ids", "prompt_mask")
        batch = study_batch(only)
        with torch.inference_mode():
            return model.prefix(**{name: batch[name] for name in names})

    return build


@pytest.fixture(scope="session")
def small_dataset(tmp_path_factory):
    """Folder of a prepared data set of synthetic studies, 48 pixels: 16 for training, 6 for validation, 6 for test."""
    import datasets

    from data.study import FEATURES
    from data.synthetic.source import make_study

    def rows(start, stop):
        for number in range(start, stop):
            study = make_study(0, number, 48)
            boxes = [{"finding": box.finding, "view": box.view, "box": box.box} for box in study.boxes]
            yield {name: getattr(study, name) for name in FEATURES} | {"images": list(study.images), "boxes": boxes}

    folder = tmp_path_factory.mktemp("studies") / "small"
    bounds = {"train": (0, 16), "validation": (20, 26), "test": (30, 36)}
    datasets.DatasetDict(
        {split: datasets.Dataset.from_list(list(rows(*bound)), features=FEATURES) for split, bound in bounds.items()}
    ).save_to_disk(str(folder))
    return folder


@pytest.fixture(scope="session")
def small_studies(small_dataset):
    from data.study import load_studies

    return load_studies(small_dataset)


@pytest.fixture(scope="session")
def report_pairs():
    """300 lower-case predictions and references: empty, equal, repeated, shuffled, and in other scripts."""
    import random

    chooser = random.Random(0)
    language = (
        "the heart is normal in size no pleural effusion effusions or pneumothorax opacity opacities opacified 1.5 cm "
        "x-ray unchanged, clear. . ( épanchement ödem 胸水 ß t8 lobe lobes's <unk> a"
    )
    words = language.split()
    references = [" ".join(chooser.choices(words, k=chooser.randint(1, 50))) for _ in range(294)]
    predictions = []
    for reference in references:
        written = reference.split()
        for _ in range(chooser.randint(0, 12)):
            written[chooser.randrange(len(written))] = chooser.choice(words)
        start = chooser.randint(0, 10)
        predictions.append(" ".join(written[start:] + written[: start // 2] * chooser.randint(0, 2)))
    special = [
        ("", "a"),
        ("a", ""),
        ("", ""),
        ("normal " * 40, "normal"),
        ("no effusion", "no effusion"),
        ("胸水", "胸"),
    ]
    return (
        predictions + [prediction.strip() for prediction, _ in special],
        references + [reference for _, reference in special],
    )


@pytest.fixture(scope="session")
def recorded_study(images):
    """A StudyRecord of two DICOM views of one patient, DOE^JANE, who is also named in the indication."""
    from datetime import UTC, datetime

    from data.images.dicom.identifiers import DicomIdentifiers
    from page.study.findings import RecordedFinding
    from page.study.record import ModelIdentity, StudyRecord
    from page.study.upload import UploadedImage
    from vlm.schema.findings import BLANK, FINDINGS, NEGATIVE, POSITIVE

    def identifiers(number):
        return DicomIdentifiers(
            study_instance_uid="1.2.3",
            series_instance_uid="1.2.3.4",
            sop_instance_uid=f"1.2.3.4.{number}",
            sop_class_uid="1.2.840.10008.5.1.4.1.1.1.1",
            modality="DX",
            patient_id="PID4711",
            patient_name="DOE^JANE",
            patient_birth_date="19560712",
            patient_sex="F",
            accession_number="ACC99",
            study_date="20260102",
            study_time="101112",
        )

    views = [("jane_doe_front.dcm", "PA"), ("jane_doe_side.dcm", "LL")]
    stated = {"Cardiomegaly": POSITIVE, "Pneumothorax": NEGATIVE}
    rows = [
        RecordedFinding(
            finding=finding,
            probability=0.9 if finding in ("Cardiomegaly", "Pleural Effusion") else 0.001,
            threshold=0.25,
            label=stated.get(finding, BLANK),
            disagrees=finding == "Pleural Effusion",
            severity=("moderate", 0.75) if finding == "Pleural Effusion" else None,
        )
        for finding in FINDINGS
    ]
    attention = np.full((len(FINDINGS), 2, 4, 4), 0.4 / 31, dtype=np.float32)
    attention[:, 1, 1, 2] = 0.6
    attention[FINDINGS.index("Pleural Effusion")] = attention[0].swapaxes(1, 2)
    return StudyRecord(
        views=tuple(
            UploadedImage(name=name, image=images[number], view_position=view, identifiers=identifiers(number))
            for number, (name, view) in enumerate(views)
        ),
        indication="Ms. Jane Doe has a cough.",
        findings="The heart is enlarged. No pneumothorax.",
        impression="Cardiomegaly.",
        original=("The heart is enlarged. No pneumothorax.", "Cardiomegaly."),
        finding_rows=tuple(rows),
        num_calibration_studies=40,
        warnings=('The report both states and denies Edema: "Edema." / "No edema."',),
        attention_maps=attention,
        square=32,
        model=ModelIdentity(name="training/best", hash="0123456789abcdef", program_version="0.1.0"),
        read_at=datetime(2026, 11, 20, 15, 30, tzinfo=UTC),
    )


@pytest.fixture
def compared_study(recorded_study, images):
    """The record of `recorded_study` with a prior study, 30 days earlier, since which the effusion is worse."""
    from dataclasses import replace

    from page.study.prior import PriorStudy
    from page.study.upload import UploadedImage

    header = recorded_study.views[0].identifiers
    uids = {"study_instance_uid": "1.2.2", "series_instance_uid": "1.2.2.4", "sop_instance_uid": "1.2.2.4.1"}
    earlier = UploadedImage(
        name="prior jane_doe_before.dcm",
        image=images[2],
        view_position="AP",
        identifiers=replace(header, **uids, study_date="20251203"),
    )
    prior = PriorStudy(images=(earlier,), report="Findings: Jane Doe has an effusion.", interval_days=30)
    changes = {"Pleural Effusion": ("worse", 0.87), "Pneumothorax": ("resolved", 0.6), "Edema": ("new", 0.5)}
    rows = (
        replace(
            row,
            change=changes.get(row.finding, ("none", 0.9)) if row.finding != "No Finding" else None,
            stated_changes=("better",) if row.finding == "Pleural Effusion" else (),
        )
        for row in recorded_study.finding_rows
    )
    return replace(recorded_study, prior=prior, finding_rows=tuple(rows))


@pytest.fixture(scope="module")
def gradio_cleanup():
    """For test files that build pages: clean up their event loops before the next test file."""
    yield
    asyncio.set_event_loop(None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
