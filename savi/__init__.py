"""savi: semi-amortized variational inference in NumPy, with autograd as its judge.

The house: plain (every algorithm on one page: read it first), then the wings, lower ones first - engine, nets, models,
inference, data, experiments, course - each with its door, which says what lives there. A lower wing knows nothing of an
upper one. What a user names is `savi.NAME`; testing has the checks for gradients of your own.
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
from .models.discrete import Categorical, Multinomial, Poisson
from .models.gaussian import AnalyticKL, PointMass, SampledKL
from .models.latent_gaussian import LatentGaussianModel
from .models.likelihoods import Bernoulli, Gaussian
from .models.sequence_decoders import LSTMDecoder
from .nets.dropout import DropoutMLP
from .nets.encoders import LSTMEncoder
from .nets.highway import HighwayMLP
from .nets.mlp import MLP

__version__ = "0.1.0"
__all__ = [
    "MLP", "SAVAE", "SVI", "VAE", "VAESVI", "AnalyticKL", "AutogradModel", "Bernoulli", "Categorical", "DropoutMLP",
    "FixedDecoder", "Gaussian", "HighwayMLP", "InputError", "Iterative", "LSTMDecoder", "LSTMEncoder", "LatentGaussianModel",
    "MLPDecoder", "Multinomial", "PointMass", "Poisson", "SampledKL", "Task", "VariationalEM", "compare", "data",
    "divergences", "evaluate", "fit", "hvp", "iterative", "optimizers", "plots", "programs", "quadrature",
    "reference", "sweep", "synthetic", "testing",
]  # fmt: skip

_LAZY = {  # what loads more than NumPy, or is seldom needed: the name, and the room it is, or the room:name it has there
    "AutogradModel": "models.autograd_model:AutogradModel",
    "Task": "experiments.tasks:Task",
    "compare": "experiments.compare:compare",
    "data": "data",
    "divergences": "inference.divergences",
    "hvp": "inference.hvp",
    "iterative": "inference.iterative",
    "optimizers": "inference.optimizers",
    "plots": "experiments.plots",
    "programs": "inference.programs",
    "quadrature": "experiments.quadrature",
    "reference": "models.reference",
    "sweep": "experiments.sweep:sweep",
    "synthetic": "data.synthetic",
    "testing": "testing",
}


def __getattr__(name):
    if name in _LAZY:
        room, _, attribute = _LAZY[name].partition(":")
        module = importlib.import_module(f".{room}", __name__)
        return getattr(module, attribute) if attribute else module
    raise AttributeError(f"module 'savi' has no attribute {name!r}")
