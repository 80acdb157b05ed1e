"""savi: semi-amortized variational inference in NumPy, with autograd as its judge.

The rooms, lower ones first; lower rooms know nothing of upper ones:
files, memory, blas, threads, gaussian, likelihoods, nets, highway, decoders, lstm, sequences, model, reference,
autograd_model, hvp, optimizers, inference, svi, amortized, semi_amortized, iterative, programs, divergences, evaluate,
quadrature, checkpoints, train, glyphs, sources, data, synthetic, plots, testing, compare, lessons, student, properties, check.
"""

import importlib

from .engine.files import InputError
from .experiments.evaluation import evaluate
from .experiments.training import fit
from .inference.amortized import VAE
from .inference.iterative import Iterative
from .inference.semi_amortized import SAVAE, VAESVI
from .inference.svi import SVI, VariationalEM
from .models.decoders import FixedDecoder, MLPDecoder
from .models.gaussian import AnalyticKL, PointMass, SampledKL
from .models.latent_gaussian import LatentGaussianModel
from .models.likelihoods import Bernoulli, Categorical, Gaussian, Multinomial
from .models.sequence_decoders import LSTMDecoder, LSTMEncoder
from .nets.highway import HighwayMLP
from .nets.mlp import MLP

__version__ = "0.1.0"
__all__ = [
    "MLP", "SAVAE", "SVI", "VAE", "VAESVI", "AnalyticKL", "AutogradModel", "Bernoulli", "Categorical", "FixedDecoder",
    "Gaussian", "HighwayMLP", "InputError", "Iterative", "LSTMDecoder", "LSTMEncoder", "LatentGaussianModel", "MLPDecoder",
    "Multinomial", "PointMass", "SampledKL", "VariationalEM", "data", "divergences", "evaluate", "fit", "hvp", "iterative",
    "optimizers", "plots", "programs", "quadrature", "reference", "synthetic", "testing",
]  # fmt: skip

_LAZY = {  # rooms that load more than NumPy, or are seldom needed: the name, and where it lives
    "compare": "experiments.compare",
    "data": "data",
    "divergences": "inference.divergences",
    "hvp": "inference.hvp",
    "iterative": "inference.iterative",
    "optimizers": "inference.optimizers",
    "plots": "experiments.plots",
    "programs": "inference.programs",
    "quadrature": "experiments.quadrature",
    "reference": "models.reference",
    "synthetic": "data.synthetic",
    "testing": "testing",
}


def __getattr__(name):
    if name == "AutogradModel":
        return importlib.import_module(".models.autograd_model", __name__).AutogradModel
    if name in _LAZY:
        return importlib.import_module(f".{_LAZY[name]}", __name__)
    raise AttributeError(f"module 'savi' has no attribute {name!r}")
