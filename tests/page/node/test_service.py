"""The whole node in one process, with a PACS: from images to reports, also over new images and a restart."""

import pytest

pytest.importorskip("pynetdicom", reason="the extra `hospital` is not installed")

from page.node import service
from page.node.options import NodeOptions
from page.node.service import read_next, running_node
from page.node.store import NodeStore
from tests.helpers.dicom.node import image_content, running_pacs, send, wait_for
from vlm.generator import ReportGenerator


@pytest.fixture(scope="module")
def generator(tiny_checkpoint):
    return ReportGenerator.from_pretrained(tiny_checkpoint)


def options_for(tmp_path, pacs_port, **settings):
    defaults = {"spool": tmp_path / "spool", "port": 0, "status_port": 0, "stable_seconds": 0}
    defaults |= {"max_new_tokens": 4}
    return NodeOptions(pacs=f"127.0.0.1:{pacs_port}:PACS", **defaults | settings)


def studies_in(node, *states):
    return sum(node.store.summary()["studies"][state] for state in states)


def test_studies_come_back_as_reports_and_every_study_is_accounted_for(tmp_path, generator):
    good = [image_content(number, level=number) for number in range(1, 4)]
    bad = [image_content(8, BodyPartExamined="KNEE"), image_content(9, PixelData=bytes(100))]
    with running_pacs() as pacs, running_node(options_for(tmp_path, pacs.port), generator) as node:
        assert send(node.port, good) + send(node.port, bad) == [0] * 5
        wait_for(lambda: studies_in(node, "sent", "rejected") == 5)
        reasons = {study["uid"]: study["reason"] for study in node.store.last_studies() if study["state"] == "rejected"}
    assert set(reasons) == {"1.2.826.8", "1.2.826.9"}, reasons
    assert {report.StudyInstanceUID for report in pacs.stored.values()} == {f"1.2.826.{number}" for number in (1, 2, 3)}
    assert pacs.num_requests == 3


def test_late_image_makes_a_second_version(tmp_path, generator):
    with running_pacs() as pacs, running_node(options_for(tmp_path, pacs.port), generator) as node:
        send(node.port, [image_content(1, 1)])
        wait_for(lambda: studies_in(node, "sent") == 1)
        send(node.port, [image_content(1, 2, level=20)])
        wait_for(lambda: len(pacs.stored) == 2)
    first, second = pacs.stored.values()
    [predecessor] = second.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence
    assert predecessor.ReferencedSOPInstanceUID == first.SOPInstanceUID
    assert first.SeriesInstanceUID == second.SeriesInstanceUID


def test_node_that_is_started_again_reads_what_it_had_acknowledged(tmp_path, generator):
    with running_pacs() as pacs:
        with running_node(options_for(tmp_path, pacs.port, stable_seconds=3600), generator) as node:
            assert send(node.port, [image_content(1)]) == [0]
        assert pacs.stored == {}
        with running_node(options_for(tmp_path, pacs.port), generator):
            wait_for(lambda: len(pacs.stored) == 1)


def test_unexpected_error_stops_neither_the_node_nor_the_other_studies(tmp_path, generator, monkeypatch, caplog):
    read = service.read_stable_study

    def fail(generator, study, **settings):
        if study.uid == "1.2.826.1":
            raise RuntimeError(study.uid)
        return read(generator, study, **settings)

    monkeypatch.setattr(service, "read_stable_study", fail)
    monkeypatch.setattr(service, "RETRY_SECONDS", 0)
    store, options = NodeStore(tmp_path / "spool"), options_for(tmp_path, 104)
    for number in (1, 2):
        store.add_image(f"1.2.826.{number}", f"1.2.826.{number}.1.1", image_content(number))
    while read_next(store, generator, options):
        pass
    states = {study["uid"]: (study["state"], study["reason"]) for study in store.last_studies()}
    store.close()
    assert states["1.2.826.1"] == ("failed", "given up after 3 attempts: unexpected error (RuntimeError)")
    assert states["1.2.826.2"][0] == "reported"
    assert "1.2.826.1" not in caplog.text  # the message may quote a header


@pytest.mark.parametrize(("flags", "number"), [({}, 8), ({"num_candidates": 1}, 1)])
def test_report_is_chosen_from_several_because_nobody_checks_its_sides(tmp_path, generator, monkeypatch, flags, number):
    given = []
    read = service.read_stable_study
    monkeypatch.setattr(service, "read_stable_study", lambda *study, **rest: given.append(rest) or read(*study, **rest))
    store = NodeStore(tmp_path / "spool")
    store.add_image("1.2.826.1", "1.2.826.1.1.1", image_content(1))
    assert read_next(store, generator, options_for(tmp_path, 104, **flags))
    [study] = store.last_studies()
    store.close()
    assert study["state"] == "reported"
    assert [one["options"].num_candidates for one in given] == [number]


def test_number_of_candidates_out_of_range_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="--num-candidates is 17; give 1 to 16"):
        options_for(tmp_path, 104, num_candidates=17)
