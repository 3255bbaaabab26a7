"""The reports of MIMIC-CXR: one text file a study, in folders or in the zip archive they are published as."""

import zipfile
import zlib
from pathlib import Path

MAX_REPORT_BYTES = 2**20
ARCHIVE, FOLDER = "mimic-cxr-reports.zip", "mimic-cxr-reports"


def study_path(subject: int, study: int) -> str:
    """Where a study lies below `files`: "p10/p10000032/s50414267"."""
    return f"p{str(subject)[:2]}/p{subject}/s{study}"


class MimicReports:
    """Reports by patient and study, read when asked for. `where` is the archive or a folder; None looks for both in
    `root`, where reports may also lie beside the images.

    Raises:
        ValueError: `where` is neither, or the archive is damaged.
    """

    def __init__(self, root: Path, where: Path | None):
        if where is not None and not where.exists():
            raise ValueError(f"--reports {where} does not exist; name {ARCHIVE}, or the folder it was unpacked into")
        self._archive, self._members = None, {}
        archive = where or root / ARCHIVE
        if archive.is_file():
            try:
                self._archive = zipfile.ZipFile(archive)
            except zipfile.BadZipFile as error:
                raise ValueError(f"{archive} is damaged or cut short ({error}); download it again") from error
        places = [where] if where else [root / FOLDER, root]
        self._folders = [folder for place in places for folder in (place / "files", place) if folder.is_dir()]

    def text(self, subject: int, study: int) -> str:
        """The report; "" where there is none.

        Raises:
            ValueError: it is damaged, too large or not UTF-8; names it.
        """
        name = study_path(subject, study) + ".txt"
        try:
            content = self._content(name)
        except (OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
            raise ValueError(f"report {name} cannot be read ({error}); download it again") from error
        if len(content) > MAX_REPORT_BYTES:
            raise ValueError(f"report {name} has more than {MAX_REPORT_BYTES} bytes; is it a report?")
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(f"report {name} is not UTF-8 text ({error.reason}); save it as UTF-8") from error

    def _content(self, name: str) -> bytes:
        for folder in self._folders:
            try:
                with (folder / name).open("rb") as file:
                    return file.read(MAX_REPORT_BYTES + 1)
            except FileNotFoundError:
                continue
        for member in (f"files/{name}", f"{FOLDER}/files/{name}", name) if self._archive else ():
            try:
                with self._archive.open(member) as file:
                    return file.read(MAX_REPORT_BYTES + 1)
            except KeyError:
                continue
        return b""
