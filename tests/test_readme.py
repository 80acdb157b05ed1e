"""What the README and the book's pages say is so: their examples run, their tables are the committed runs', and what
they name is there."""

import importlib
import json
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

import savi
from savi import __main__ as main
from savi.data.images import Dataset
from savi.experiments.tables import equal_epochs, markdown, paired, verdict
from savi.studies import figures

ROOT = pathlib.Path(__file__).parent.parent
BOOK = ROOT / "lessons" / "book"
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in sorted(BOOK.glob("*.md"))}
PAGES = {"README.md": (ROOT / "README.md").read_text(encoding="utf-8"), **PAGES}
COMMANDS = set(re.findall(r"^  python -m savi (\w+)", main.EPILOG, re.M)) | {"solution"}
README, RESULTS, SPEED = (PAGES[name] for name in ("README.md", "lessons/book/results.md", "lessons/book/speed.md"))
EVERY_PAGE = pytest.mark.parametrize("page", PAGES)
ROOMS = sorted(path for path in (ROOT / "savi").rglob("*.py") if path.name != "__init__.py")
WINGS = sorted(path.parent.name for path in (ROOT / "savi").glob("*/__init__.py"))

sys.path[:0] = [str(ROOT / "tests" / "benchmarks"), str(ROOT / "figures")]


def between(text, name, argument=""):
    """What stands between the comments <!-- name argument --> and <!-- /name -->."""
    return re.search(rf"<!-- {name}{argument} -->\n(.*?)<!-- /{name} -->", text, re.S).group(1).strip()


def committed(name):
    return json.loads((ROOT / "figures" / f"{name}.json").read_text())


# --- the examples -----------------------------------------------------------------------------------------------------

EXAMPLES = {page: re.findall(r"```python\n(.*?)```", text, re.S) for page, text in PAGES.items()}


@pytest.fixture(scope="module")
def spaces():
    """(namespace, number of blocks that have run in it) of each page, whose blocks build on each other from the top."""
    return {page: [{}, 0] for page in PAGES}


