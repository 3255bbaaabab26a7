"""The spool: nothing is lost when the node ends at any moment, and nothing is counted twice."""

import time

import pytest

from page.node import store as store_module
from page.node.states import (
    CHANGED,
    FAILED,
    NEW,
    RECEIVED,
    REJECTED,
    REPEATED,
    REPORTED,
    SENT,
    STABLE,
    WAITING,
    Result,
    pseudonym,
)
from page.node.store import MAX_READ_ATTEMPTS, NodeStore, SpoolFull


@pytest.fixture
def store(tmp_path):
    opened = NodeStore(tmp_path / "spool")
    yield opened
    opened.close()


def killed(store, tmp_path) -> NodeStore:
    """The store as a new process finds it."""
    store._file_lock.release()  # as the end of the process does
    return NodeStore(tmp_path / "spool")


def state_of(store, study_uid="1.2"):
    [study] = [study for study in store.last_studies() if study["uid"] == study_uid]
    return study["state"], study["reason"]


def result(number=1, kind="sr"):
    return Result(kind=kind, sop_class_uid="1.1", series_uid="1.3", sop_uid=f"1.3.{number}", content=b"%d" % number)


def files(tmp_path, folder="images"):
    return sorted(path.name for path in (tmp_path / "spool" / folder).iterdir())


def test_study_is_stable_only_after_a_pause_since_its_last_image(store):
    store.add_image("1.2", "1.2.1", b"one")
    assert store.next_stable(60) is None
    study = store.next_stable(0)
    assert (study.uid, study.version, study.report_key) == ("1.2", 0, "")
    assert {sop_uid: path.read_bytes() for sop_uid, path in study.images.items()} == {"1.2.1": b"one"}
    assert state_of(store)[0] == STABLE
    assert store.next_stable(0) is None


def test_repeated_image_changes_nothing_and_a_changed_one_replaces_the_first(store, tmp_path):
    assert store.add_image("1.2", "1.2.1", b"one") == NEW
    assert store.add_image("1.2", "1.2.1", b"one") == REPEATED
    assert store.add_image("1.2", "1.2.1", b"other") == CHANGED
    assert len(files(tmp_path)) == 1
    counts = store.summary()["counts"]
    assert counts == {"images_new": 1, "images_repeated": 1, "images_changed": 1}


def test_state_goes_from_received_to_sent(store):
    store.add_image("1.2", "1.2.1", b"one")
    study = store.next_stable(0)
    assert store.finish(study, results=[result(1), result(2, "pdf")], report_key="key")
    assert state_of(store) == (REPORTED, "")
    first, second = store.due_results()
    assert (first.kind, first.path.read_bytes()) == ("sr", b"1")
    store.mark_sent(first)
    assert state_of(store) == (REPORTED, "")
    store.mark_sent(second)
    assert state_of(store) == (SENT, "")
    assert store.due_results() == []


def test_study_with_new_images_while_it_is_read_is_read_again(store):
    store.add_image("1.2", "1.2.1", b"one")
    study = store.next_stable(0)
    store.add_image("1.2", "1.2.2", b"two")
    assert not store.finish(study, results=[result()], report_key="key")
    assert store.due_results() == []
    assert set(store.next_stable(0).images) == {"1.2.1", "1.2.2"}


def test_new_version_knows_the_last_one_and_is_sent_after_it(store):
    store.add_image("1.2", "1.2.1", b"one")
    store.finish(store.next_stable(0), results=[result(1)], report_key="key")
    store.add_image("1.2", "1.2.2", b"two")
    assert state_of(store)[0] == RECEIVED
    study = store.next_stable(0)
    assert (study.version, study.report_key, study.previous) == (1, "key", {"sr": ("1.1", "1.3", "1.3.1")})
    assert study.used_uids == {"1.3.1"}
    store.finish(study, results=[result(2)], report_key="other")
    [first] = store.due_results()
    assert first.sop_uid == "1.3.1"
    store.mark_sent(first)
    [second] = store.due_results()
    assert second.sop_uid == "1.3.2"


def test_rejected_study_keeps_the_reasons(store):
    store.add_image("1.2", "1.2.1", b"one")
    store.finish(store.next_stable(0), reason="no image can be used", image_reasons={"1.2.1": "shows a knee"})
    assert state_of(store) == (REJECTED, "no image can be used")
    assert store.last_studies()[0]["image_reasons"] == ["shows a knee"]
    assert store.summary()["spool"]["rejected_images"] == 1
    assert store.retry_failed() == 0
    store.add_image("1.2", "1.2.1", b"one")  # sent again: somebody wants another attempt
    assert state_of(store)[0] == RECEIVED


def test_kill_while_a_study_is_read_gives_it_back(store, tmp_path):
    store.add_image("1.2", "1.2.1", b"one")
    store.next_stable(0)
    again = killed(store, tmp_path)
    assert state_of(again)[0] == RECEIVED
    assert again.next_stable(0).uid == "1.2"
    again.close()


