"""Reports of Open-i, with the images each one names, from any of three forms.

- NLM's XML files, loose or in a tar archive. At most MAX_XML_BYTES are read; document types and entities are rejected.
- Kaggle's `indiana_reports.csv`, with `indiana_projections.csv` for the images.
- R2Gen's `annotation.json` (Chen et al. 2020, "Generating Radiology Reports via Memory-driven Transformer"), with the
  split that most papers use: {"train": [{"id": "CXR12_IM-0001", "report": "…", "image_path": ["CXR12_IM-0001/0.png",
  …]}, …], "val": […], "test": […]}.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from data.reports.plain_text import join_lines, plain_text
from data.sources.open_i_archives import SUFFIXES, TruncatedArchiveError, image_key, read_members
from data.study import later_split
from data.tables.rows import read_rows, require_columns

MAX_XML_BYTES = 2**20
MAX_ANNOTATION_BYTES = 64 * 2**20
REPORTS_TABLE, PROJECTIONS_TABLE = "indiana_reports.csv", "indiana_projections.csv"
_STUDY_ID = re.compile(r"CXR(\d{1,6})")
_SPLITS = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenIReport:
    """A report, or the `error` that made it unreadable. `images` are keys (`open_i_archives.image_key`)."""

    study_id: str
    """NLM's uId, such as "CXR12". It also identifies the patient."""
    origin: str
    """The file it was read from."""
    indication: str = ""
    findings: str = ""
    impression: str = ""
    mesh_terms: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    caption: str = ""
    """Which views were taken, such as "PA and lateral chest"."""
    error: str = ""

    @property
    def has_text(self) -> bool:
        return bool(self.findings or self.impression)


def study_number(study_id: str) -> int:
    """The number in "CXR12" or in R2Gen's "CXR12_IM-0001". Raises ValueError for any other id."""
    match = _STUDY_ID.match(study_id)
    if match is None:
        raise ValueError(f"{study_id!r} is not a study of Open-i; their ids are CXR1, CXR2, …")
    return int(match[1])


def read_xml_reports(files: list[Path], root: Path, archive_errors: list[str]) -> Iterator[OpenIReport]:
    """Yield the XML reports in `files`, then those in report archives in `root` that are not also loose files.

    Appends a message to `archive_errors` for each archive that ends early.
    """
    loose = [path for path in files if path.suffix.lower() == ".xml"]
    for path in loose:
        with path.open("rb") as file:
            yield parse_report(file.read(MAX_XML_BYTES + 1), origin=path.name)
    names = {path.name for path in loose}

    def is_new_report(member: str) -> bool:
        name = Path(member).name
        return name.lower().endswith(".xml") and not name.startswith(".") and name not in names

    for archive in sorted(root.iterdir()):
        if "report" not in archive.name.lower() or not archive.name.lower().endswith(SUFFIXES):
            continue
        try:
            for member in read_members(archive, wanted=is_new_report, max_bytes=MAX_XML_BYTES):
                name, error = Path(member.name).name, member.error
                yield _unreadable(name, f"{name} {error}") if error else parse_report(member.content, origin=name)
        except TruncatedArchiveError as error:
            archive_errors.append(str(error))


def parse_report(content: bytes, *, origin: str) -> OpenIReport:
    """Parse one XML file. Problems go into the report's `error`."""
    if len(content) > MAX_XML_BYTES:
        return _unreadable(origin, f"{origin} has more than {MAX_XML_BYTES} bytes; is it a report?")
    try:
        tree = fromstring(content, forbid_dtd=True)
    except DefusedXmlException:
        return _unreadable(origin, f"{origin} has a document type or entities, which reports do not need")
    except (ParseError, LookupError, ValueError) as error:
        return _unreadable(origin, f"{origin} is damaged or cut short ({error}); download it again")
    identity = tree.find("uId")
    study_id = "" if identity is None else identity.get("id", "")
    if not _STUDY_ID.fullmatch(study_id):
        return _unreadable(origin, f"{origin} has no uId such as CXR12; is it a report of Open-i?")
    sections = {}
    for section in tree.iterfind(".//Abstract/AbstractText"):
        label = section.get("Label", "").lower()
        sections[label] = f"{sections.get(label, '')} {_text(section)}".strip()
    images = (image.get("id", "") for image in tree.iterfind("parentImage"))
    return OpenIReport(
        study_id=study_id,
        origin=origin,
        **{name: sections.get(name, "") for name in ("indication", "findings", "impression")},
        mesh_terms=tuple(filter(None, (_text(code) for code in tree.iterfind("MeSH/major")))),
        images=tuple(dict.fromkeys(image_key(image) or image for image in images)),
        caption=" ".join(dict.fromkeys(_text(caption) for caption in tree.iterfind("parentImage/caption"))),
    )


