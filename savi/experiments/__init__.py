"""From methods to results: training, measuring, comparing, drawing. Read in this order: settings, tasks (data, decoder, encoder,
measures in one object), catalogue, texts, examples, training, checkpoints, stopping, evaluation, quadrature (exact in one and two
dimensions), budget, tuning, methods, runs, needs, processes, executors, parallel, conduct, compare, plan, sweep, collected,
paired, report, tables, plots; for the figures: figures, trials, trial_tables, learning_to_infer, sequences, oracle_runs, cures,
cure_runs, cure_tables, gaps_over_time, text_runs.
"""