def test_study_that_ends_the_program_each_time_is_given_up(store, tmp_path):
    store.add_image("1.2", "1.2.1", b"one")
    for _ in range(MAX_READ_ATTEMPTS):
        assert store.next_stable(0) is not None
        store = killed(store, tmp_path)
    assert store.next_stable(0) is None
    state, reason = state_of(store)
    assert state == FAILED
    assert reason == "given up after 3 attempts: the program ended while it read the study"
    assert store.add_image("1.2", "1.2.1", b"one") == REPEATED  # to send it again is to ask for another attempt
    assert store.next_stable(0).uid == "1.2"
    store.close()


def test_unsent_results_and_their_files_survive_a_kill(store, tmp_path):
    store.add_image("1.2", "1.2.1", b"one")
    store.finish(store.next_stable(0), results=[result()], report_key="key")
    again = killed(store, tmp_path)
    [waiting] = again.due_results()
    assert waiting.path.read_bytes() == b"1"
    again.close()


def test_files_that_a_kill_left_without_a_row_are_deleted_at_the_start(store, tmp_path):
    store.add_image("1.2", "1.2.1", b"one")
    held = files(tmp_path)
    (tmp_path / "spool" / "images" / "0000.dcm").write_bytes(b"never acknowledged")
    (tmp_path / "spool" / "images" / "0001.dcm.partial").write_bytes(b"half")
    killed(store, tmp_path).close()
    assert files(tmp_path) == held


def test_image_that_cannot_be_written_is_not_acknowledged(store, monkeypatch):
    def fail(path, content, *, durable):
        assert durable
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store_module, "write_atomically", fail)
    with pytest.raises(OSError, match="No space left"):
        store.add_image("1.2", "1.2.1", b"one")
    assert store.last_studies() == []


def test_full_spool_refuses_images_but_not_repeated_ones(tmp_path):
    store = NodeStore(tmp_path / "spool", max_bytes=5)
    store.add_image("1.2", "1.2.1", b"12345")
    with pytest.raises(SpoolFull, match="the spool holds 5 bytes of images; its limit is 5"):
        store.add_image("1.2", "1.2.2", b"6")
    assert store.add_image("1.2", "1.2.1", b"12345") == REPEATED
    store.close()


def test_result_that_the_archive_rejects_for_good_fails_the_study_until_it_is_retried(store):
    store.add_image("1.2", "1.2.1", b"one")
    store.finish(store.next_stable(0), results=[result()], report_key="key")
    [waiting] = store.due_results()
    store.mark_unsent(waiting, "status C000", seconds=0, refused=True, is_final=False)
    [waiting] = store.due_results()
    assert (waiting.attempts, waiting.refusals) == (1, 1)
    store.mark_unsent(waiting, "status C000", seconds=0, refused=True, is_final=True)
    assert state_of(store) == (FAILED, "status C000")
    assert store.due_results() == []
    assert store.retry_failed() == 1
    assert state_of(store)[0] == REPORTED
    assert len(store.due_results()) == 1


def test_results_wait_between_attempts(store):
    store.add_image("1.2", "1.2.1", b"one")
    store.finish(store.next_stable(0), results=[result()], report_key="key")
    store.mark_unsent(store.due_results()[0], "no answer", seconds=60, refused=False, is_final=False)
    assert store.due_results() == []
    assert store.summary()["results"] == {WAITING: 1, SENT: 0, FAILED: 0}


def test_old_files_are_deleted_only_when_their_study_is_done(store, tmp_path):
    for number in (1, 2, 3):
        store.add_image(f"1.{number}", f"1.{number}.1", b"image %d" % number)
    store.finish(store.next_stable(0), results=[result()], report_key="key")
    store.mark_sent(store.due_results()[0])
    store.finish(store.next_stable(0), reason="shows a knee")
    assert store.remove_files(before=time.time() - 60) == 0
    assert store.remove_files(before=time.time() + 60) == 3
    assert (len(files(tmp_path)), files(tmp_path, "results")) == (1, [])
    store.add_image("1.1", "1.1.2", b"late")
    studies = [store.next_stable(0), store.next_stable(0)]
    assert {study.uid: study.num_removed for study in studies} == {"1.3": 0, "1.1": 1}


def test_second_node_on_the_same_spool_is_rejected(store, tmp_path):
    with pytest.raises(ValueError, match=r"--spool .* is used by another node; stop it, or name another folder"):
        NodeStore(tmp_path / "spool")


def test_commits_reach_the_disk(store):
    assert store._one("PRAGMA journal_mode") == "wal"
    assert store._one("PRAGMA synchronous") == 2  # FULL


def test_pseudonym_does_not_show_the_uid():
    assert "1.2.840" not in pseudonym("1.2.840.113619")
    assert pseudonym("1.2.840") != pseudonym("1.2.841")