def read_kaggle_reports(table: Path, projections: dict[str, str]) -> Iterator[OpenIReport]:
    """Yield each row of Kaggle's `indiana_reports.csv`, with the images that `projections` lists for it.

    Raises:
        ValueError: the table is damaged or lacks a column.
    """
    require_columns(table, ("uid", "findings", "impression"))
    images = {}
    for key in projections:
        images.setdefault(int(key.partition("_")[0]), []).append(key)
    for row in read_rows(table):
        origin = f"{table.name} row {row.number}"
        if row.error:
            yield _unreadable(origin, f"{table.name}: {row.error}")
            continue
        cells = {name: join_lines(plain_text(str(value or ""))) for name, value in row.values.items()}
        if not re.fullmatch("[0-9]{1,6}", cells["uid"]):
            yield _unreadable(origin, f"{origin}: uid is {cells['uid']!r}, not a number")
            continue
        yield OpenIReport(
            study_id=f"CXR{int(cells['uid'])}",
            origin=origin,
            **{name: cells.get(name, "") for name in ("indication", "findings", "impression")},
            mesh_terms=tuple(filter(None, (code.strip() for code in cells.get("MeSH", "").split(";")))),
            images=tuple(images.get(int(cells["uid"]), ())),
            caption=cells.get("image", ""),
        )


def read_projections(table: Path) -> dict[str, str]:
    """The view of each image key in Kaggle's `indiana_projections.csv`: "FRONTAL", "LATERAL" or "" (any other word).

    Raises:
        ValueError: the table is damaged or lacks a column.
    """
    require_columns(table, ("uid", "filename", "projection"))
    words = {"frontal": "FRONTAL", "lateral": "LATERAL"}
    found = {}
    for row in read_rows(table):
        if row.error or not (key := image_key(str(row.values["filename"]).strip())):
            raise ValueError(f"{table}: {row.error or f'row {row.number} names no image of Open-i'}; download it again")
        found[key] = words.get(str(row.values["projection"]).strip().lower(), "")
    return found


def view_position(projection: str, caption: str) -> str:
    """PA or AP for a frontal view if the caption names exactly one of them; otherwise the projection."""
    named = {word for word in ("PA", "AP") if re.search(rf"\b{word}\b", caption)}
    return named.pop() if projection == "FRONTAL" and len(named) == 1 else projection


def _unreadable(origin: str, error: str) -> OpenIReport:
    """A report with an error. Its study id comes from the file name, if that is a number."""
    number = re.fullmatch(r"(\d{1,6})\.xml", origin, re.IGNORECASE)
    return OpenIReport(study_id=f"CXR{number[1]}" if number else origin, origin=origin, error=error)


def _text(element: Element) -> str:
    return join_lines("".join(element.itertext()))


@dataclass(frozen=True, kw_only=True, slots=True)
class AnnotatedStudy:
    """A study in R2Gen's annotation. `files` are paths below the folder with R2Gen's images."""

    split: str
    report: str
    files: tuple[str, ...]


def read_annotation(path: Path) -> dict[int, AnnotatedStudy]:
    """R2Gen's studies by study number. A study in two splits counts for the later one (`later_split`).

    Raises:
        ValueError: the file is missing, too large, not JSON or no annotation; the message names the entry.
    """
    if not path.is_file():
        raise ValueError(f"--annotation {path} is not a file; name R2Gen's annotation.json")
    if path.stat().st_size > MAX_ANNOTATION_BYTES:
        raise ValueError(f"--annotation {path} has {path.stat().st_size} bytes; the limit is {MAX_ANNOTATION_BYTES}")
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
                report = join_lines(str(entry["report"]))
            except (TypeError, KeyError, ValueError) as error:
                reason = f"lacks {error}" if isinstance(error, KeyError) else error
                raise ValueError(f"--annotation {path}: entry {position} of {name}: {reason}") from error
            split = later_split(_SPLITS[name], annotated[number].split if number in annotated else "")
            annotated[number] = AnnotatedStudy(split=split, report=report, files=files)
    return annotated
