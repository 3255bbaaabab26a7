"""The spool: the images that the node received, the state of their studies, and the results to send.

All is in one folder: `node.sqlite` holds the state, `images/` and `results/` the files, which are named after the
SHA-256 of their content. What a method has changed is on disk when it returns, so a kill at any moment loses nothing:
files are written before the rows that name them, and files without a row are deleted at the start.

State of a study: received (images may still come) → stable (being read) → reported → sent. It can also end as rejected
or failed, with a reason. New images bring a study back to received; its next report is a new version.
"""

import hashlib
import shutil
import sqlite3
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from page.node.states import (
    CHANGED,
    FAILED,
    FHIR,
    NEW,
    RECEIVED,
    REJECTED,
    REPEATED,
    REPORTED,
    SENT,
    STABLE,
    STATES,
    WAITING,
    Result,
    StableStudy,
    WaitingResult,
)
from vlm.schema.atomic import write_atomically

MAX_READ_ATTEMPTS = 3
MIN_FREE_BYTES = 2**30
"""Images are refused if less than this is free on the disk of the spool."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS studies (
    uid TEXT PRIMARY KEY, state TEXT NOT NULL, reason TEXT NOT NULL DEFAULT '', revision INTEGER NOT NULL DEFAULT 1,
    changed_at REAL NOT NULL, due_at REAL NOT NULL DEFAULT 0, attempts INTEGER NOT NULL DEFAULT 0,
    version INTEGER NOT NULL DEFAULT 0, report_key TEXT NOT NULL DEFAULT '');
CREATE TABLE IF NOT EXISTS images (
    study_uid TEXT NOT NULL, sop_uid TEXT NOT NULL, digest TEXT NOT NULL, num_bytes INTEGER NOT NULL,
    is_stored INTEGER NOT NULL DEFAULT 1, reason TEXT NOT NULL DEFAULT '', PRIMARY KEY (study_uid, sop_uid));
CREATE TABLE IF NOT EXISTS results (
    sop_uid TEXT PRIMARY KEY, study_uid TEXT NOT NULL, version INTEGER NOT NULL, kind TEXT NOT NULL,
    sop_class_uid TEXT NOT NULL, series_uid TEXT NOT NULL, digest TEXT NOT NULL, is_stored INTEGER NOT NULL DEFAULT 1,
    state TEXT NOT NULL, reason TEXT NOT NULL DEFAULT '', attempts INTEGER NOT NULL DEFAULT 0,
    refusals INTEGER NOT NULL DEFAULT 0, due_at REAL NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS results_by_study ON results (study_uid, state);
CREATE TABLE IF NOT EXISTS counts (name TEXT PRIMARY KEY, number INTEGER NOT NULL);
"""


class SpoolFull(OSError):  # noqa: N818 (named after what happened)
    """There is no room for another image; the sender should try again later."""


