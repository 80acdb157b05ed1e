"""A masked convolution by savi's (nets/convolution.py)."""

import numpy as np

from savi.nets.convolution import Convolution, Grid, causal


def convolution(kernel, center, height, width):
    """savi's causal convolution of one channel, its grid, and the places of its taps in the kernel."""
    grid, p = Grid(height, width, kernel // 2), kernel // 2
    net = Convolution(grid, causal(kernel, "AB"[center]), 1, 1)
    places = [(p + dy, p + dx + i) for dy, dx, m in net.taps for i in range(m)]
    return net, grid, tuple(np.array(places, int).reshape(-1, 2).T)


def mask(kernel, center):
    found = np.zeros((kernel, kernel))
    found[convolution(kernel, center, 1, 1)[2]] = 1
    return found


def masked_layer(W, places):
    """[W; b] (taps + 1, 1) of the kernel W, b zero."""
    return np.append(W[places], 0.0)[:, None]


def put(grid, image):
    return grid.put(np.asarray(image)[None, :, :, None])


def forward(x, W, center):
    net, grid, places = convolution(len(W), center, *x.shape)
    return grid.pixels(net.forward(masked_layer(W, places), put(grid, x), grid.empty(1, 1, float)))[0, :, :, 0]


def backward_x(W, d_a, center):
    net, grid, places = convolution(len(W), center, *d_a.shape)
    turned = net.turned(masked_layer(W, places))
    return grid.pixels(net.backward(turned, put(grid, d_a), grid.empty(1, 1, float)))[0, :, :, 0]


def backward_W(x, d_a, kernel, center):
    net, grid, places = convolution(kernel, center, *x.shape)
    d_W = np.zeros((kernel, kernel))
    d_W[places] = net.gradient(put(grid, x), put(grid, d_a), np.zeros(net.shape))[:-1, 0]
    return d_W
