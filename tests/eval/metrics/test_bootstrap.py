"""Bootstrap intervals: resampling by patient, number of resamples, and width."""

import numpy as np
import pytest

from eval.metrics import bootstrap
from eval.metrics.bootstrap import centered, interval, point_values, resample, resample_weights


def mean_of(values):
    return lambda weights: {"mean": weights @ values / weights.sum(axis=1)}


def test_studies_of_a_subject_are_resampled_together():
    weights = np.concatenate(list(resample_weights(["a", "b", "a", "c"], num_resamples=200)))
    assert weights.shape == (200, 4)
    np.testing.assert_array_equal(weights[:, 0], weights[:, 2])
    np.testing.assert_array_equal(weights[:, [0, 1, 3]].sum(axis=1), 3)
    assert (weights[:, 1] != weights[:, 3]).any()


def test_interval_of_a_mean_equals_the_theoretical_interval():
    values = np.random.default_rng(1).normal(5, 2, size=400)
    statistic = mean_of(values)
    estimate = interval(
        point_values(statistic, 400)["mean"], resample(statistic, [str(i) for i in range(400)], 2000)["mean"]
    )
    half_width = 1.96 * values.std() / 20
    assert estimate.value == pytest.approx(values.mean())
    assert estimate.low == pytest.approx(values.mean() - half_width, abs=0.02)
    assert estimate.high == pytest.approx(values.mean() + half_width, abs=0.02)


def test_repeated_studies_of_one_patient_do_not_narrow_the_interval():
    values = np.random.default_rng(2).normal(size=30)
    alone = resample(mean_of(values), [str(i) for i in range(30)])["mean"]
    repeated = resample(mean_of(np.repeat(values, 10)), [str(i) for i in np.repeat(range(30), 10)])["mean"]
    assert repeated.std() == pytest.approx(alone.std(), rel=0.1)


def test_seed_determines_the_resamples():
    subjects = [str(i) for i in range(20)]
    first, again = (np.concatenate(list(resample_weights(subjects, 50, seed=7))) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert (first != np.concatenate(list(resample_weights(subjects, 50, seed=8)))).any()


def test_weights_of_many_studies_come_in_blocks_of_limited_size():
    blocks = list(resample_weights([str(i) for i in range(30_000)], num_resamples=100))
    assert max(block.size for block in blocks) <= 2_000_000
    assert sum(len(block) for block in blocks) == 100


def test_undefined_value_has_no_interval():
    assert interval(np.nan, np.array([0.1, 0.2])).low is None
    assert interval(0.5, np.array([np.nan, 0.4, 0.4])).low == pytest.approx(0.4)


def test_undefined_resamples_are_counted():
    assert interval(0.5, np.array([np.nan, 0.4, np.nan, 0.6])).num_undefined == 2
    alone = interval(0.5, np.array([np.nan, np.nan]))
    assert (alone.value, alone.low, alone.high, alone.num_undefined) == (0.5, None, None, 2)


def test_one_patient_cannot_be_resampled():
    samples = resample(mean_of(np.array([0.2, 0.4])), ["a", "a"], num_resamples=7)["mean"]
    assert samples.shape == (7,)
    assert np.isnan(samples).all()


def test_no_resamples_is_rejected():
    with pytest.raises(ValueError, match="num_resamples is 0; give at least 1"):
        next(resample_weights(["a"], num_resamples=0))


def test_samples_are_centered_on_the_value_and_stay_positive():
    samples = np.array([[0.3, np.nan], [0.5, 0.2], [0.1, 0.2]])
    np.testing.assert_allclose(
        centered(samples, np.array([0.2, 0.1])), [[0.2, np.nan], [0.4, 0.1], [0.0, 0.1]], atol=1e-12
    )


def test_size_of_the_blocks_does_not_change_the_resamples(monkeypatch):
    subjects = [str(number) for number in range(101)]
    expected = np.concatenate(list(bootstrap.resample_weights(subjects, 50, seed=3)))
    monkeypatch.setattr(bootstrap, "_MAX_WEIGHTS_AT_ONCE", 1)
    for least in (1, 7):
        monkeypatch.setattr(bootstrap, "_MIN_RESAMPLES_AT_ONCE", least)
        blocks = list(bootstrap.resample_weights(subjects, 50, seed=3))
        assert len(blocks[0]) == least
        assert (np.concatenate(blocks) == expected).all()