@pytest.mark.parametrize("page, number", [(page, i) for page, codes in EXAMPLES.items() for i in range(len(codes))])
def test_every_example_runs(page, number, spaces, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    images = Dataset("glyphs", *(rng.random((n, 784), dtype=np.float32) for n in (150, 50, 150)))
    monkeypatch.setattr(savi.data, "load", lambda name: images)
    space, done = spaces[page]
    for i in range(done, number + 1):  # the page's earlier blocks as well, where this test runs alone
        code = EXAMPLES[page][i].replace("epochs=10", "epochs=1").replace("iw_samples=1000", "iw_samples=20")
        exec(compile(code, f"{page}, example {i + 1}", "exec"), space)
        spaces[page][1] = i + 1
        if "lam = method.infer" in code:
            assert space["lam"].shape == (100, 64)


def test_the_readme_and_the_page_on_own_losses_have_examples():
    assert len(EXAMPLES["README.md"]) >= 2
    assert len(EXAMPLES["lessons/book/own_loss.md"]) >= 2


# --- tables and numbers -----------------------------------------------------------------------------------------------


def test_the_table_is_the_committed_runs():
    assert between(README, "table") == markdown(committed("compare"))


def test_the_sentences_under_the_table_have_its_numbers():
    results = committed("compare")
    settings, shared, text = results["settings"], equal_epochs(results), " ".join(README.split())
    assert settings["budget"] == ["seconds", 3]
    assert settings["seeds"] == [0, 1, 2] and settings["train_examples"] == 1000
    for name, words in (
        ("vae", "{:.1f} nats below the VAE without"), ("svi", "{:.1f} below SVI,"), ("vae+svi", "{:.1f} below VAE+SVI,"),
        ("vae+svi+kl", "{:.1f} below VAE+SVI+KL and"), ("sa-vae", "{:.1f} below SA-VAE"),
    ):  # fmt: skip
        mean, error, *_ = paired(results, name, "vae-then-svi")
        assert verdict(mean, error) == "worse" and words.format(mean) in text
    epochs = {name: round(number) for name, number in results["epochs"].items()}
    assert f"which trained for {epochs['sa-vae']} epochs where it trained for {epochs['vae-then-svi']}" in text
    others = {
        name: paired(results, name, "sa-vae", "at_equal_epochs") for name in settings["methods"] if name != "sa-vae"
    }
    assert {verdict(*found[:2]) for found in others.values()} == {"worse"}
    words = f"{others['vae'][0]:.1f} nats below the VAE and {others['vae-then-svi'][0]:.1f} below the refined VAE"
    assert f"At equal epochs ({shared}) the order turns: SA-VAE is the lowest, {words}" in text


def test_the_sentences_on_where_it_pays_have_its_numbers():
    import where_it_pays as script

    rows, text = committed("where_it_pays")["rows"], " ".join(README.split())
    at = "glyphs", 1000

    def said(one, other):
        mean, error, *_ = script.tables.paired(rows, *at, one, other)
        return f"{abs(mean):.1f} ± {error:.1f}", verdict(mean, error)

    best = [script.tables.with_best(rows, *at, name) for name in ("sa-vae", "vae-then-svi", "vae+svi")]
    deep, refined, trained = said(("sa-vae", "mlp"), ("vae-then-svi", "mlp")), said(*best[:2]), said(best[0], best[2])
    assert (deep[1], refined[1], trained[1]) == ("better", "worse", "better")
    assert f"a deep encoder SA-VAE is {deep[0]} nats below a VAE refined by SVI" in text
    assert f"each with its best encoder {refined[0]} above it and {trained[0]} below VAE+SVI" in text
    moved = [np.ptp(script.tables.over_encoders(rows, *at, name)) for name in ("vae-then-svi", "sa-vae")]
    assert "the encoder moves the one by {:.0f} nats, the other by {:.0f}".format(*moved) in text


def test_the_speed_tables_are_the_committed_benchmarks():
    import steps

    assert between(SPEED, "speed") == steps.markdown(committed("benchmark"))


@pytest.mark.parametrize("family", ["hierarchies", "language", "pixels"])
def test_the_speed_tables_of_a_family_are_the_committed_benchmark(family):
    if not (ROOT / "figures" / f"benchmark_{family}.json").exists():
        pytest.skip("not measured yet")
    import cases

    assert between(SPEED, family) == cases.markdown(
        importlib.import_module(family).FAMILY, committed(f"benchmark_{family}")
    )


def test_the_table_of_growth_is_the_committed_benchmark():
    if not (ROOT / "figures" / "scaling.json").exists():
        pytest.skip("not measured yet")
    import scaling

    assert between(SPEED, "scaling") == scaling.markdown(committed("scaling"))


@pytest.mark.parametrize("name", ["sequences", "shares"])
def test_the_tables_of_sequences_and_of_shares_are_the_committed_benchmarks(name):
    assert between(SPEED, name) == importlib.import_module(name).markdown(committed(f"benchmark_{name}"))


def test_the_table_of_the_main_job_is_the_committed_benchmark():
    if not (ROOT / "figures" / "benchmark_job.json").exists():
        pytest.skip("not measured yet")
    import job

    assert between(SPEED, "job") == job.markdown(committed("benchmark_job"))


def test_the_table_of_helpers_is_the_committed_benchmark():
    import ways

    assert between(SPEED, "ways") == ways.markdown(committed("benchmark_ways"))


def test_the_tables_of_sweeps_are_the_committed_benchmark():
    import driver

    assert between(PAGES["lessons/book/sweeps.md"], "driver") == driver.markdown(committed("sweep_driver"))


def test_the_opponents_of_the_sa_vae_step_are_the_committed_benchmarks():
    import steps

    results = committed("benchmark")
    assert between(SPEED, "opponents") == steps.opponents(results)
    loop, best = (steps.ratios(r, "savae_step") for r in (results, steps.fastest_first(results)))
    means = [steps.mean([speed for *_, speed, _ in found]) for found in (loop, best)]
    assert f"{means[0]:.2f} times as fast in the geometric mean, and faster in all eight settings" in SPEED
    assert f"Against the best of all variants it is {means[1]:.2f} times as fast" in SPEED
    slower = [[setting[:3] for setting in found if setting[3] < 1] for found in (loop, best)]
    assert slower == [[], [(64, 50, "float32"), (200, 50, "float32")]]  # as the page says


def test_a_peers_closed_form_counts_among_all_variants():
    import steps

    results = committed("benchmark")
    rows = [row | {"ms": 0.01} if row["variant"] == "savae_step_byhand" else row for row in results["rows"]]
    faster = results | {"rows": rows}
    assert steps.ratios(faster, "savae_step") == steps.ratios(results, "savae_step")
    assert max(speed for *_, speed, _ in steps.ratios(steps.fastest_first(faster), "savae_step")) < 0.01


def test_what_the_page_says_of_slower_steps_is_so():
    import steps

    found = {name: [speed for *_, speed, _ in steps.ratios(committed("benchmark"), name)] for name in steps.OPERATIONS}
    slower = {name: sum(speed < 1 for speed in speeds) for name, speeds in found.items()}
    assert (slower["vae_step"], slower["svi_run"], slower["importance"], slower["loss_gradient"]) == (3, 8, 8, 3)


def test_what_lesson_13_says_of_two_levels_is_so():
    import li_two_levels

    report = li_two_levels.report(committed("li_two_levels"))
    mnist = report[report.index("8000 of MNIST, two levels") : report.index("8000 glyphs")]
    lesson = " ".join((ROOT / "lessons" / "13_hierarchies.py").read_text(encoding="utf-8").replace("\n#", " ").split())
    kl_1, kl_2 = re.search(r"  VAE: KL of z\^1 (.*), of z\^2 (.*)", mnist).groups()
    refined = re.search(r"  VAE, then SVI: .* minus the VAE's (\S+ ± \S+)", mnist)[1]
    fewer = re.search(r"iterative from the prior, T = 5: KL .* minus the VAE's -(\S+ ± \S+)", mnist)[1]
    difference, word = re.search(r"  VAE: equal seconds (\S+ ± \S+) .*?: (.*?);", mnist).groups()
    said = f"{kl_2} nats of a VAE's KL, {kl_1} being", f"leaves it there ({refined})", f"has {fewer} fewer"
    assert all(words in lesson for words in (*said, f"with one is {difference}, {word}"))


@pytest.mark.parametrize(
    "page, name", [(p, n) for p, text in PAGES.items() for n in re.findall(r"<!-- report (\w+) -->", text)]
)
def test_a_figures_report_is_of_its_committed_numbers(page, name):
    report = importlib.import_module(name).report(committed(name))
    shown = between(PAGES[page], "report", f" {name}").removeprefix("```\n").removesuffix("\n```")
    assert [line.rstrip() for line in shown.splitlines()] == [line.rstrip() for line in report.splitlines()]


def test_the_table_of_hessian_products_is_the_committed_one():
    errors = committed("hvp_accuracy")["at_source_r"]
    words = {"forward": "forward difference", "central": "central difference", "complex": "complex step"}
    words = {"exact": "exact (R-operator)", **words}
    rows = {}
    for what, key in (("one product", "product"), ("whole SA-VAE gradient, K = 20", "gradient")):
        for name, word in words.items():
            if name in errors[key]["float32"]:
                cell = [
                    f"{e:.0e}".replace("e-0", "e-") if e else "the truth"
                    for e in (errors[key][d][name] for d in ("float64", "float32"))
                ]
                rows[f"{word}, {what}"] = cell
    for line in between(RESULTS, "hvp").splitlines()[2:]:
        name, *cell = line.strip("| ").split(" | ")
        assert cell == rows[name], name


# --- what is named is there, and what is there is named ----------------------------------------------------------------

EVERYTHING = "\n".join(PAGES.values())


def test_the_readme_has_at_most_130_lines():
    assert len(README.splitlines()) <= 130


@EVERY_PAGE
def test_every_link_and_picture_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", PAGES[page]):
        if not re.match(r"https?:", target):
            name, _, heading = target.partition("#")
            path = (ROOT / page).parent / name if name else ROOT / page
            assert path.exists(), target
            assert not heading or heading in headings(path), target


def headings(path):
    """The names by which links lead to the headings of a page."""
    titles = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.M)
    return [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]


