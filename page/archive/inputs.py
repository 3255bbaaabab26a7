"""What an archive run reads: a Parquet manifest, a folder, or a prepared data set.

    archive = open_input(Path("manifest.parquet"))
    archive.ids                                  # of all studies, none twice
    archive.dataset(archive.ids, rows_per_block=16)    # a ray.data.Dataset with a column "study"
    archive.source_of(row, preprocessing)        # the study of a row of it, in a worker

Columns of a manifest: `study_id` (text), `images` (paths or contents of files, one or a list), and optionally
`view_positions` (a text for each image, such as PA) and `indication`; of the prior study `prior_images`,
`prior_view_positions` and `prior_report`. Paths start from the folder of the manifest. The priors of a prepared data
set are used if the model was trained with priors; in a folder, no study is taken for the prior of another. A
folder is grouped into studies as `page.report FOLDER` does it, and its files are read where the worker runs, so on a
cluster all machines must have it under the same path. The same holds for a data set.
"""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.compute
import pyarrow.parquet
import ray.data

from data.images.pixels import MAX_FILE_BYTES, ImageRejected, read_bytes
from data.images.read import UNKNOWN_VIEW
from data.study import load_studies
from page.archive.reader import SourceOf
from page.study.plain_text import plain_line
from page.study.sources import group_studies, open_sources
from page.study.upload import UploadedImage, read_upload
from page.study.worklist import PriorSource, StudySource
from vlm.schema.findings import view_index
from vlm.schema.preprocessing import Preprocessing

