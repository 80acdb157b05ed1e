"""From a method to its results, one run at a time. Read in this order: settings, tasks (data, decoder, encoder, measures in one
object), catalogue, texts, examples, training, checkpoints, stopping, evaluation, quadrature (exact in one and two dimensions),
budget, tuning, methods, tables, plots.
"""
