"""The table of a comparison: its columns, the mean and the spread over seeds, and its forms."""

import math

from savi.experiments.tables import cells, columns, csv, markdown, summarize, table
from savi.experiments.tasks import PERPLEXITY

RESULTS = {
    "settings": {"methods": ["vae", "svi", "sa-vae"], "seeds": [0, 1, 2], "budget": ["epochs", 3]},  # no sa-vae yet
    "epochs": {"vae": 3, "svi": 3, "sa-vae": 3},
    "baseline": None,
    "rows": [
        {"method": name, "seed": seed, "neg_elbo": base + seed, "kl": base, "cpu": 1.26, "perplexity": 3.0}
        for name, base in (("vae", 10.0), ("svi", 20.0))
        for seed in range(3)
    ],
}


def test_a_measure_stands_behind_the_estimate_that_it_is_made_of():
    assert list(columns(RESULTS)) == [
        "neg_elbo", "reconstruction", "kl", "nll_iw", "amortization_gap", "epochs", "cpu",
    ]  # fmt: skip
    own = columns(RESULTS, [PERPLEXITY])
    assert list(own)[3:5] == ["nll_iw", "perplexity"] and own["perplexity"] == ("perplexity", 2)


def test_mean_and_spread_are_those_of_the_seeds_and_what_was_not_measured_is_nan():
    summary = summarize(RESULTS)
    assert list(summary) == ["vae", "svi"]
    assert summary["vae"]["neg_elbo"] == (11.0, 1.0) and summary["svi"]["kl"] == (20.0, 0.0)  # 10, 11, 12
    assert math.isnan(summary["vae"]["nll_iw"][0])
    one = RESULTS | {"rows": RESULTS["rows"][:1]}
    assert summarize(one)["vae"]["neg_elbo"] == (10.0, 0.0)


def test_every_form_has_the_same_cells():
    head, vae, svi = cells(RESULTS, [PERPLEXITY])
    assert head[:2] == ["method", "-ELBO"] and vae[:2] == ["vae", "11.00 ± 1.00"] and svi[6] == "nan ± nan"
    assert vae[8] == "1.3 ± 0.0" and vae[5] == "3.00 ± 0.00"
    lines = table(RESULTS, [PERPLEXITY]).splitlines()
    assert len({len(line) for line in lines}) == 1 and [line.split()[0] for line in lines] == ["method", "vae", "svi"]
    assert markdown(RESULTS, [PERPLEXITY]).splitlines()[1:3] == [
        "| --- |" + " ---: |" * 8,
        "| " + " | ".join(vae) + " |",
    ]
    alone = RESULTS | {
        "settings": {"methods": ["vae"], "seeds": [0], "budget": ["epochs", 3]},
        "rows": RESULTS["rows"][:1],
    }
    assert cells(alone)[1][1] == "10.00"


def test_csv_is_every_row():
    lines = csv(RESULTS).splitlines()
    assert lines[0] == "method,seed,neg_elbo,kl,cpu,perplexity" and len(lines) == 7
    assert lines[2] == "vae,1,11.0,10.0,1.26,3.0"
