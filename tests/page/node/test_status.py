"""The status page and the metrics: the numbers of the store, and no identity."""

import urllib.error
import urllib.request

import pytest

pytest.importorskip("pynetdicom", reason="the extra `hospital` is not installed")

from page.node.options import NodeOptions
from page.node.states import pseudonym
from page.node.status import StatusPage
from page.node.store import NodeStore

UID = "1.2.840.113619.77"


@pytest.fixture
def store(tmp_path):
    opened = NodeStore(tmp_path / "spool")
    opened.add_image(UID, f"{UID}.1", b"one")
    opened.finish(opened.next_stable(0), reason="no image can be used: <knee>", image_reasons={f"{UID}.1": "knee"})
    opened.count("refused_spool_full")
    yield opened
    opened.close()


def answer(store, path, **settings):
    page = StatusPage(NodeOptions(pacs="pacs:104:PACS", status_port=0, **settings), store)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{page.port}{path}", timeout=10) as response:
            return response.read().decode()
    finally:
        page.stop()


def test_page_shows_states_and_reasons_without_uids(store):
    page = answer(store, "/")
    assert pseudonym(UID) in page
    assert "no image can be used: &lt;knee&gt;" in page
    assert "refused spool full" in page
    assert UID not in page


def test_page_shows_uids_on_request(store):
    assert UID in answer(store, "/", show_study_uids=True)


def test_metrics_have_the_numbers_of_the_store(store):
    lines = answer(store, "/metrics").splitlines()
    samples = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert samples['cxrscribe_node_studies{state="rejected"}'] == "1"
    assert samples['cxrscribe_node_studies{state="sent"}'] == "0"
    assert samples['cxrscribe_node_events_total{kind="refused_spool_full"}'] == "1"
    assert samples["cxrscribe_node_images"] == "1"
    assert samples["cxrscribe_node_rejected_images"] == "1"
    assert UID not in "".join(lines)


def test_other_addresses_are_not_found(store):
    with pytest.raises(urllib.error.HTTPError, match="404"):
        answer(store, "/spool/node.sqlite")
