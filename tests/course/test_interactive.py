"""The book's interactive pages in a browser: what they compute is what savi computes, and they ask nobody for anything.

Each page is a small HTML file of its fragment and its script, as the book has them; Chromium opens it from the disk. The
arithmetic is judged by savi's own functions, at drawn arguments and at what the page shows after its sliders moved.
"""

import importlib.util
import re
import shutil

import autograd
import autograd.numpy as anp
import numpy as np
import pytest

import savi
from savi import quadrature
from savi.course import book, lessons
from savi.inference.divergences import exclusive, inclusive
from savi.inference.programs import log_density
from savi.inference.semi_amortized import algorithm_1
from savi.inference.svi import ascent
from savi.testing import assert_close

FOLDER = lessons.FOLDER / "book" / "interactive"
NAMES = sorted(path.stem for path in FOLDER.glob("*.js"))
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
IN_A_BROWSER = pytest.mark.skipif(
    CHROMIUM is None or importlib.util.find_spec("playwright") is None,
    reason="needs the extra interactive (pip install .[interactive]) and Debian's chromium (apt-get install chromium)",
)
SPEC = importlib.util.spec_from_file_location("surface_numbers", FOLDER / "surface.py")
numbers = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(numbers)
DATA, TABLE, AXIS = numbers.read()
MODEL = numbers.model(TABLE, AXIS)


