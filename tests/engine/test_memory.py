"""Memory: a semi-amortized step keeps a small record per inner step and never a gradient; importance samples stream."""

import itertools
import tracemalloc

import numpy as np
import pytest

from savi import MLP, SAVAE, SVI, VAESVI, Bernoulli, LanguageDecoder, LatentGaussianModel, LSTMEncoder, MLPDecoder
from savi.engine import memory, threads
from savi.experiments.evaluation import importance_weighted, neg_elbo


@pytest.fixture(autouse=True)
def one_thread():
    """Parts that run side by side would meet at their peaks, or not."""
    threads.use(1)
    yield
    threads.use(None)


def peak(run):
    """Bytes at the peak of run(), beyond what was there before.

    It runs once before, so that nothing is new to it, and then gives back what is kept for use again.
    """
    run()
    memory.clear()
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


LARGE = (memory.SMALL // 8, 2)  # large in every dtype


def address(a):
    return a.__array_interface__["data"][0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
def test_a_large_array_is_whole_lies_in_order_and_begins_at_an_even_address(dtype):
    memory.clear()
    arrays = [memory.empty(LARGE, dtype) for _ in range(3)]
    for i, a in enumerate(arrays):
        a[...] = i
    for i, a in enumerate(arrays):  # none lies over another
        assert (a.shape, a.dtype, a.flags.c_contiguous) == (LARGE, dtype, True)
        assert address(a) % memory.ALIGNMENT == 0 and np.all(a == i)


@pytest.mark.parametrize(
    "of",
    [lambda a: a, lambda a: a[3:5], lambda a: a.T, lambda a: a.view(np.uint8), lambda a: a.reshape(-1)[1:].real, memoryview],
    ids=["itself", "a slice", "its transpose", "other numbers", "a view of a view", "a memoryview"],
)  # fmt: skip
def test_memory_is_handed_out_again_when_the_last_that_refers_to_it_is_gone(of):
    memory.clear()
    a = memory.empty(LARGE, np.float64)
    first, held = address(a), of(a)
    del a
    other = memory.empty(LARGE, np.float64)
    assert address(other) != first
    del held
    assert address(memory.empty(LARGE, np.float64)) == first


def test_no_more_than_the_limit_is_kept_and_what_is_in_use_stays(monkeypatch):
    memory.clear()
    before = memory._total
    monkeypatch.setattr(memory, "LIMIT", before + 3 * memory.SMALL)
    for n in range(1, 9):
        memory.empty((memory.SMALL + 64 * n,), np.uint8)
    assert memory._total <= memory.LIMIT
    held = memory.empty((memory.SMALL,), np.uint8)
    memory.clear()
    assert memory._total == before + held.nbytes


def setting(D, H, M, dtype):
    """(model, encoder, theta, phi) with a decoder of two hidden layers."""
    rng = np.random.default_rng(0)
    model = LatentGaussianModel(MLPDecoder(MLP([D, H, H, M]), Bernoulli()))
    encoder = MLP([M, H, 2 * D])
    return model, encoder, model.init(rng, dtype), encoder.init(rng, dtype)


def record_bytes(model, rows, dtype):
    """One evaluation's layer inputs (with their column of ones) and deltas."""
    sizes = model.decoder.net.sizes
    return rows * sum(n + 1 + m for n, m in itertools.pairwise(sizes)) * np.dtype(dtype).itemsize


def growth_per_step(method, model, encoder, theta, phi, x, few, many, **settings):
    """Peak bytes of one training step for each more inner step."""

    def step(K):
        chosen = method(encoder, K, **settings)
        return peak(lambda: chosen.gradient(model, theta, phi, x, np.random.default_rng(0)))

    return (step(many) - step(few)) / (many - few)


@pytest.mark.parametrize("hvp", ["exact", "forward", "central"])
@pytest.mark.parametrize(
    "B, H, dtype, few, many",
    [(50, 64, np.float64, 20, 40), (50, 200, np.float32, 20, 40), (8, 64, np.float64, 100, 200)],
)
def test_each_more_inner_step_of_sa_vae_costs_less_than_two_records(B, H, dtype, few, many, hvp):
    model, encoder, theta, phi = setting(16, H, 300, dtype)
    x = (np.random.default_rng(1).random((B, 300)) < 0.5).astype(dtype)
    growth = growth_per_step(SAVAE, model, encoder, theta, phi, x, few, many, hvp=hvp)
    record = record_bytes(model, B, dtype)
    assert 0.9 * record < growth < 2 * record  # less than one would mean that the loop was not recorded at all


@pytest.mark.parametrize("hvp", ["exact", "forward", "central", "complex"])
def test_no_inner_step_of_sa_vae_keeps_anything_of_thetas_size(hvp):
    model, encoder, theta, phi = setting(16, 200, 300, np.float64)
    x = (np.random.default_rng(1).random((2, 300)) < 0.5).astype(float)
    assert record_bytes(model, 2, float) < theta.nbytes / 20
    assert growth_per_step(SAVAE, model, encoder, theta, phi, x, 20, 60, hvp=hvp) < theta.nbytes / 10


def test_the_thetas_that_a_step_of_sa_vae_holds_at_once_are_few():
    model, encoder, theta, phi = setting(16, 200, 300, np.float64)
    x = (np.random.default_rng(1).random((2, 300)) < 0.5).astype(float)
    method = SAVAE(encoder, 20)
    records = 3 * 21 * record_bytes(model, 2, float)  # the loop's, its tangents, and room to spare
    bound = 5 * theta.nbytes + 3 * phi.nbytes + records
    assert peak(lambda: method.gradient(model, theta, phi, x, np.random.default_rng(0))) < bound


def of_text(rng):
    """A language model's (model, encoder, x) of documents that are long beside z."""
    model = LatentGaussianModel(LanguageDecoder(50, 12, 12, 2))
    return model, LSTMEncoder(50, 12, 12, 4), rng.integers(0, 50, (4, 30)).astype(np.float32)


def of_images(rng):
    model, encoder, *_ = setting(16, 64, 300, np.float32)
    return model, encoder, (rng.random((50, 300)) < 0.5).astype(np.float32)


@pytest.mark.parametrize("hvp", ["exact", "central"])
@pytest.mark.parametrize("of", [of_text, of_images])
def test_recomputed_steps_keep_lam_and_their_noise_alone(of, hvp):
    model, encoder, x = of(np.random.default_rng(1))
    theta, phi = (thing.init(np.random.default_rng(0), np.float32) for thing in (model, encoder))
    growth = growth_per_step(SAVAE, model, encoder, theta, phi, x, 5, 15, hvp=hvp, recompute=True)
    kept = len(x) * 3 * model.latent_dim * theta.itemsize  # lam and the noise
    assert growth < 1.3 * kept + 1000 and growth < 0.05 * growth_per_step(
        SAVAE, model, encoder, theta, phi, x, 5, 8, hvp=hvp
    )


@pytest.mark.parametrize("method", [SVI, VAESVI], ids=["svi", "vae+svi"])
def test_methods_that_do_not_differentiate_the_loop_keep_no_records_of_it(method):
    model, encoder, theta, phi = setting(16, 64, 300, np.float64)
    x = (np.random.default_rng(1).random((50, 300)) < 0.5).astype(float)
    make = method if method is VAESVI else lambda encoder, K: SVI(K)
    growth = growth_per_step(make, model, encoder, theta, phi, x, 20, 40)
    assert growth < 0.1 * record_bytes(model, 50, float)


def test_refinement_at_test_time_keeps_no_records():
    model, _, theta, phi = setting(16, 64, 300, np.float64)
    x = (np.random.default_rng(1).random((50, 300)) < 0.5).astype(float)
    infer = lambda K: peak(lambda: SVI().infer(model, theta, phi, x, np.random.default_rng(0), K))  # noqa: E731
    assert infer(60) < infer(10) + 10_000


def test_importance_samples_stream_so_that_memory_does_not_grow_with_their_number():
    model, _, theta, _ = setting(8, 50, 100, np.float64)
    x = (np.random.default_rng(1).random((5, 100)) < 0.5).astype(float)
    lam = np.zeros((5, 16))

    def estimate(samples):
        rng = np.random.default_rng(0)
        return peak(lambda: importance_weighted(model, theta, lam, x, rng, samples))

    assert estimate(20_000) < 1.1 * estimate(2_000)


def test_the_memory_of_an_evaluation_does_not_grow_with_the_number_of_examples():
    model, _, theta, _ = setting(8, 50, 100, np.float64)
    x = (np.random.default_rng(1).random((4_000, 100)) < 0.5).astype(float)
    lam = np.zeros((4_000, 16))

    def bound(n):
        rng = np.random.default_rng(0)
        return peak(lambda: neg_elbo(model, theta, lam[:n], x[:n], rng, samples=10))

    assert bound(4_000) < bound(1_000) + 4 * 4_000 * 8  # beyond the results themselves
