"""savi: semi-amortized variational inference in NumPy, with autograd as its judge.

The house: plain (every algorithm on one page: read it first), then the wings, lower ones first - engine, nets, models,
inference, data, experiments, sweeps, studies, course - each with its door, which says what lives there. A lower
wing knows nothing of an upper one. What a user names is `savi.NAME`; testing has the checks for gradients of your own.
"""

__version__ = "0.1.0"

_ROOMS = {  # where a name is: the room, or room:NAME; what is asked for is loaded, and nothing else
    "MLP": "nets.mlp:MLP",
    "SAVAE": "inference.semi_amortized:SAVAE",
    "SVI": "inference.svi:SVI",
    "VAE": "inference.amortized:VAE",
    "VAESVI": "inference.semi_amortized:VAESVI",
    "AnalyticKL": "models.gaussian:AnalyticKL",
    "AutogradModel": "models.autograd_model:AutogradModel",
    "Bernoulli": "models.likelihoods:Bernoulli",
    "BottomUpEncoder": "nets.level_encoders:BottomUpEncoder",
    "Categorical": "models.discrete:Categorical",
    "DropoutMLP": "nets.dropout:DropoutMLP",
    "DiscretizedLogistic": "models.discretized:DiscretizedLogistic",
    "FixedDecoder": "models.decoders:FixedDecoder",
    "Gaussian": "models.likelihoods:Gaussian",
    "HierarchicalModel": "models.hierarchical:HierarchicalModel",
    "HighwayMLP": "nets.highway:HighwayMLP",
    "InputError": "engine.files:InputError",
    "Iterative": "inference.iterative:Iterative",
    "LSTMDecoder": "models.sequence_decoders:LSTMDecoder",
    "LSTMEncoder": "nets.encoders:LSTMEncoder",
    "LadderEncoder": "nets.level_encoders:LadderEncoder",
    "LanguageDecoder": "models.language:LanguageDecoder",
    "LatentGaussianModel": "models.latent_gaussian:LatentGaussianModel",
    "Level": "models.levels:Level",
    "MLPDecoder": "models.decoders:MLPDecoder",
    "Multinomial": "models.discrete:Multinomial",
    "PixelCNNDecoder": "models.autoregressive:PixelCNNDecoder",
    "PointMass": "models.gaussian:PointMass",
    "Poisson": "models.discrete:Poisson",
    "ResNet": "nets.resnet:ResNet",
    "SampledKL": "models.gaussian:SampledKL",
    "Task": "experiments.tasks:Task",
    "TopDownEncoder": "nets.level_encoders:TopDownEncoder",
    "VariationalEM": "inference.svi:VariationalEM",
    "compare": "sweeps.compare:compare",
    "data": "data",
    "divergences": "inference.divergences",
    "evaluate": "experiments.evaluation:evaluate",
    "fit": "experiments.training:fit",
    "hvp": "inference.hvp",
    "iterative": "inference.iterative",
    "optimizers": "inference.optimizers",
    "plots": "experiments.plots",
    "programs": "inference.programs",
    "quadrature": "experiments.quadrature",
    "recurrent": "inference.recurrent",
    "reference": "models.reference",
    "sweep": "sweeps.sweep:sweep",
    "synthetic": "data.synthetic",
    "testing": "testing",
}
__all__ = sorted(_ROOMS)


def __getattr__(name):
    if name not in _ROOMS:
        raise AttributeError(f"module 'savi' has no attribute {name!r}")
    from importlib import import_module

    room, _, attribute = _ROOMS[name].partition(":")
    module = import_module(f".{room}", __name__)
    found = globals()[name] = getattr(module, attribute) if attribute else module
    return found


def __dir__():
    return sorted({*globals(), *__all__})
