"""savi: semi-amortized variational inference in NumPy, with autograd as its judge.

The rooms, lower ones first; lower rooms know nothing of upper ones:
files, memory, blas, threads, gaussian, likelihoods, nets, highway, decoders, lstm, sequences, model, reference,
autograd_model, hvp, optimizers, inference, svi, amortized, semi_amortized, iterative, programs, divergences, evaluate,
quadrature, checkpoints, train, glyphs, sources, data, synthetic, plots, testing, compare, lessons, student, properties, check.
"""

import importlib

from .amortized import VAE
from .decoders import FixedDecoder, MLPDecoder
from .engine.files import InputError
from .evaluate import evaluate
from .gaussian import AnalyticKL, PointMass, SampledKL
from .iterative import Iterative
from .likelihoods import Bernoulli, Categorical, Gaussian, Multinomial
from .model import LatentGaussianModel
from .nets.highway import HighwayMLP
from .nets.mlp import MLP
from .semi_amortized import SAVAE, VAESVI
from .sequences import LSTMDecoder, LSTMEncoder
from .svi import SVI, VariationalEM
from .train import fit

__version__ = "0.1.0"
__all__ = [
    "MLP", "SAVAE", "SVI", "VAE", "VAESVI", "AnalyticKL", "AutogradModel", "Bernoulli", "Categorical", "FixedDecoder",
    "Gaussian", "HighwayMLP", "InputError", "Iterative", "LSTMDecoder", "LSTMEncoder", "LatentGaussianModel", "MLPDecoder",
    "Multinomial", "PointMass", "SampledKL", "VariationalEM", "data", "divergences", "evaluate", "fit", "hvp", "iterative",
    "optimizers", "plots", "programs", "quadrature", "reference", "synthetic", "testing",
]  # fmt: skip

_LAZY = {  # rooms that load more than NumPy, or are seldom needed: the name, and where it lives
    "compare": "compare",
    "data": "data",
    "divergences": "divergences",
    "hvp": "hvp",
    "optimizers": "optimizers",
    "plots": "plots",
    "programs": "programs",
    "quadrature": "quadrature",
    "reference": "reference",
    "synthetic": "synthetic",
    "testing": "testing",
}


def __getattr__(name):
    if name == "AutogradModel":
        return importlib.import_module(".autograd_model", __name__).AutogradModel
    if name in _LAZY:
        return importlib.import_module(f".{_LAZY[name]}", __name__)
    raise AttributeError(f"module 'savi' has no attribute {name!r}")