def written(folder, name):
    """A page of one fragment and its script, in the places that the book gives them."""
    page, script = folder / "lessons" / "book" / f"{name}.html", folder / "_static" / f"{name}.js"
    for path, data in (
        (page, b"<!doctype html><meta charset=utf-8><body>" + (FOLDER / f"{name}.html").read_bytes()),
        (script, book.interactive(FOLDER / f"{name}.js")),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return page


@pytest.fixture(scope="module")
def browser():
    """Chromium without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        found = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def opened(browser, tmp_path):
    """name -> its page, open; at the end there was no error and no request for anything but files."""
    page, faults = browser.new_page(viewport={"width": 800, "height": 900}), []
    page.on("console", lambda said: faults.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("requestfailed", lambda asked: faults.append(asked.url))
    page.on("request", lambda asked: faults.append(asked.url) if not asked.url.startswith("file://") else None)

    def open_page(name):
        page.goto(written(tmp_path, name).as_uri())
        return page

    yield open_page
    page.close()
    assert faults == []


def call(page, function, *arguments):
    """What a function of the page's script gives."""
    return page.evaluate(f"(given) => savi.{function}(...given)", list(arguments))


def cells(page, table):
    """The numbers of a table, row by row."""
    rows = page.locator(f"#{table} tr").all()
    return [[float(cell.inner_text()) for cell in row.locator("td").all()] for row in rows]


def slider(page, name):
    return float(page.locator(f"#{name}").input_value())


def pressed(page, name, key, times=1):
    """Focus a control and press a key; where the slider then is."""
    page.locator(f"#{name}").focus()
    for _ in range(times):
        page.keyboard.press(key)
    return slider(page, name)


# --- what needs no browser --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_page_is_small_and_names_no_other_host(name):
    script = book.interactive(FOLDER / f"{name}.js")
    assert len(script) + (FOLDER / f"{name}.html").stat().st_size < 60_000
    assert not re.search(rb"https?:|fetch\(|import\s*\(|XMLHttp|WebSocket", script)
    page = (FOLDER.parent / f"{name}.md").read_text(encoding="utf-8")
    assert f":file: interactive/{name}.html" in page and f"_static/{name}.js" in (FOLDER / f"{name}.html").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_every_control_has_a_label_and_every_picture_its_words(name):
    html = (FOLDER / f"{name}.html").read_text()
    inside = "".join(re.findall(r"<label>.*?</label>", html, re.S))
    assert re.findall(r"<(?:input|select)", html) == re.findall(r"<(?:input|select)", inside)
    assert all("aria-label=" in canvas for canvas in re.findall(r"<canvas[^>]*>", html))


def test_the_surfaces_numbers_are_those_of_the_rounded_table():
    lams = {name: np.array([lam]) for name, lam in DATA["lams"].items()}
    assert_close(np.concatenate([lams["best"], lams["lower"]]), numbers.tops(TABLE, AXIS), rtol=1e-3)
    best, lower = (numbers.loss(lams[name], TABLE, AXIS)[0] for name in ("best", "lower"))
    assert -DATA["log_px"] < best < lower < best + 0.5
    assert np.abs(np.subtract(*DATA["modes"])).max() > 2
    log_p = TABLE - 0.5 * (AXIS[:, None] ** 2 + AXIS**2) + 2 * np.log(DATA["spacing"]) - np.log(2 * np.pi)
    assert abs(np.log(np.exp(log_p).sum()) - DATA["log_px"]) < 5e-3


def test_the_loss_of_the_surface_is_quadratures():
    means, log_var = np.linspace(-2, 2, 7), np.array([-1.3, 0.2])
    heights = quadrature.surface(TABLE, AXIS, means, log_var)
    lam = np.array([[m_1, m_2, *log_var] for m_1 in means for m_2 in means])
    assert_close(-numbers.loss(lam, TABLE, AXIS).reshape(7, 7), heights, rtol=1e-12)


# --- a surface with two hills -----------------------------------------------------------------------------------------


@IN_A_BROWSER
def test_the_surface_of_the_page_is_savis(opened):
    page, rng = opened("surface"), np.random.default_rng(0)
    means_1, means_2, log_var = rng.uniform(-2, 3, 4), rng.uniform(-2, 2, 5), [-1.2, -2.7]
    lam = np.array([[a, b, *log_var] for a in means_1 for b in means_2])
    shown = call(page, "surface", means_1.tolist(), means_2.tolist(), log_var)
    assert_close(np.array(shown), -numbers.loss(lam, TABLE, AXIS).reshape(4, 5), rtol=1e-10)


@IN_A_BROWSER
def test_svis_path_of_the_page_is_savis(opened):
    page, rng = opened("surface"), np.random.default_rng(1)
    f = MODEL.objective(np.zeros(0), np.zeros((1, 1)))
    for alpha, ratio, gamma in ((0.01, 1, 0.5), (0.002, 20, 0.9), (0.05, 3, 0.0)):
        lam = rng.uniform([-0.5, -1, -2, -2], [1.5, 1, 0, 0])
        steps = ascent(f, lam[None], np.zeros((15, 1, 1, 1)), alpha * np.array([1, 1, ratio, ratio]), gamma)
        judged = [lam, *(step[0] for step in steps)]
        assert_close(np.array(call(page, "path", lam.tolist(), 15, alpha, ratio, gamma)), np.array(judged), rtol=1e-8)


@IN_A_BROWSER
def test_the_page_shows_the_gaps_of_q_and_of_svi_after_its_sliders_moved(opened):
    page = opened("surface")
    before = cells(page, "gaps")
    moved = pressed(page, "mu_1", "ArrowRight", 3)
    assert abs(moved - 0.65) < 1e-9
    page.locator("#map").focus()
    page.keyboard.press("ArrowDown")
    assert abs(slider(page, "mu_2") - 0.95) < 1e-9
    pressed(page, "alpha", "ArrowRight", 2), pressed(page, "K", "ArrowLeft", 5), pressed(page, "gamma", "Home")
    names = ("mu_1", "mu_2", "sd_1", "sd_2")
    q = np.array([slider(page, name) for name in names])
    q[2:] = 2 * np.log(q[2:])
    f, K, step = MODEL.objective(np.zeros(0), np.zeros((1, 1))), int(slider(page, "K")), 10 ** slider(page, "alpha")
    assert (K, slider(page, "gamma")) == (15, 0)
    *_, end = ascent(f, np.array([DATA["lams"]["vae"]]), np.zeros((K, 1, 1, 1)), step, 0.0)
    lams = np.array([q, end[0], DATA["lams"]["vae"], DATA["lams"]["sa-vae"]])
    loss, best = numbers.loss(lams, TABLE, AXIS), numbers.loss(np.array([DATA["lams"]["best"]]), TABLE, AXIS)
    approximation = np.repeat(best + DATA["log_px"], 4)
    judged = np.stack([loss, loss + DATA["log_px"], approximation, loss - best], axis=1)
    after = np.array(cells(page, "gaps"))
    assert np.abs(after - judged).max() < 6e-4 and np.abs(after - before).max() > 0.01
    assert "on neither hill yet" in page.locator("#said").inner_text()
    pressed(page, "K", "End")
    assert "on the higher hill" in page.locator("#said").inner_text()


@IN_A_BROWSER
def test_q_is_dragged_and_svi_that_runs_away_is_told(opened):
    page = opened("surface")
    box = page.locator("#map").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + box["height"] * 0.2)
    page.mouse.up()
    assert slider(page, "mu_1") > 1.5 and slider(page, "mu_2") > 0.8
    page.locator("#start").select_option("q")
    assert "SVI ends" in page.locator("#said").inner_text()
    pressed(page, "alpha", "End"), pressed(page, "ratio", "End"), pressed(page, "K", "End")
    assert "has left the page's grid" in page.locator("#said").inner_text()
    assert np.isfinite(cells(page, "gaps")).all()