@EVERY_PAGE
def test_every_file_it_names_is_there(page):
    for name in set(re.findall(r"(?<![\w/.])(?:savi|figures|tests|lessons)/[\w/]*\w\.\w+", PAGES[page])):
        if not re.search(r"NN_|\.ipynb$", name):  # a pattern; a file that a command writes
            assert (ROOT / name).exists(), name
    for name in set(re.findall(rf"(?<![\w/.])(?:{'|'.join(WINGS)})/\w+\.py", PAGES[page])):
        assert (ROOT / "savi" / name).exists(), name


@pytest.mark.parametrize("path", ROOMS, ids=lambda path: path.relative_to(ROOT / "savi").as_posix())
def test_every_room_is_named(path):
    name = path.relative_to(ROOT / "savi").as_posix()
    unique = [room.name for room in ROOMS].count(path.name) == 1
    assert re.search(rf"\b{name}" + rf"|(?<![\w/]){path.name}" * unique, EVERYTHING), name


def test_every_wing_has_its_row_in_the_readme():
    assert [wing for wing in WINGS if f"\n| `{wing}` |" not in README] == []


@pytest.mark.parametrize("path", sorted((ROOT / "figures").glob("*.py")), ids=lambda path: path.name)
def test_every_figures_script_is_named(path):
    assert f"figures/{path.name}" in RESULTS


