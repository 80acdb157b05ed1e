"""What should hold of claims: differences whose mean and spread are known, and what must not change them."""

import numpy as np
from hypothesis import strategies as st

from savi.course.properties import holds, readable
from savi.testing import assert_close

SEEDS = st.sampled_from([4, 6, 10])
MEANS = st.sampled_from([-2.0, -0.5, 0.25, 1.0])
SPREADS = st.sampled_from([0.25, 1.0, 3.0])


def around(mean, spread, n):
    """(n,) numbers mean + spread, mean - spread, ...: their standard error is spread / sqrt(n - 1)."""
    return mean + spread * np.tile([1.0, -1.0], n // 2)


def losses(n, common):
    """(n,) losses of seeds, of which some are much harder than others."""
    return 100 + common * np.arange(n) ** 2


COMMON = {"n": SEEDS, "common": st.sampled_from([0.0, 5.0]), "mean": MEANS, "spread": SPREADS}


@holds(
    "difference: the mean and the standard error of differences that are mean + spread, mean - spread, ...", **COMMON
)
def difference_is_paired(student, n, common, mean, spread):
    b = losses(n, common)
    value = student.difference(b + around(mean, spread, n), b)
    assert_close(value, np.array([mean, spread / np.sqrt(n - 1)]), 1e-9, 1e-9, name="difference")


@holds(
    "difference: a minus b is the opposite of b minus a, with the same standard error", a=readable([5]), b=readable([5])
)
def difference_is_antisymmetric(student, a, b):
    expected = student.difference(b, a) * np.array([-1.0, 1.0])
    assert_close(student.difference(a, b), expected, 1e-9, 1e-12, name="difference(a, b)")


@holds("verdict: a claim where |mean| is beyond 2 spread / sqrt(n - 1), and none where it is not", **COMMON)
def verdict_needs_two_standard_errors(student, n, common, mean, spread):
    b = losses(n, common)
    told_apart = mean**2 * (n - 1) > 4 * spread**2
    value = student.verdict(b + around(mean, spread, n), b)
    assert_close(value, np.array(np.sign(mean) if told_apart else 0.0), name="verdict")


@holds("verdict: the same loss twice is not told apart", a=readable([4]))
def verdict_of_the_same(student, a):
    assert_close(student.verdict(a, a), np.array(0.0), name="verdict")


@holds(
    "table: the same differences in one table, the opposite across its diagonal",
    n=SEEDS,
    means=readable([3], -3, 3),
    spread=SPREADS,
)
def table_has_all_pairs(student, n, means, spread):
    rows = np.stack([losses(n, 5.0) + m + k * around(0, spread, n) for k, m in enumerate(means)])
    value = student.table(rows)
    gap, noise = means[:, None] - means, spread * np.abs(np.arange(3)[:, None] - np.arange(3))
    expected = np.where(gap**2 * (n - 1) > 4 * noise**2, np.sign(gap), 0.0)
    assert_close(value, expected, name="table")


@holds(
    "seeds_needed: so many are enough, and one less is not, unless it is 2",
    mean=readable([4], 1, 3).map(lambda m: m * np.array([1, -1, 0.25, -0.1])),
    spread=readable([4], 0, 3),
)
def seeds_are_needed(student, mean, spread):
    n = student.seeds_needed(mean, spread)
    assert np.shape(n) == mean.shape, f"seeds_needed has shape {np.shape(n)}, expected (N,) = {mean.shape}"
    assert np.all(n == np.round(n)) and np.all(n >= 2), "seeds_needed should be whole numbers of at least 2"
    assert np.all(mean**2 * n > 4 * spread**2), "seeds_needed should be enough"
    fewer = mean**2 * (n - 1) > 4 * spread**2
    assert np.all((n == 2) | ~fewer), "seeds_needed should be the least"