class NodeStore:
    """The spool in a folder; one process at a time, any number of threads.

    Raises:
        ValueError: another process uses the folder.
    """

    def __init__(self, folder: Path, *, max_bytes: int = 20 * 2**30):
        self._images, self._results, self._max_bytes = folder / "images", folder / "results", max_bytes
        for path in (folder, self._images, self._results):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file_lock = FileLock(folder / "node.lock")
        try:
            self._file_lock.acquire(timeout=0)
        except Timeout as error:
            raise ValueError(f"--spool {folder} is used by another node; stop it, or name another folder") from error
        self._lock = threading.RLock()
        self._db = sqlite3.connect(folder / "node.sqlite", check_same_thread=False)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.executescript(_SCHEMA)
        self._recover()
        self._num_bytes = self._one("SELECT coalesce(sum(num_bytes), 0) FROM images WHERE is_stored")

    def close(self) -> None:
        with self._lock:
            self._db.close()
            self._file_lock.release()

    def add_image(self, study_uid: str, sop_uid: str, content: bytes) -> str:
        """Store an image; returns NEW, CHANGED or REPEATED when it is on disk.

        Raises:
            SpoolFull: the limit of the spool is reached, or the disk is almost full.
            OSError: the disk cannot be written.
        """
        digest = hashlib.sha256(content).hexdigest()
        with self._lock:
            known = self._row("SELECT * FROM images WHERE study_uid = ? AND sop_uid = ?", study_uid, sop_uid)
            is_same = known is not None and known["digest"] == digest
            if not (is_same and known["is_stored"]):
                self._check_space(len(content))
                write_atomically(self._images / f"{digest}.dcm", content, durable=True)
            with self._db:
                if is_same:
                    self._db.execute("UPDATE images SET is_stored = 1 WHERE digest = ?", [digest])
                    self._retry(study_uid, FAILED, REJECTED)
                else:
                    self._db.execute(
                        "INSERT OR REPLACE INTO images (study_uid, sop_uid, digest, num_bytes) VALUES (?, ?, ?, ?)",
                        [study_uid, sop_uid, digest, len(content)],
                    )
                    self._db.execute(
                        "INSERT INTO studies (uid, state, changed_at) VALUES (?, ?, ?) ON CONFLICT (uid) DO UPDATE SET "
                        "state = excluded.state, changed_at = excluded.changed_at, reason = '', attempts = 0, "
                        "due_at = 0, revision = revision + 1",
                        [study_uid, RECEIVED, time.time()],
                    )
                outcome = REPEATED if is_same else CHANGED if known else NEW
                self._count(f"images_{outcome}")
            if outcome == CHANGED:
                (self._images / f"{known['digest']}.dcm").unlink(missing_ok=True)
            self._num_bytes = self._one("SELECT coalesce(sum(num_bytes), 0) FROM images WHERE is_stored")
            return outcome

    def next_stable(self, stable_seconds: float) -> StableStudy | None:
        """The study that waits longest of those without a new image for `stable_seconds`; it is now being read."""
        now = time.time()
        with self._lock, self._db:
            study = self._row(
                "SELECT * FROM studies WHERE state = ? AND changed_at <= ? AND due_at <= ? ORDER BY changed_at",
                *(RECEIVED, now - stable_seconds, now),
            )
            if study is None:
                return None
            if study["attempts"] >= MAX_READ_ATTEMPTS:
                reason = f"given up after {MAX_READ_ATTEMPTS} attempts: {study['reason']}"
                self._set_state(study["uid"], FAILED, reason)
                return self.next_stable(stable_seconds)
            self._db.execute("UPDATE studies SET attempts = attempts + 1 WHERE uid = ?", [study["uid"]])
            self._set_state(study["uid"], STABLE)
            images = self._rows("SELECT * FROM images WHERE study_uid = ? ORDER BY sop_uid", study["uid"])
            results = self._rows("SELECT * FROM results WHERE study_uid = ? ORDER BY version", study["uid"])
        return StableStudy(
            uid=study["uid"],
            revision=study["revision"],
            images={row["sop_uid"]: self._images / f"{row['digest']}.dcm" for row in images if row["is_stored"]},
            num_removed=sum(not row["is_stored"] for row in images),
            version=study["version"],
            report_key=study["report_key"],
            previous={row["kind"]: (row["sop_class_uid"], row["series_uid"], row["sop_uid"]) for row in results},
            used_uids=frozenset(row["sop_uid"] for row in results),
        )

    def finish(
        self,
        study: StableStudy,
        *,
        results: Sequence[Result] = (),
        report_key: str = "",
        reason: str = "",
        image_reasons: Mapping[str, str] | None = None,
    ) -> bool:
        """Record how the reading ended; False if new images came meanwhile, so the study is read again.

        With `results`, they are a new version of the report. Without, the study is rejected for `reason`; without a
        reason too, the last report still holds. `image_reasons`: why images were not used.
        """
        with self._lock:
            if self._one("SELECT revision FROM studies WHERE uid = ?", study.uid) != study.revision:
                return False
            digests = [hashlib.sha256(result.content).hexdigest() for result in results]
            for result, digest in zip(results, digests, strict=True):
                write_atomically(self._results / _file_name(digest, result.kind), result.content, durable=True)
            with self._db:
                for sop_uid in study.images:
                    image_reason = (image_reasons or {}).get(sop_uid, "")
                    self._db.execute(
                        "UPDATE images SET reason = ? WHERE study_uid = ? AND sop_uid = ?",
                        [image_reason, study.uid, sop_uid],
                    )
                version = study.version + 1
                for result, digest in zip(results, digests, strict=True):
                    self._db.execute(
                        "INSERT OR REPLACE INTO results (sop_uid, study_uid, version, kind, sop_class_uid, series_uid, "
                        "digest, state) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                        [
                            *(result.sop_uid, study.uid, version, result.kind, result.sop_class_uid),
                            *(result.series_uid, digest, WAITING),
                        ],
                    )
                if results:
                    self._db.execute(
                        "UPDATE studies SET version = ?, report_key = ? WHERE uid = ?", [version, report_key, study.uid]
                    )
                    self._count("reports_written")
                self._set_state(study.uid, REJECTED if reason else self._sending_state(study.uid), reason)
            return True

    def postpone(self, study: StableStudy, reason: str, *, seconds: float) -> None:
        """Read the study again later."""
        with self._lock, self._db:
            self._db.execute(
                "UPDATE studies SET state = ?, reason = ?, due_at = ? WHERE uid = ? AND revision = ? AND state = ?",
                [RECEIVED, reason, time.time() + seconds, study.uid, study.revision, STABLE],
            )

    def due_results(self, *, limit: int = 50) -> list[WaitingResult]:
        """Results to send now; the versions of a report in their order, for each kind."""
        with self._lock:
            rows = self._rows(
                "SELECT * FROM results AS one WHERE state = ? AND due_at <= ? AND NOT EXISTS (SELECT 1 FROM results "
                "WHERE study_uid = one.study_uid AND kind = one.kind AND state = ? AND version < one.version) "
                "ORDER BY rowid LIMIT ?",
                *(WAITING, time.time(), WAITING, limit),
            )
        fields = ("sop_uid", "sop_class_uid", "study_uid", "kind", "attempts", "refusals")
        return [
            WaitingResult(
                **{field: row[field] for field in fields}, path=self._results / _file_name(row["digest"], row["kind"])
            )
            for row in rows
        ]

    def mark_sent(self, result: WaitingResult) -> None:
        self._mark(result, SENT, "", seconds=0)

    def mark_unsent(self, result: WaitingResult, reason: str, *, seconds: float, refused: bool, is_final: bool) -> None:
        """Send it again after `seconds`, or never if `is_final`. `refused`: the archive answered that it rejects it."""
        self._mark(result, FAILED if is_final else WAITING, reason, seconds=seconds, refused=refused)

    def retry_failed(self) -> int:
        """Read and send again what failed; the number of studies."""
        with self._lock, self._db:
            return self._retry("%", FAILED)

    def count(self, name: str) -> None:
        """Add one to a counter of the status page."""
        with self._lock, self._db:
            self._count(name)

    def remove_files(self, *, before: float) -> int:
        """Delete the files of studies that were sent or rejected before this time; their states stay. The number of
        deleted files."""
        with self._lock:
            chosen = (
                f"(SELECT uid FROM studies WHERE state IN ('{SENT}', '{REJECTED}') AND changed_at < ? AND NOT EXISTS "
                f"(SELECT 1 FROM results WHERE study_uid = uid AND state = '{WAITING}'))"
            )
            num_deleted = 0
            for table, folder in (("images", self._images), ("results", self._results)):
                where = f"is_stored AND study_uid IN {chosen}"
                names = self._file_names(table, where, before)
                with self._db:
                    self._db.execute(f"UPDATE {table} SET is_stored = 0 WHERE {where}", [before])
                for name in names:
                    (folder / name).unlink(missing_ok=True)
                num_deleted += len(names)
            self._num_bytes = self._one("SELECT coalesce(sum(num_bytes), 0) FROM images WHERE is_stored")
            return num_deleted

    def summary(self) -> dict[str, dict[str, int]]:
        """Numbers of studies and results by state, and all counters."""
        with self._lock:
            studies = dict.fromkeys(STATES, 0) | self._by_state("studies")
            results = dict.fromkeys((WAITING, SENT, FAILED), 0) | self._by_state("results")
            counts = {row["name"]: row["number"] for row in self._rows("SELECT * FROM counts ORDER BY name")}
            num_images = self._one("SELECT count(*) FROM images")
            num_rejected = self._one("SELECT count(*) FROM images WHERE reason != ''")
            spool = {"bytes": self._num_bytes, "images": num_images, "rejected_images": num_rejected}
        return {"studies": studies, "results": results, "counts": counts, "spool": spool}

    def last_studies(self, *, limit: int = 100) -> list[dict]:
        """The studies that changed last: uid, state, reason, version, changed_at, num_images, image_reasons."""
        with self._lock:
            studies = self._rows("SELECT * FROM studies ORDER BY changed_at DESC LIMIT ?", limit)
            rows = []
            for study in studies:
                images = self._rows("SELECT reason FROM images WHERE study_uid = ? ORDER BY sop_uid", study["uid"])
                unsent = self._rows(
                    "SELECT reason FROM results WHERE study_uid = ? AND state != ? AND reason != ''", study["uid"], SENT
                )
                rows.append(
                    dict(study)
                    | {
                        "num_images": len(images),
                        "image_reasons": [row["reason"] for row in images if row["reason"]],
                        "unsent_reasons": sorted({row["reason"] for row in unsent}),
                    }
                )
            return rows

    def _recover(self) -> None:
        """Undo what a killed process left half done."""
        with self._db:
            self._db.execute(
                "UPDATE studies SET state = ?, reason = 'the program ended while it read the study' WHERE state = ?",
                [RECEIVED, STABLE],
            )
            # A clock that was set back must not keep studies waiting.
            self._db.execute("UPDATE studies SET changed_at = min(changed_at, ?)", [time.time()])
        for table, folder in (("images", self._images), ("results", self._results)):
            held = set(self._file_names(table, "is_stored"))
            for path in folder.iterdir():
                if path.name not in held:
                    path.unlink()

    def _mark(self, result: WaitingResult, state: str, reason: str, *, seconds: float, refused: bool = False) -> None:
        with self._lock, self._db:
            self._db.execute(
                "UPDATE results SET state = ?, reason = ?, attempts = attempts + 1, refusals = refusals + ?, "
                "due_at = ? WHERE sop_uid = ?",
                [state, reason, refused, time.time() + seconds, result.sop_uid],
            )
            if state == SENT:
                self._count("results_sent")
            if self._one("SELECT state FROM studies WHERE uid = ?", result.study_uid) == REPORTED:
                state = self._sending_state(result.study_uid)
                self._set_state(result.study_uid, state, reason if state == FAILED else "")

    def _sending_state(self, study_uid: str) -> str:
        states = {row["state"] for row in self._rows("SELECT state FROM results WHERE study_uid = ?", study_uid)}
        return REPORTED if WAITING in states else FAILED if FAILED in states else SENT

    def _retry(self, study_uid: str, *states: str) -> int:
        """`study_uid` is "%" for all."""
        marks = ", ".join("?" * len(states))
        failed = self._rows(f"SELECT uid FROM studies WHERE uid LIKE ? AND state IN ({marks})", study_uid, *states)
        for row in failed:
            done = self._db.execute(
                "UPDATE results SET state = ?, attempts = 0, refusals = 0, due_at = 0 "
                "WHERE study_uid = ? AND state = ?",
                [WAITING, row["uid"], FAILED],
            )
            self._set_state(row["uid"], REPORTED if done.rowcount else RECEIVED)
            self._db.execute("UPDATE studies SET attempts = 0, due_at = 0 WHERE uid = ?", [row["uid"]])
        return len(failed)

    def _set_state(self, study_uid: str, state: str, reason: str | None = None) -> None:
        """The time of the last change is that of the last image until the study is read."""
        now = time.time()
        self._db.execute(
            "UPDATE studies SET state = ?, reason = coalesce(?, reason), "
            "changed_at = CASE WHEN ? THEN changed_at ELSE ? END WHERE uid = ?",
            [state, reason, state == STABLE, now, study_uid],
        )

    def _check_space(self, num_bytes: int) -> None:
        if self._num_bytes + num_bytes > self._max_bytes:
            raise SpoolFull(f"the spool holds {self._num_bytes:,} bytes of images; its limit is {self._max_bytes:,}")
        if shutil.disk_usage(self._images).free < MIN_FREE_BYTES + num_bytes:
            raise SpoolFull(f"less than {MIN_FREE_BYTES:,} bytes are free on the disk of the spool")

    def _count(self, name: str) -> None:
        self._db.execute(
            "INSERT INTO counts VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET number = number + 1", [name]
        )

    def _by_state(self, table: str) -> dict[str, int]:
        return dict(map(tuple, self._rows(f"SELECT state, count(*) FROM {table} GROUP BY state")))

    def _file_names(self, table: str, where: str, *values) -> list[str]:
        kind = "kind" if table == "results" else "''"
        rows = self._rows(f"SELECT digest, {kind} AS kind FROM {table} WHERE {where}", *values)
        return [_file_name(row["digest"], row["kind"]) for row in rows]

    def _rows(self, query: str, *values) -> list[sqlite3.Row]:
        return self._db.execute(query, values).fetchall()

    def _row(self, query: str, *values) -> sqlite3.Row | None:
        return self._db.execute(query, values).fetchone()

    def _one(self, query: str, *values):
        row = self._row(query, *values)
        return row[0] if row else None


def _file_name(digest: str, kind: str) -> str:
    return digest + (".json" if kind == FHIR else ".dcm")
