"""Images from a Gated PixelCNN, one pixel after the other: of each layer only what the new pixel touches is worked out."""

import numpy as np

from .gated import gate


def in_order(net, params, n, maps, draw, dtype):
    """n images (n, H W) of a PixelCNN: draw(features (n, C)) -> the values (n,) of the next pixel, given those before.

    maps (n, H, W, maps), or None where the net has none. A pixel costs one evaluation of each layer at that pixel; the
    vertical stack, which sees lines above, is worked out for a whole line when that begins.
    """
    (H, W), C, grids = net.shape, net.channels, [layer.grid for layer in net.layers]
    read = np.zeros((n, H, W, 1), dtype) if maps is None else np.concatenate([np.zeros((n, H, W, 1)), maps], axis=3)
    empty = np.zeros((n, H, W, C), dtype)
    h = [grids[0].put(read.astype(dtype)), *(grid.put(empty) for grid in grids[1:])]
    v = [h[0], *(a.copy() for a in h[1:])]
    views = net.views(params)
    x = np.zeros((n, H, W), dtype)
    for i in range(H):
        lines = [(_places(grid, n, i)[:, None] + np.arange(W)).ravel() for grid in grids]
        from_v = [_down(layer, part, v, l, lines) for l, (layer, part) in enumerate(zip(net.layers, views))]
        for j in range(W):
            rows, features = [_places(grid, n, i) + j for grid in grids], 0.0
            for l, (layer, part) in enumerate(zip(net.layers, views)):
                a = layer.across.at(part["W"], h[l], rows[l])
                if layer.down:
                    a += from_v[l].reshape(n, W, -1)[:, j]
                out = gate(a)[0] @ part["out"][:-1] + part["out"][-1]
                features = features + out[:, :C]
                if not layer.last:
                    h[l + 1][rows[l + 1]] = out[:, C:] if layer.first else h[l][rows[l]] + out[:, C:]
            x[:, i, j] = draw(features)
            h[0][rows[0], 0] = x[:, i, j]
    return x.reshape(n, -1)


def _places(grid, n, i):
    """Where line i of each of n images begins in an array of the grid, rows (n,)."""
    return grid.margin + np.arange(n) * grid.lines * grid.pitch + i * grid.pitch


def _down(layer, part, v, l, lines):
    """What the vertical stack adds to a_h on a line (n * W, 2C); what the next layer reads of it is written to v."""
    if not layer.down:
        return None
    a_v = layer.down.at(part["V"], v[l], lines[l])
    if not layer.last:
        v[l + 1][lines[l + 1]] = gate(a_v)[0]
    return a_v @ part["U"]