_Array = pyarrow.Array | pyarrow.ChunkedArray
_REQUIRED = ("study_id", "images")
_PRIOR = ("prior_images", "prior_view_positions", "prior_report")
_OPTIONAL = ("view_positions", "indication", *_PRIOR)


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchiveInput:
    """The studies of an archive. `rejections`: reasons of studies that cannot be opened, and their files. `notes`:
    what the user should know."""

    ids: tuple[str, ...]
    source_of: SourceOf
    dataset: Callable[[Collection[str], int], "ray.data.Dataset"]
    """From the ids of the studies to read, and the number of rows per block."""
    rejections: dict[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def open_input(
    path: Path, *, split: str = "", skipped: Collection[Path] = (), reads_priors: bool = False
) -> ArchiveInput:
    """The input at a path. `split` chooses a split of a prepared data set ("": all); `skipped` are files and folders in
    a folder that are no study. `reads_priors`: whether the model was trained with prior studies.

    Raises:
        ValueError: it is none of the three, or empty; or a manifest lacks a column, has a study twice, or has prior
            studies that the model cannot read.
    """
    if path.is_dir() and (path / "dataset_dict.json").is_file():
        return _open_dataset(path, split, reads_priors)
    if split:
        raise ValueError(f"--split is for a prepared data set, and {path} is none")
    if path.is_dir():
        return _open_folder(path, skipped)
    if path.is_file() and path.suffix == ".parquet":
        return _open_manifest(path, reads_priors)
    problem = "is no Parquet file or folder" if path.exists() else "does not exist; check the path"
    raise ValueError(f"--input {path} {problem}")


def _open_folder(root: Path, skipped: Collection[Path]) -> ArchiveInput:
    with open_sources([root], is_limited=False, skipped=skipped) as (files, _):
        studies = group_studies(files)
    if not studies:
        raise ValueError(f"--input {root} holds no file")
    if all(file.name.endswith((".parquet", ".json")) for file in files):
        raise ValueError(f"--input {root} holds no image; if it holds manifests, name one of its Parquet files")
    rows, rejections = [], {}
    for name, members in studies:
        names = tuple(file.name for file in members)
        if [file.path for file in members] == [None]:
            rejections[name] = (_reason(members[0].read), names)
        else:
            paths = [str(file.path) for file in members]
            rows.append({"study": name, "files": list(names), "paths": paths, "study_uid": members[0].study_uid})
    texts = pyarrow.list_(pyarrow.string())
    schema = pyarrow.schema(
        [("study", pyarrow.string()), ("files", texts), ("paths", texts), ("study_uid", pyarrow.string())]
    )
    table = pyarrow.Table.from_pylist(rows, schema=schema)
    ids = tuple(name for name, _ in studies)
    return ArchiveInput(ids=ids, source_of=_folder_source, dataset=partial(_from_table, table), rejections=rejections)


def _reason(read: Callable[[], bytes]) -> str:
    try:
        read()
    except ImageRejected as rejected:
        return str(rejected)
    return "cannot be opened"  # pragma: no cover


def _folder_source(row: dict[str, Any], preprocessing: Preprocessing) -> StudySource:
    files = zip(row["paths"], row["files"], strict=True)
    return StudySource(
        name=row["study"],
        files=tuple(row["files"]),
        images=tuple(partial(_image_at, Path(path), name, preprocessing) for path, name in files),
        study_uid=row["study_uid"],
    )


def _image_at(path: Path, name: str, preprocessing: Preprocessing, view_position: str = "") -> UploadedImage:
    return _with_position(read_upload(read_bytes(path, name=name), name, preprocessing), view_position)


def _open_dataset(folder: Path, split: str, reads_priors: bool) -> ArchiveInput:
    studies = load_studies(folder)
    if split and split not in studies:
        raise ValueError(f"--split {split} is not in {folder}; choose one of {', '.join(studies)}")
    chosen = [split] if split else list(studies)
    if not sum(len(studies[one]) for one in chosen):
        raise ValueError(f"--input {folder} has no study" + (f" in split {split}" if split else ""))
    rows = [(study, one, index) for one in chosen for index, study in enumerate(studies[one]["study_id"])]
    table = pyarrow.table(dict(zip(("study", "split", "index"), map(list, zip(*rows, strict=True)), strict=True)))
    ids = _unique(table["study"].to_pylist(), f"--input {folder}")
    has_priors = any("prior_images" in studies[one].column_names for one in chosen)
    note = f"prior studies of {folder} are not read, because the checkpoint was trained without prior studies"
    return ArchiveInput(
        ids=ids,
        source_of=partial(_dataset_source, folder.resolve(), has_priors and reads_priors),
        dataset=partial(_from_table, table),
        notes=(note,) if not reads_priors and has_priors and any(_num_priors(studies[one]) for one in chosen) else (),
    )


def _num_priors(studies: Any) -> int:
    """Studies with a prior study; decodes no image."""
    if "prior_view_positions" not in studies.column_names:
        return 0
    return sum(map(bool, studies.select_columns("prior_view_positions")["prior_view_positions"]))


@cache
def _loaded(folder: Path) -> Any:
    return load_studies(folder)


def _dataset_source(folder: Path, with_prior: bool, row: dict[str, Any], preprocessing: Preprocessing) -> StudySource:
    """The images of a prepared data set are preprocessed already."""
    studies = _loaded(folder)[row["split"]]
    prior_texts = ["prior_view_positions", "prior_report", "prior_interval_days"] if with_prior else []
    texts = studies.select_columns(["view_positions", "indication", *prior_texts])[row["index"]]
    names, images = _stored_images(studies, row["index"], "images", texts["view_positions"])
    prior = None
    if with_prior and texts["prior_view_positions"]:
        _, prior_images = _stored_images(studies, row["index"], "prior_images", texts["prior_view_positions"])
        days = texts["prior_interval_days"]
        prior = PriorSource(images=prior_images, report=texts["prior_report"], interval_days=days)
    return StudySource(name=row["study"], files=names, images=images, indication=texts["indication"], prior=prior)


def _stored_images(
    studies: Any, index: int, column: str, view_positions: Sequence[str]
) -> tuple[tuple[str, ...], tuple[Callable[[], UploadedImage], ...]]:
    """Names of the images in a row of a data set, and the functions that read them."""
    read = cache(lambda: studies.select_columns([column])[index][column])

    def image(number: int, name: str) -> UploadedImage:
        try:
            picture = read()[number]
        except (OSError, SyntaxError, ValueError) as error:
            raise ImageRejected(f"{name}: cannot be decoded ({type(error).__name__})") from error
        return UploadedImage(name=name, image=picture, view_position=view_positions[number])

    names = tuple(f"image {number}" for number in range(1, len(view_positions) + 1))
    return names, tuple(partial(image, number, name) for number, name in enumerate(names))


def _open_manifest(path: Path, reads_priors: bool) -> ArchiveInput:
    try:
        schema = pyarrow.parquet.read_schema(path)
        _check_manifest(schema, path)
        studies = pyarrow.parquet.read_table(path, columns=["study_id"])["study_id"]
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"--input {path} is no readable Parquet file ({error}); write or copy it again") from error
    columns = [name for name in (*_REQUIRED, *_OPTIONAL) if name in schema.names]
    if "prior_images" in columns and not reads_priors:
        raise ValueError(
            f"--input {path} has prior studies, but the checkpoint was trained without prior studies and cannot "
            "compare; use another --checkpoint, or leave out the column prior_images"
        )
    ids = _unique(studies.to_pylist(), f"--input {path}")
    return ArchiveInput(
        ids=ids,
        source_of=partial(_manifest_source, path.parent.resolve()),
        dataset=partial(_from_manifest, path.resolve(), columns, len(ids)),
    )


