"""From methods to results: training, measuring, comparing, drawing.

Read in this order: settings, tasks (data, decoder, encoder, measures in one object), catalogue, examples, training,
checkpoints, evaluation, quadrature (exact in one and two dimensions), budget, tuning, parallel,
methods, compare, tables, plots, figures, sequences, oracle_runs.
"""
