"""From methods to results: training, measuring, comparing, drawing.

Read in this order: settings, tasks (data, decoder, encoder and measures in one object), catalogue, examples, training,
checkpoints, evaluation, quadrature (exact answers in one and two dimensions), compare (the main job), tables, plots, figures.
"""