def _check_manifest(schema: pyarrow.Schema, path: Path) -> None:
    """Raises ValueError if a column is missing or has a type that cannot be read."""
    types = pyarrow.types

    def is_text(kind: pyarrow.DataType) -> bool:
        return types.is_string(kind) or types.is_large_string(kind)

    def is_bytes(kind: pyarrow.DataType) -> bool:
        return types.is_binary(kind) or types.is_large_binary(kind)

    def item(kind: pyarrow.DataType) -> pyarrow.DataType:
        return kind.value_type if types.is_list(kind) or types.is_large_list(kind) else kind

    expected = {
        "study_id": ("text", is_text),
        "images": ("paths or bytes, one or a list", lambda kind: is_text(item(kind)) or is_bytes(item(kind))),
        "view_positions": ("text, one or a list", lambda kind: is_text(item(kind))),
        "indication": ("text", is_text),
        "prior_images": ("paths or bytes, one or a list", lambda kind: is_text(item(kind)) or is_bytes(item(kind))),
        "prior_view_positions": ("text, one or a list", lambda kind: is_text(item(kind))),
        "prior_report": ("text", is_text),
    }
    for name, (words, fits) in expected.items():
        if name not in schema.names:
            if name in _REQUIRED:
                raise ValueError(
                    f"--input {path} has no column {name!r}; it needs study_id and images, and may have "
                    f"{', '.join(_OPTIONAL)}; its columns are {', '.join(schema.names)}"
                )
        elif not fits(schema.field(name).type):
            raise ValueError(f"--input {path}: the column {name!r} is {schema.field(name).type}; it must be {words}")


def _manifest_source(folder: Path, row: dict[str, Any], preprocessing: Preprocessing) -> StudySource:
    images = _listed(row["images"])
    if not images:
        raise ValueError("its row in the manifest names no image")
    names, reads = _manifest_images(folder, images, _listed(row.get("view_positions")), preprocessing)
    prior, report = None, row.get("prior_report") or ""
    if prior_images := _listed(row.get("prior_images")):
        _, prior_reads = _manifest_images(folder, prior_images, _listed(row.get("prior_view_positions")), preprocessing)
        prior = PriorSource(images=prior_reads, report=report)
    elif report.strip():
        raise ValueError("its row has a prior_report but no prior_images; give both, or only the images")
    indication = row.get("indication") or ""
    return StudySource(name=row["study"], files=names, images=reads, indication=indication, prior=prior)