# --- two divergences --------------------------------------------------------------------------------------------------

MIXTURES = (
    {"pi": [0.6, 0.4], "mu": [-2, 2], "s": [0.8, 0.6]},
    {"pi": [0.3, 0.7], "mu": [-0.5, 0.6], "s": [0.5, 1.4]},
    {"pi": [0.5, 0.5], "mu": [-4.5, 4], "s": [0.3, 1.1]},
)


def program(p):
    """The mixture as one of savi's programs."""
    return lambda t: t.mixture("x", np.log(p["pi"]), np.array(p["mu"]), 2 * np.log(p["s"]))


def family(t, phi):
    t.normal("x", phi[0], phi[1])


def both_divergences(q, p):
    """(KL(p || q), KL(q || p)) by savi's densities on a fine grid."""
    x = np.linspace(-40, 40, 8001)
    phi = np.array([q["mean"], 2 * np.log(q["sd"])])
    log_p, log_q = log_density(program(p), {"x": x}), -inclusive(family, phi, {"x": x}, observed=())
    step = x[1] - x[0]
    return (np.exp(log_p) * (log_p - log_q)).sum() * step, (np.exp(log_q) * (log_q - log_p)).sum() * step


@IN_A_BROWSER
@pytest.mark.parametrize("p", MIXTURES)
def test_both_divergences_of_the_page_are_savis_and_both_gaussians_the_best(opened, p):
    page = opened("divergences")
    covers, (seeks, *others) = call(page, "inclusive", p), call(page, "exclusive", p)
    for q in (covers, seeks, *others):
        shown = call(page, "inclusiveKL", q, p), call(page, "exclusiveKL", q, p)["kl"]
        assert_close(np.array(shown), np.array(both_divergences(q, p)), rtol=1e-6, atol=1e-8)
    e = np.linspace(-8, 8, 1001)
    w = np.exp(-0.5 * e**2) / np.exp(-0.5 * e**2).sum()

    def observed(t):  # the exclusive loss takes an observation: one that says nothing of x
        program(p)(t)
        t.normal("y", 0.0, 0.0)

    def loss(phi):  # savi's exclusive loss at the nodes of a rule in place of draws
        given = exclusive(observed, family, phi, {"y": np.zeros(1)}, None, len(e), {"x": e[:, None]})
        return anp.sum(w[:, None] * given)

    for q in (seeks, *others):
        lam, slope = np.array([q["mean"], 2 * np.log(q["sd"])]), autograd.grad(loss)
        assert np.abs(slope(lam)).max() < 2e-4
        bent = np.array([(slope(lam + r) - slope(lam - r)) / 2e-3 for r in 1e-3 * np.eye(2)])
        assert np.linalg.eigvalsh((bent + bent.T) / 2).min() > 0  # a minimum, and not a pass between two
        assert q["kl"] >= seeks["kl"]
    lowest = min(both_divergences({"mean": m, "sd": s}, p)[1] for m in np.arange(-5, 5, 0.5) for s in (0.3, 0.8, 1.5))
    assert seeks["kl"] <= lowest
    near = [
        {"mean": covers["mean"] + a, "sd": covers["sd"] * np.exp(b)}
        for a, b in ((0.1, 0), (-0.1, 0), (0, 0.1), (0, -0.1))
    ]
    assert all(both_divergences(q, p)[0] > both_divergences(covers, p)[0] for q in near)


