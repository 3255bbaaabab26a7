"""The reports of Open-i: the library's XML files (loose or packed), Kaggle's table, or R2Gen's annotation in; what each
says out, with the images it names.

XML is read without document types, so without entities, and only up to MAX_XML_BYTES of it.

R2Gen's `annotation.json` of Open-i: the split that published systems are compared on, with texts and image paths.

Chen et al. 2020, "Generating Radiology Reports via Memory-driven Transformer": {"train": [{"id": "CXR12_IM-0001",
"report": "…", "image_path": ["CXR12_IM-0001/0.png", …]}, …], "val": […], "test": […]}.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from data.sources.open_i_archives import SUFFIXES, ArchiveCutShort, image_key, read_members
from data.study import later_split
from data.tables.rows import read_rows, require_columns

MAX_XML_BYTES = 2**20
REPORTS_TABLE, PROJECTIONS_TABLE = "indiana_reports.csv", "indiana_projections.csv"
_STUDY_ID = re.compile(r"CXR(\d{1,6})")


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenIReport:
    """A report, or the `fault` for which there is none. `images` are keys
    (`data.sources.open_i_archives.image_key`)."""

    study_id: str
    """ "CXR12": the library's uId, which is a patient's as well."""
    origin: str
    """The file it was read from."""
    indication: str = ""
    findings: str = ""
    impression: str = ""
    mesh_terms: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    caption: str = ""
    """How the examination was taken: "PA and lateral chest"."""
    fault: str = ""

    @property
    def has_text(self) -> bool:
        return bool(self.findings or self.impression)


def study_number(study_id: str) -> int:
    """12 of "CXR12" and of R2Gen's "CXR12_IM-0001". Raises ValueError for what is no such id."""
    match = _STUDY_ID.match(study_id)
    if match is None:
        raise ValueError(f"{study_id!r} is no study of Open-i, which are called CXR1, CXR2, …")
    return int(match[1])


def read_xml_reports(files: list[Path], root: Path, faults: list[str]) -> Iterator[OpenIReport]:
    """Every report among `files`, then those in archives of reports in `root` that are not loose as well. An archive
    that ends early is added to `faults`."""
    loose = [path for path in files if path.suffix.lower() == ".xml"]
    for path in loose:
        with path.open("rb") as file:
            yield parse_report(file.read(MAX_XML_BYTES + 1), origin=path.name)
    names = {path.name for path in loose}
    for archive in sorted(root.iterdir()):
        if "report" not in archive.name.lower() or not archive.name.lower().endswith(SUFFIXES):
            continue
        members = read_members(
            archive, wanted=lambda name: _is_report(name) and Path(name).name not in names, max_bytes=MAX_XML_BYTES
        )
        try:
            for member in members:
                name = Path(member.name).name
                yield (
                    _faulty(name, f"{name} {member.fault}")
                    if member.fault
                    else parse_report(member.content, origin=name)
                )
        except ArchiveCutShort as error:
            faults.append(str(error))


def parse_report(content: bytes, *, origin: str) -> OpenIReport:
    """What one XML file says; what is wrong with it becomes its `fault`."""
    if len(content) > MAX_XML_BYTES:
        return _faulty(origin, f"{origin} has more than {MAX_XML_BYTES} bytes; is it a report?")
    try:
        tree = fromstring(content, forbid_dtd=True)
    except DefusedXmlException:
        return _faulty(origin, f"{origin} has a document type or entities, which reports have no need of")
    except (ParseError, LookupError, ValueError) as error:
        return _faulty(origin, f"{origin} is damaged or cut short ({error}); download it again")
    identity = tree.find("uId")
    study_id = "" if identity is None else identity.get("id", "")
    if not _STUDY_ID.fullmatch(study_id):
        return _faulty(origin, f"{origin} has no uId such as CXR12 in it; is it a report of Open-i?")
    sections = {}
    for section in tree.iterfind(".//Abstract/AbstractText"):
        label = section.get("Label", "").lower()
        sections[label] = f"{sections.get(label, '')} {_line(section)}".strip()
    images = (image.get("id", "") for image in tree.iterfind("parentImage"))
    return OpenIReport(
        study_id=study_id,
        origin=origin,
        indication=sections.get("indication", ""),
        findings=sections.get("findings", ""),
        impression=sections.get("impression", ""),
        mesh_terms=tuple(filter(None, (_line(code) for code in tree.iterfind("MeSH/major")))),
        images=tuple(dict.fromkeys(image_key(image) or image for image in images)),
        caption=" ".join(dict.fromkeys(_line(caption) for caption in tree.iterfind("parentImage/caption"))),
    )


