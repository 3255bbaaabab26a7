"""The index of features: exact search in blocks, no neighbors of the same patient, and its file."""

import numpy as np
import pytest

import eval.retrieval.index
from eval.retrieval.index import FeatureIndex, load_index, nearest, save_index

RANDOM = np.random.default_rng(0)


def make_index(features, subject_ids=None):
    features = np.asarray(features, dtype=np.float16)
    study_ids = tuple(f"study{number}" for number in range(len(features)))
    return FeatureIndex(features=features, study_ids=study_ids, subject_ids=tuple(subject_ids or study_ids), origin="o")


def search(index, queries, subject_ids=None, number=1):
    queries = np.asarray(queries, dtype=np.float32)
    ids = [f"query{row}" for row in range(len(queries))]
    return nearest(index, queries, study_ids=ids, subject_ids=subject_ids or [""] * len(ids), number=number)


def test_search_in_blocks_equals_exhaustive_search(monkeypatch):
    monkeypatch.setattr(eval.retrieval.index, "_QUERIES_AT_ONCE", 3)
    monkeypatch.setattr(eval.retrieval.index, "_STUDIES_AT_ONCE", 7)
    index = make_index(RANDOM.normal(size=(40, 5)))
    queries = RANDOM.normal(size=(10, 5))
    positions, similarities = search(index, queries, number=4)
    features = index.features.astype(np.float64)
    cosines = (queries @ features.T) / np.outer(np.linalg.norm(queries, axis=1), np.linalg.norm(features, axis=1))
    assert positions.tolist() == np.argsort(-cosines, axis=1)[:, :4].tolist()
    assert similarities == pytest.approx(-np.sort(-cosines, axis=1)[:, :4], abs=1e-5)


def test_ties_in_similarity_are_resolved_by_position_across_blocks(monkeypatch):
    monkeypatch.setattr(eval.retrieval.index, "_STUDIES_AT_ONCE", 3)
    index = make_index([[0, 1], *([[1, 0]] * 9)])
    positions, similarities = search(index, [[2.0, 0.0]], number=5)
    assert positions.tolist() == [[1, 2, 3, 4, 5]]
    assert similarities.tolist() == [[1.0] * 5]


def test_study_of_the_same_patient_is_never_a_neighbor():
    index = make_index([[1, 0], [1, 0], [0, 1]], ["anna", "bert", "carl"])
    assert search(index, [[1, 0]], ["anna"])[0].tolist() == [[1]]
    assert search(index, [[1, 0]], ["bert"])[0].tolist() == [[0]]


def test_study_without_a_subject_is_not_its_own_neighbor():
    index = make_index([[1, 0], [0, 1]], ["", ""])
    positions, _ = nearest(index, np.array([[1.0, 0.0]]), study_ids=["study0"], subject_ids=[""])
    assert positions.tolist() == [[1]]


def test_missing_neighbors_are_empty_with_too_few_patients():
    positions, similarities = search(make_index([[1, 0], [0, 1]], ["anna", "bert"]), [[1, 1]], ["anna"], number=2)
    assert positions.tolist() == [[1, -1]]
    assert np.isnan(similarities[0, 1])


def test_queries_of_wrong_width_are_rejected():
    with pytest.raises(ValueError, match=r"queries are \(1, 3\) but the index has features of width 2"):
        search(make_index([[1, 0]]), [[1, 0, 0]])


def test_index_is_saved_and_loaded(tmp_path):
    index = make_index(RANDOM.normal(size=(3, 4)), ["ä", "b", ""])
    save_index(tmp_path / "sub" / "index.safetensors", index)
    loaded = load_index(tmp_path / "sub" / "index.safetensors")
    assert (loaded.study_ids, loaded.subject_ids, loaded.origin) == (index.study_ids, ("ä", "b", ""), "o")
    assert np.array_equal(loaded.features, index.features)
    assert loaded.features.dtype == np.float16
    assert [path.name for path in (tmp_path / "sub").iterdir()] == ["index.safetensors"]


def test_missing_damaged_and_unrelated_files_are_rejected(tmp_path):
    path = tmp_path / "index.safetensors"
    with pytest.raises(ValueError, match=r"index.safetensors does not exist; create it again"):
        load_index(path)
    save_index(path, make_index([[1, 0]]))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"index.safetensors is damaged or not an index of features"):
        load_index(path)
    eval.retrieval.index.save_file({"weight": np.zeros(2)}, path)
    with pytest.raises(ValueError, match=r"index.safetensors is damaged or not an index of features"):
        load_index(path)


def test_numbers_of_ids_and_features_must_be_equal():
    with pytest.raises(ValueError, match=r"as many features \(1\) as study ids \(2\) and subject ids \(1\)"):
        FeatureIndex(features=np.zeros((1, 2)), study_ids=("a", "b"), subject_ids=("a",))