def _manifest_images(
    folder: Path, images: Sequence[Any], positions: Sequence[str | None], preprocessing: Preprocessing
) -> tuple[tuple[str, ...], tuple[Callable[[], UploadedImage], ...]]:
    """Names of the images (paths or contents), and the functions that read them."""
    positions = positions or [""] * len(images)
    if len(positions) != len(images):
        raise ValueError(f"its row has {len(images)} images but {len(positions)} view positions; give one for each")
    names, reads = [], []
    for number, (image, position) in enumerate(zip(images, positions, strict=True), start=1):
        if isinstance(image, bytes):
            names.append(f"image {number}")
            reads.append(partial(_image_in, image, names[-1], preprocessing, position))
        else:
            names.append(plain_line(image or f"image {number}"))
            reads.append(partial(_image_at, folder / (image or ""), names[-1], preprocessing, position))
    return tuple(names), tuple(reads)


def _image_in(content: bytes, name: str, preprocessing: Preprocessing, view_position: str) -> UploadedImage:
    if len(content) > MAX_FILE_BYTES:
        raise ImageRejected(f"{name}: has {len(content)} bytes; the limit is {MAX_FILE_BYTES}")
    return _with_position(read_upload(content, name, preprocessing), view_position)


def _with_position(image: UploadedImage, view_position: str | None) -> UploadedImage:
    """The given view position counts, or else the one of the DICOM header. A note says that a name is not known."""
    position = (view_position or "").strip().upper()
    if position in ("", UNKNOWN_VIEW):
        return image
    if not view_index(position):
        problem = f"has the view position {position!r} in the manifest, which is not known; give PA, AP or LATERAL."
        return replace(image, notes=(*image.notes, f"{image.name}: {problem}"))
    return replace(image, view_position=position)


def _listed(cell: Any) -> list[Any]:
    return cell if isinstance(cell, list) else [] if cell is None else [cell]


def _unique(ids: Sequence[str | None], where: str) -> tuple[str, ...]:
    """Raises ValueError if an id is missing or occurs twice."""
    if not ids:
        raise ValueError(f"{where} has no study")
    if None in ids or "" in ids:
        number = next(number for number, one in enumerate(ids, start=1) if not one)
        raise ValueError(f"{where}: row {number} has no study_id; give each study one")
    study, count = Counter(ids).most_common(1)[0]
    if count > 1:
        raise ValueError(f"{where}: {count} rows have the study_id {study!r}; put the images of a study in one row")
    return tuple(ids)


def _from_table(table: pyarrow.Table, ids: Collection[str], rows_per_block: int) -> "ray.data.Dataset":
    rows = table.filter(pyarrow.compute.is_in(table["study"], pyarrow.array(list(ids), pyarrow.string())))
    return ray.data.from_arrow([rows.slice(start, rows_per_block) for start in range(0, len(rows), rows_per_block)])


def _from_manifest(
    path: Path, columns: Sequence[str], num_studies: int, ids: Collection[str], rows_per_block: int
) -> "ray.data.Dataset":
    """Ray streams the file, so a manifest of contents may be larger than the memory."""
    rows = ray.data.read_parquet(str(path), columns=list(columns), partitioning=None).rename_columns(
        {"study_id": "study"}
    )
    if len(ids) < num_studies:
        wanted = ray.put(pyarrow.array(list(ids), pyarrow.string()))
        rows = rows.map_batches(_only, fn_kwargs={"wanted": wanted}, batch_format="pyarrow")
    return rows.repartition(target_num_rows_per_block=rows_per_block)


def _only(rows: pyarrow.Table, wanted: "ray.ObjectRef | _Array") -> pyarrow.Table:
    wanted = ray.get(wanted) if isinstance(wanted, ray.ObjectRef) else wanted
    return rows.filter(pyarrow.compute.is_in(rows["study"].cast(pyarrow.string()), wanted))