def test_the_index_lists_every_page():
    listed = re.findall(r"\]\((\w+\.md)\)", PAGES["lessons/book/index.md"])
    assert sorted(listed) == sorted(path.name for path in BOOK.glob("*.md") if path.name != "index.md")


def test_the_changelog_has_this_version_and_all_before_it_the_newest_first():
    heads = re.findall(r"^## (.*)$", PAGES["lessons/book/changelog.md"], re.M)
    heads = heads[1:] if heads[0] == "Not released yet" else heads
    found = [re.fullmatch(r"(\d+)\.(\d+)\.(\d+) \((\d{4}-\d\d-\d\d)\)", head) for head in heads]
    assert all(found) and f"{'.'.join(found[0].groups()[:3])}" == savi.__version__
    order = [([int(n) for n in each.groups()[:3]], each[4]) for each in found]
    assert order == sorted(order, reverse=True) and order[-1][0] == [0, 1, 0]


def test_what_the_changelog_names_savi_has():
    for name in re.findall(r"`(?:savi\.)?([A-Za-z_]\w*)`", PAGES["lessons/book/changelog.md"]):
        there = hasattr(savi, name) or any(room.stem == name for room in ROOMS) or name in COMMANDS | {"NAME"}
        assert there, name


def test_the_release_steps_name_what_is_there():
    text = PAGES["lessons/book/contributing.md"].partition("## A release")[2]
    assert [int(n) for n in re.findall(r"^(\d)\. ", text, re.M)] == list(range(1, 7))
    assert "__version__" in text and (ROOT / ".ci" / "run").exists() and ".ci/run" in text
    assert set(re.findall(r"python -m savi (\w+)", text)) <= COMMANDS


def test_every_public_name_is_importable():
    for name in savi.__all__:
        assert getattr(savi, name) is not None


def test_the_claims_are_what_the_committed_figures_say():
    done = subprocess.run([sys.executable, ROOT / "lessons" / "book" / "claims.py", "--check"], check=False)
    assert done.returncode == 0
    rows = [line for line in PAGES["lessons/book/claims.md"].splitlines() if line.startswith("| [")]
    verdicts = {line.split("|")[6].strip() for line in rows}
    assert len(rows) >= 15 and verdicts <= {*figures.VERDICTS, "not yet"}
