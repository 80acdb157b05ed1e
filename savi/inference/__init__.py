"""The inference methods of the sources: from x to lam, and the gradients that train theta and phi.

Read in this order: base (two verbs), svi, amortized (VAE), hvp, semi_amortized (Algorithm 1), encodings, starts, iterative,
recurrent (iterative, with a state); optimizers are their opponents' steps; programs and divergences: which to amortize.
"""
