"""Images from a Gated PixelCNN, one pixel after the other: of each layer only what the new pixel touches is worked out."""

import numpy as np

from .gated import gate


def in_order(net, params, n, maps, draw, dtype):
    """n images (n, H W) of a PixelCNN: draw(features (n, C)) -> the values (n,) of the next pixel, given those before.

    maps (n, H, W, maps), or None where the net has none. A pixel costs one evaluation of each layer at that pixel; the
    vertical stack, which sees lines above, is worked out for a whole line when that begins.
    """
    grid, (H, W), C = net.grid, net.shape, net.channels
    read = np.zeros((n, H, W, 1), dtype) if maps is None else np.concatenate([np.zeros((n, H, W, 1)), maps], axis=3)
    h = [grid.put(read.astype(dtype)), *(grid.put(np.zeros((n, H, W, C), dtype)) for _ in net.layers[1:])]
    v = [h[0], *(a.copy() for a in h[1:])]
    views, firsts = net.views(params), grid.margin + np.arange(n) * grid.lines * grid.pitch
    x = np.zeros((n, H, W), dtype)
    for i in range(H):
        line = (firsts[:, None] + i * grid.pitch + np.arange(W)).ravel()
        from_v = [_down(layer, part, v, l, line) for l, (layer, part) in enumerate(zip(net.layers, views))]
        for j in range(W):
            rows, features = firsts + i * grid.pitch + j, 0.0
            for l, (layer, part) in enumerate(zip(net.layers, views)):
                a = layer.across.at(part["W"], h[l], rows)
                if layer.down:
                    a += from_v[l].reshape(n, W, -1)[:, j]
                out = gate(a)[0] @ part["out"][:-1] + part["out"][-1]
                features = features + out[:, :C]
                if not layer.last:
                    h[l + 1][rows] = out[:, C:] if layer.first else h[l][rows] + out[:, C:]
            x[:, i, j] = draw(features)
            h[0][rows, 0] = x[:, i, j]
    return x.reshape(n, -1)


def _down(layer, part, v, l, line):
    """What the vertical stack adds to a_h on a line (n * W, 2C); what the next layer reads of it is written to v."""
    if not layer.down:
        return None
    a_v = layer.down.at(part["V"], v[l], line)
    if not layer.last:
        v[l + 1][line] = gate(a_v)[0]
    return a_v @ part["U"]
