"""savi's side of language.py."""

from language import MOMENTUM, STEP_SIZE
from loops_savi import Loop

import savi
from savi.models.language import LanguageDecoder


def setup(sizes, dtype):
    V, H, D = (sizes[name] for name in ("V", "H", "D"))
    encoder = savi.LSTMEncoder(V, H, H, 2 * D) if D else None
    return Loop(savi.LatentGaussianModel(LanguageDecoder(V, H, H, D)), encoder, sizes["K"], STEP_SIZE, MOMENTUM)
