"""Versions of the files of the studies in a table, in a hidden file beside it (.NAME.versions), one JSON line a study.

They tell without reading a file whether it was replaced since its row was written. If a version is another one, the
digests of the contents are compared: a DICOM header may name another patient or view beside the same pixels. Without
this file, the images are compared with the column `images_hash`.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from data.images.pixels import ImageRejected
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
        """Save the versions of the files of a study, before it is read.

        Raises:
            OSError: they cannot be written; names the file.
        """
        entry = {"study": study, "versions": [file.version for file in files], "digests": _digests(files)}
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
        except OSError as error:  # a full disk does not say which file
            raise OSError(error.errno, error.strerror, str(self._path)) from error
        self._known[study] = entry

    def is_changed(self, study: str, files: Sequence[SourceFile], row: StoredRow, preprocessing: Preprocessing) -> bool:
        """Whether a study has other files or images than when its row was written."""
        if row.files != joined([file.name for file in files]):
            return True
        versions = [file.version for file in files]
        known = self._known.get(study, {})
        if all(versions) and known.get("versions") == versions:
            return False
        if "digests" in known:  # a file of an older version has none
            is_changed = known["digests"] != _digests(files)
        else:
            is_changed = images_hash_of(study_source(study, files, preprocessing)) != row.images_hash
        if not is_changed:
            self.add(study, files)
        return is_changed

    def _read(self) -> dict[str, dict[str, Any]]:
        """Entries by study, without damaged lines."""
        known: dict[str, dict[str, Any]] = {}
        if not self._path.is_file():
            return known
        with self._path.open(encoding="utf-8", errors="replace") as lines:
            while line := lines.readline(MAX_ROW_BYTES):
                try:
                    entry = json.loads(line)
                    known[entry["study"]] = entry
                except (ValueError, RecursionError, TypeError, KeyError):
                    continue
        return known


def _digests(files: Sequence[SourceFile]) -> list[str]:
    """SHA-256 of the content of each file; "" for one that cannot be read."""
    digests = []
    for file in files:
        try:
            digests.append(hashlib.sha256(file.read()).hexdigest())
        except ImageRejected:
            digests.append("")
    return digests
