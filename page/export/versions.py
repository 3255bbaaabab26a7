"""Versions of the files of the studies in a table, in a hidden file beside it (.NAME.versions), one JSON line a study.

They tell without reading an image whether a file was replaced since its row was written. Without this file, or if a
version is another one, the images themselves are compared with the column `images_hash`.
"""

import json
from collections.abc import Sequence

from page.export.table import MAX_ROW_BYTES, StoredRow, StudyTable, joined
from page.study.sources import SourceFile
from page.study.worklist import images_hash_of, study_source
from vlm.schema.preprocessing import Preprocessing


class FileVersions:
    """The versions of the files of each study of a table; `add` overrides an earlier entry."""

    def __init__(self, table: StudyTable):
        self._path = table.path.with_name(f".{table.path.name}.versions")
        if not table.rows:
            self._path.unlink(missing_ok=True)
        self._known = self._read()

    def add(self, study: str, files: Sequence[SourceFile]) -> None:
        """Save the versions of the files of a study, before its row is written.

        Raises:
            OSError: they cannot be written; names the file.
        """
        versions = [file.version for file in files]
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"study": study, "versions": versions}) + "\n")
        except OSError as error:  # a full disk does not say which file
            raise OSError(error.errno, error.strerror, str(self._path)) from error
        self._known[study] = versions

    def is_changed(self, study: str, files: Sequence[SourceFile], row: StoredRow, preprocessing: Preprocessing) -> bool:
        """Whether a study has other files or images than when its row was written."""
        if row.files != joined([file.name for file in files]):
            return True
        versions = [file.version for file in files]
        if all(versions) and self._known.get(study) == versions:
            return False
        if images_hash_of(study_source(study, files, preprocessing)) != row.images_hash:
            return True
        self.add(study, files)
        return False

    def _read(self) -> dict[str, list[str]]:
        """Entries by study, without damaged lines."""
        known: dict[str, list[str]] = {}
        if not self._path.is_file():
            return known
        with self._path.open(encoding="utf-8", errors="replace") as lines:
            while line := lines.readline(MAX_ROW_BYTES):
                try:
                    entry = json.loads(line)
                    known[entry["study"]] = entry["versions"]
                except (ValueError, RecursionError, TypeError, KeyError):
                    continue
        return known
