"""The two files that every scoring program reads, predictions and references, and the columns a user may name."""

from dataclasses import dataclass
from pathlib import Path

from eval.report_table import ReportTable, read_table


@dataclass(frozen=True, kw_only=True, slots=True)
class Columns:
    """Columns by the user's word; where none is given, the usual names are looked for."""

    prediction_id_column: str = ""
    """Column of the predictions that names the study."""
    report_column: str = ""
    """Column of the predictions that holds the report."""
    reference_id_column: str = ""
    """Column of the references that names the study."""
    reference_column: str = ""
    """Column of the references that holds the report; else findings and impression are put together."""
    subject_column: str = ""
    """Column that names the patient; without one, every study is a patient of its own."""
    source_column: str = ""
    """Column that says where a study is from, for figures by source."""
    view_column: str = ""
    """Column with the view or views, for figures by view."""


def read_files(
    predictions: Path, references: Path | None, columns: Columns, reference_split: str = ""
) -> tuple[ReportTable, ReportTable]:
    """Both tables; one file may hold both."""
    shared = {
        "subject_id": columns.subject_column,
        "source": columns.source_column,
        "view": columns.view_column,
    }
    is_only_file = references is None
    truth_id = columns.reference_id_column or (columns.prediction_id_column if is_only_file else "")
    named = {"study_id": truth_id, "text": columns.reference_column, **shared}
    truths = read_table(references or predictions, "reference", named, split=reference_split, is_only_file=is_only_file)
    # Patients, sources and views may stand in either file.
    own = {name: column for name, column in shared.items() if column and is_only_file}
    named = {"study_id": columns.prediction_id_column, "text": columns.report_column, **own}
    split = reference_split if is_only_file else ""
    given = read_table(predictions, "prediction", named, split=split, is_only_file=is_only_file)
    if is_only_file and given.record["report_column"] == truths.record["report_column"]:
        raise ValueError(
            f"{predictions} holds one report a study (column {given.record['report_column']!r}); name a second file "
            "with the references, or the two columns with --report-column and --reference-column"
        )
    return given, truths
