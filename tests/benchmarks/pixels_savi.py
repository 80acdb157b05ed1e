"""savi's side of pixels.py."""

from loops_savi import Loop
from pixels import MOMENTUM, STEP_SIZE, K

import savi


def setup(sizes, dtype):
    s = sizes
    shape = s["side"], s["side"]
    decoder = savi.PixelCNNDecoder(shape, s["D"], s["C"], s["layers"], 3, s["first"], s["maps"], z_at=s["z_at"])
    encoder = savi.ResNet(shape, s["stages"], 2 * s["D"])
    return Loop(savi.LatentGaussianModel(decoder), encoder, K, STEP_SIZE, MOMENTUM)