@IN_A_BROWSER
def test_the_page_shows_both_gaussians_after_its_modes_moved(opened):
    page = opened("divergences")
    pressed(page, "mu_2", "ArrowRight", 5), pressed(page, "pi_1", "ArrowLeft", 10)
    page.locator("#densities").focus()
    page.keyboard.press("ArrowRight")
    names = ("mu_1", "mu_2", "s_1", "s_2", "pi_1")
    mu_1, mu_2, s_1, s_2, pi = (slider(page, name) for name in names)
    assert (mu_2, pi) == (2.6, 0.4)
    p = {"pi": [pi, 1 - pi], "mu": [mu_1, mu_2], "s": [s_1, s_2]}
    mean = pi * mu_1 + (1 - pi) * mu_2
    sd = np.sqrt(pi * (s_1**2 + mu_1**2) + (1 - pi) * (s_2**2 + mu_2**2) - mean**2)
    rows = cells(page, "found")
    assert len(rows) == 3 and abs(rows[0][0] - mean) < 6e-4 and abs(rows[0][1] - sd) < 6e-4
    for mean, sd, *shown in rows:
        assert np.abs(np.subtract(shown, both_divergences({"mean": mean, "sd": sd}, p))).max() < 0.02
    assert "sits on mode 2" in page.locator("#said").inner_text()


# --- the bowl of lesson 5 ---------------------------------------------------------------------------------------------


def bowl(lam, theta, x, noise, beta):
    return anp.sum(0.5 * theta * lam**2, axis=1)


@IN_A_BROWSER
@pytest.mark.parametrize(
    "a, K, alpha, gamma", [([1.5, 0.1], 5, 1.0, 0.5), ([0.7, 3.2], 12, 0.9, 0.9), ([2, 0.4], 0, 1, 0)]
)
def test_the_bowl_of_the_page_is_algorithm_1s(opened, a, K, alpha, gamma):
    page, lam = opened("bowl"), [1.5, -0.7]
    f = savi.AutogradModel(bowl, lam_size=2, theta_size=2, noise_size=1).objective(np.array(a, float), np.zeros((1, 1)))
    steps = [np.array(lam), *(s[0] for s in ascent(f, np.array([lam]), np.zeros((K, 1, 1, 1)), alpha, gamma))]
    assert_close(np.array(call(page, "path", lam, a, K, alpha, gamma)), np.array(steps), rtol=1e-9)
    _, _, lam_bar = algorithm_1(f, np.array([lam]), np.zeros((K + 1, 1, 1, 1)), alpha, gamma)
    assert_close(np.array(call(page, "gradient", lam, a, K, alpha, gamma)), lam_bar[0], rtol=1e-9)
    assert_close(np.array([call(page, "loss", lam, a)]), bowl(np.array([lam]), np.array(a), 0, 0, 1), rtol=1e-12)


@IN_A_BROWSER
def test_the_page_shows_the_weights_after_its_sliders_moved(opened):
    page = opened("bowl")
    pressed(page, "a_2", "ArrowRight", 10), pressed(page, "gamma", "ArrowLeft", 2), pressed(page, "K", "ArrowRight", 3)
    page.locator("#bowl-map").focus()
    page.keyboard.press("ArrowLeft")
    names = ("a_1", "a_2", "lam_1", "lam_2", "alpha", "gamma", "K")
    *both, alpha, gamma, K = (slider(page, name) for name in names)
    a, lam = np.array(both[:2]), np.array(both[2:])
    assert (a[1], lam[0], gamma, K) == (0.3, 1.4, 0.4, 8)
    f = savi.AutogradModel(bowl, lam_size=2, theta_size=2, noise_size=1).objective(a, np.zeros((1, 1)))
    _, _, lam_bar = algorithm_1(f, lam[None], np.zeros((int(K) + 1, 1, 1, 1)), alpha, gamma)
    for i, (steepness, left, weight, without, through) in enumerate(cells(page, "directions")):
        assert_close(np.array([steepness, without]), np.array([alpha * a[i], a[i] * lam[i]]), atol=6e-4)
        assert_close(np.array([through, weight]), lam_bar[0, i] / np.array([1, a[i] * lam[i]]), rtol=6e-3, atol=6e-4)
        assert abs(left**2 - weight) < 2e-3
    assert "diverge" not in page.locator("#said").inner_text()
    pressed(page, "a_1", "End")
    assert "The steps diverge" in page.locator("#said").inner_text()
