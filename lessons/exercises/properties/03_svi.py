"""What should hold of SVI: motions that are known in closed form, and a posterior that is known exactly."""

import numpy as np
from hypothesis import strategies as st

from savi.course.properties import holds, parts, readable
from savi.testing import assert_close

CLIPS = st.sampled_from([1.0, 0.25, 2.0])
MOMENTA = st.sampled_from([0.0, 0.5, 0.75])
STEPS = st.integers(0, 5)


def norms(g):
    return np.sqrt((g**2).sum(axis=1))


@holds("clipped: each row has the length min(its own length, clip)", g="B N", clip=CLIPS)
def clipped_has_the_length(student, g, clip):
    value = student.clipped(g, clip)
    assert np.shape(value) == g.shape, f"clipped has shape {np.shape(value)}, expected {g.shape}"
    assert_close(norms(value), np.minimum(norms(g), clip), 1e-9, 1e-12, name="the length of a row")


@holds("clipped: each row keeps its direction", g="B N", clip=CLIPS)
def clipped_keeps_the_direction(student, g, clip):
    value = student.clipped(g, clip)
    assert_close((g * value).sum(axis=1), norms(g) * norms(value), 1e-9, 1e-12, name="row . clipped row")


@holds("clipped: None leaves every gradient as it is", g="B N")
def clipped_by_none(student, g):
    assert_close(student.clipped(g, None), g, name="clipped")


def step(student, *arguments):
    return parts(student.svi_step(*arguments), 2, "svi_step")


@holds(
    "svi_step: on f = (lam - m)^2 / 2, K steps without momentum shrink the distance to m by (1 - alpha)^K",
    lam="B N",
    m="B N",
    steps=STEPS,
)
def steps_shrink_the_distance(student, lam, m, steps):
    end, v = lam, np.zeros_like(lam)
    for _ in range(steps):
        end, v = step(student, end, v, end - m, 0.25, 0.0, None)
    assert_close(end - m, 0.75**steps * (lam - m), 1e-9, 1e-12, name="lam - m")


@holds(
    "svi_step: K steps from rest along a constant gradient g move lam by -alpha g (sum_{k=1..K} (1 - gamma^k)/(1 - gamma))",
    lam="B N",
    g="B N",
    momentum=MOMENTA,
    steps=STEPS,
)
def steps_gather_momentum(student, lam, g, momentum, steps):
    end, v = lam, np.zeros_like(lam)
    for _ in range(steps):
        end, v = step(student, end, v, g, 0.25, momentum, None)
    speeds = [(1 - momentum**k) / (1 - momentum) for k in range(1, steps + 1)]
    assert_close(end, lam - 0.25 * sum(speeds) * g, 1e-9, 1e-12, name="lam")
    assert_close(v, -(speeds[-1] if steps else 0.0) * g, 1e-9, 1e-12, name="v")


@holds("svi_step: where the gradient is zero, lam glides on by alpha gamma v", lam="B N", v="B N", momentum=MOMENTA)
def a_step_glides(student, lam, v, momentum):
    end, v_end = step(student, lam, v, np.zeros_like(lam), 0.25, momentum, None)
    assert_close(end - lam, 0.25 * momentum * v, 1e-9, 1e-12, name="the way of lam")
    assert_close(v_end, momentum * v, 1e-9, 1e-12, name="v")


@holds("svi_step: from rest, no example moves further than alpha clip, and none uphill", g="B N", clip=CLIPS)
def a_step_is_clipped(student, g, clip):
    way, _ = step(student, np.zeros_like(g), np.zeros_like(g), g, 0.5, 0.5, clip)
    assert_close(norms(way), 0.5 * np.minimum(norms(g), clip), 1e-9, 1e-12, name="how far each example moves")
    assert_close((g * way).sum(axis=1), -norms(g) * norms(way), 1e-9, 1e-12, name="gradient . way")


@holds(
    "svi_step: whatever v is, the gradient alone is clipped: v <- gamma v - clipped d_lam, and lam moves by alpha v",
    v="B N",
    g="B N",
    momentum=st.sampled_from([0.5, 0.75]),
    clip=CLIPS,
)
def a_step_clips_the_gradient_and_not_v(student, v, g, momentum, clip):
    way, v_end = step(student, np.zeros_like(g), v, g, 0.5, momentum, clip)
    taken = momentum * v - v_end  # what v took up of the gradient
    assert_close(norms(taken), np.minimum(norms(g), clip), 1e-9, 1e-9, name="the length of what v takes up")
    assert_close((g * taken).sum(axis=1), norms(g) * norms(taken), 1e-9, 1e-9, name="gradient . what v takes up")
    assert_close(way, 0.5 * v_end, 1e-9, 1e-12, name="the way of lam")


@holds("svi: after many steps lam is the exact posterior of z ~ N(0, 1), x ~ N(z, 1)", x="B D", lam="B 2D")
def svi_finds_the_posterior(student, x, lam):
    def gradient(lam):
        mu, log_var = np.split(lam, 2, axis=1)
        return np.concatenate([2 * mu - x, np.exp(log_var) - 0.5], axis=1)

    end = student.svi(gradient, lam, 60, 0.3, 0.5, 4.0)
    exact = np.concatenate([x / 2, np.full_like(x, -np.log(2))], axis=1)
    assert_close(end, exact, 0, 1e-4, name="lam")


@holds(
    "svi: it clips, so that its first step moves each example by alpha min(|g|, clip)", lam="B N", g="B N", clip=CLIPS
)
def svi_clips(student, lam, g, clip):
    way = student.svi(lambda lam: g, lam, 1, 0.25, 0.5, clip) - lam
    assert_close(norms(way), 0.25 * np.minimum(norms(g), clip), 1e-9, 1e-12, name="how far each example moves")


@holds(
    "svi: along a constant gradient of length |g| > clip, K steps go alpha clip (sum_{k=1..K} (1 - gamma^k)/(1 - gamma)) far",
    lam=readable([2, 2]),
    g=readable([2, 2], 1, 3),
    momentum=MOMENTA,
    steps=STEPS,
    clip=st.sampled_from([0.25, 1.0]),
)
def svi_clips_every_gradient_and_not_v(student, lam, g, momentum, steps, clip):
    way = student.svi(lambda lam: g, lam, steps, 0.25, momentum, clip) - lam
    length = 0.25 * clip * sum((1 - momentum**k) / (1 - momentum) for k in range(1, steps + 1))
    assert_close(norms(way), np.full(2, float(length)), 1e-9, 1e-9, name="how far each example moves")


@holds("svi: `steps` gradients, each at the lam that the step before led to", lam="B N", momentum=MOMENTA, steps=STEPS)
def svi_asks_once_per_step(student, lam, momentum, steps):
    visited = []

    def gradient(lam):
        visited.append(lam)
        return lam

    end = student.svi(gradient, lam, steps, 0.25, momentum, None)
    assert len(visited) == steps, f"gradient was called {len(visited)} times in {steps} steps"
    motion = np.array([[0.75, 0.25 * momentum], [-1.0, momentum]])  # of (lam, v), a linear map on f = lam^2 / 2
    for k, point in enumerate([*visited, end]):
        expected = np.linalg.matrix_power(motion, k)[0, 0] * lam
        assert_close(point, expected, 1e-9, 1e-12, name=f"lam after {k} steps")
