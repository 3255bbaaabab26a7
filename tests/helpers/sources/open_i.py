"""Files of Open-i as downloaded."""

import io
import json
import re
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

from data.images.encode import encode_png
from data.pipeline.raw_study import PlanContext, RawStudy, Rejection
from data.sources.open_i import OpenISource

TEXTS = {"INDICATION": "Cough.", "COMPARISON": "None.", "FINDINGS": "Lungs are clear.", "IMPRESSION": "No disease."}


def report(
    number: int, *, images: tuple[str, ...] | None = None, mesh_terms=("normal",), caption="", **texts: str
) -> str:
    """An XML report with only the elements that are read."""
    images = images if images is not None else (f"CXR{number}_IM-0{number}-1001", f"CXR{number}_IM-0{number}-2001")
    texts = TEXTS | texts
    sections = "".join(f'<AbstractText Label="{label}">{text}</AbstractText>' for label, text in texts.items())
    codes = "".join(f"<major>{code}</major>" for code in mesh_terms)
    parents = "".join(f'<parentImage id="{name}"><caption>{caption}</caption></parentImage>' for name in images)
    return (
        f'<?xml version="1.0" encoding="utf-8"?><eCitation><uId id="CXR{number}"/><MedlineCitation><Article><Abstract>'
        f"{sections}</Abstract></Article></MedlineCitation><MeSH>{codes}<automatic>opacity</automatic></MeSH>{parents}"
        "</eCitation>"
    )


def image_bytes(number: int = 0) -> bytes:
    """A noise image, which gzip cannot compress, so that cutting the archive cuts the images."""
    pixels = np.random.default_rng(number).integers(0, 256, size=(40, 30), dtype=np.uint8)
    return encode_png(Image.fromarray(pixels))


def pack(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def packed(root: Path, numbers=(1, 2, 3)) -> Path:
    """NLM's two archives."""
    root.mkdir(exist_ok=True)
    pack(root / "NLMCXR_reports.tgz", {f"ecgen-radiology/{number}.xml": report(number).encode() for number in numbers})
    names = [f"CXR{number}_IM-0{number}-{series}001.png" for number in reversed(numbers) for series in (1, 2)]
    pack(root / "NLMCXR_png.tgz", {name: image_bytes(index) for index, name in enumerate(names)})
    return root


def unpacked(root: Path, reports: dict[str, str]) -> Path:
    (root / "ecgen-radiology").mkdir(parents=True)
    for name, text in reports.items():
        (root / "ecgen-radiology" / name).write_text(text, encoding="utf-8")
        for image in re.findall('parentImage id="([^"]*)"', text):
            (root / f"{image}.png").write_bytes(image_bytes())
    return root


def annotation(path: Path, **splits: list[str]) -> Path:
    entries = {
        split: [{"id": name, "report": "Clear.", "image_path": [f"{name}/0.png"], "split": split} for name in names]
        for split, names in splits.items()
    }
    path.write_text(json.dumps(entries))
    return path


def given(root: Path, **options) -> tuple[dict[str, RawStudy], dict[str, str], tuple[str, ...]]:
    """The raw studies and the reasons of rejections by study, and the notes."""
    work = root.parent / "work"
    work.mkdir(exist_ok=True)
    plan = OpenISource(root=root, **options).plan(PlanContext(work=work))
    outcomes = list(plan.raw_studies)
    assert len(outcomes) == plan.num_studies
    rejected = {outcome.study_id: outcome.reason for outcome in outcomes if isinstance(outcome, Rejection)}
    return (
        {raw_study.study_id: raw_study for raw_study in outcomes if not isinstance(raw_study, Rejection)},
        rejected,
        plan.notes,
    )
