"""The papers' tables and figures: what the scripts of figures/ share. figures (a script's JSON, picture and claims), trials and
trial_tables (methods at equal epochs and seconds), oracle_runs and sequences ([SA] Table 1), text_runs, text_converged and
saliency ([SA] Table 2, Figure 3), pixel_runs (Table 3), learning_to_infer ([LI]), cures, cure_runs, cure_tables and
gaps_over_time (where semi-amortization pays).
"""
