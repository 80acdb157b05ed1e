"""p(x, z; theta) and q(z; lam): what a model is, and the losses in closed form and in autograd.

Read in this order: base (the interfaces), gaussian, likelihoods, discrete, decoders, latent_gaussian (the loss and its
derivatives), sequence_decoders with z_at, language with decoding (text), reference (the judge, in autograd), autograd_model.
"""
