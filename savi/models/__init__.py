"""p(x, z; theta) and q(z; lam): what a model is, and the losses in closed form and in autograd.

Read in this order: base (the interfaces), gaussian, likelihoods, discrete, discretized, decoders, latent_gaussian (the loss and its
derivatives), hierarchical with levels and given_levels (the same of several levels), sequence_decoders with z_at, language with
decoding (text), autoregressive with given_pixels and pixels_at (images), reference (the judge), autograd_model (your own).
"""