def read_kaggle_reports(table: Path, projections: dict[str, str]) -> Iterator[OpenIReport]:
    """Every row of Kaggle's `indiana_reports.csv`, with the images of it that `projections` has.

    Raises:
        ValueError: the table is damaged, or lacks a column; names both.
    """
    require_columns(table, ("uid", "findings", "impression"))
    images = {}
    for key in projections:
        images.setdefault(int(key.partition("_")[0]), []).append(key)
    for row in read_rows(table):
        origin = f"{table.name} row {row.number}"
        if row.fault:
            yield _faulty(origin, f"{table.name}: {row.fault}")
            continue
        cells = {name: " ".join(str(value or "").split()) for name, value in row.values.items()}
        if not cells["uid"].isascii() or not cells["uid"].isdigit():
            yield _faulty(origin, f"{origin}: uid is {cells['uid']!r}, not a number")
            continue
        yield OpenIReport(
            study_id=f"CXR{int(cells['uid'])}",
            origin=origin,
            indication=cells.get("indication", ""),
            findings=cells["findings"],
            impression=cells["impression"],
            mesh_terms=tuple(filter(None, (code.strip() for code in cells.get("MeSH", "").split(";")))),
            images=tuple(images.get(int(cells["uid"]), ())),
            caption=cells.get("image", ""),
        )


def read_projections(table: Path) -> dict[str, str]:
    """ "FRONTAL" or "LATERAL" for each image key of Kaggle's `indiana_projections.csv`; "" for another word.

    Raises:
        ValueError: the table is damaged, or lacks a column; names both.
    """
    require_columns(table, ("uid", "filename", "projection"))
    words = {"frontal": "FRONTAL", "lateral": "LATERAL"}
    found = {}
    for row in read_rows(table):
        if row.fault or not (key := image_key(str(row.values["filename"]).strip())):
            raise ValueError(f"{table}: {row.fault or f'row {row.number} names no image of Open-i'}; download it again")
        found[key] = words.get(str(row.values["projection"]).strip().lower(), "")
    return found


def view_position(projection: str, caption: str) -> str:
    """A frontal view is PA or AP where the caption names one of the two alone."""
    named = {word for word in ("PA", "AP") if re.search(rf"\b{word}\b", caption)}
    return named.pop() if projection == "FRONTAL" and len(named) == 1 else projection


def _faulty(origin: str, fault: str) -> OpenIReport:
    """Of the study, only what its file's name tells is known."""
    number = re.fullmatch(r"(\d{1,6})\.xml", origin, re.IGNORECASE)
    return OpenIReport(study_id=f"CXR{number[1]}" if number else origin, origin=origin, fault=fault)


def _is_report(name: str) -> bool:
    file = Path(name).name
    return file.lower().endswith(".xml") and not file.startswith(".")


def _line(element: Element) -> str:
    return " ".join("".join(element.itertext()).split())


MAX_BYTES = 64 * 2**20
_SPLITS = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Annotated:
    """What the annotation says of a study. `files` are paths below the folder of R2Gen's images."""

    split: str
    report: str
    files: tuple[str, ...]


def read_annotation(path: Path) -> dict[int, Annotated]:
    """By study number. A study that is in two splits counts to the one that must stay unlearned.

    Raises:
        ValueError: the file is absent, too large, no JSON or no annotation; says where.
    """
    if not path.is_file():
        raise ValueError(f"--annotation {path} is no file; name R2Gen's annotation.json")
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"--annotation {path} has {path.stat().st_size} bytes; the limit is {MAX_BYTES}")
    try:
        splits = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"--annotation {path} is not JSON ({error}); download it again") from error
    if not isinstance(splits, dict) or not splits or not set(splits) <= set(_SPLITS):
        raise ValueError(f"--annotation {path} must be an object with the splits train, val and test")
    annotated = {}
    for name, entries in splits.items():
        for position, entry in enumerate(entries if isinstance(entries, list) else [entries]):
            try:
                number = study_number(entry["id"])
                files = tuple(map(str, entry["image_path"]))
                report = " ".join(str(entry["report"]).split())
            except (TypeError, KeyError, ValueError) as error:
                reason = f"lacks {error}" if isinstance(error, KeyError) else error
                raise ValueError(f"--annotation {path}: entry {position} of {name}: {reason}") from error
            split = _SPLITS[name]
            if number in annotated:
                split = later_split(split, annotated[number].split)
            annotated[number] = Annotated(split=split, report=report, files=files)
    return annotated


def annotated_reports(annotated: dict[int, Annotated], *, origin: str) -> list[OpenIReport]:
    """The annotation's own texts, where no other reports are: findings alone, as R2Gen took them."""
    return [
        OpenIReport(study_id=f"CXR{number}", origin=origin, findings=entry.report)
        for number, entry in annotated.items()
    ]
