"""Reading a table of results: which claims does the spread over seeds allow?

Two methods are trained from the same n seeds; a, b (n,) are their losses (nats, lower is better), entry by entry of the
same seed: what a seed does to both is no difference between them. A claim needs two standard errors.
Fill in the functions, then:  python -m savi check 07
Arrays that you are given are read-only.
"""

import numpy as np  # noqa: F401


def difference(a, b):
    """(2,): the mean of a - b over the seeds, and its standard error, std(a - b, ddof=1) / sqrt(n), paired by seed; n >= 2."""
    raise NotImplementedError


def verdict(a, b):
    """-1 if a (N,) is lower than b (N,) beyond two standard errors, 1 if higher, 0 if not told apart: a number, ()."""
    raise NotImplementedError


def table(losses):
    """verdict(row i, row j) for all pairs of the methods' losses (M, n), (M, M)."""
    raise NotImplementedError


def seeds_needed(mean, spread):
    """The least n >= 2 with |mean| > 2 spread / sqrt(n), elementwise, (N,); mean, spread (N,) of a - b, mean not 0, spread >= 0."""
    raise NotImplementedError
