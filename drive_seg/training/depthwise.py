"""The weights' gradient of a depthwise convolution in bfloat16, on a processor: torch's own takes several times as
long."""

from __future__ import annotations

import numpy as np
import torch
from numba import njit


def weight_gradient(x: torch.Tensor, gradient: torch.Tensor, kernel: int, stride: int) -> torch.Tensor:
    """Of a convolution padded by half its kernel. x: (N, C, H, W) bfloat16. gradient: (N, C, H/stride, W/stride)
    bfloat16, of its output. Returns (C, 1, kernel, kernel) float32. One thread; sums in float32."""
    out = np.zeros((kernel, kernel, x.shape[1]), np.float32)
    _add_products(_bits(x), _bits(gradient), stride, out)
    return torch.from_numpy(out).permute(2, 0, 1).unsqueeze(1).contiguous()


def _bits(tensor: torch.Tensor) -> np.ndarray:
    """(N, H, W, C) int16, of the same memory where the channels lie last in it."""
    return tensor.permute(0, 2, 3, 1).contiguous().view(torch.int16).numpy()


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc", "nsz"})
def _add_products(x, gradient, stride, out):
    """out (K, K, C): for each place in the kernel, the sum over all pixels of input times gradient. A bfloat16 is the
    upper half of a float32."""
    pictures, height, width, channels = x.shape
    rows, columns = gradient.shape[1:3]
    kernel = out.shape[0]
    pad = kernel // 2
    x_bits, gradient_bits = np.empty((width, channels), np.int32), np.empty((columns, channels), np.int32)
    x_row, gradient_row = x_bits.view(np.float32), gradient_bits.view(np.float32)
    for n in range(pictures):
        for row in range(rows):
            for w in range(columns):
                for c in range(channels):
                    gradient_bits[w, c] = np.int32(gradient[n, row, w, c]) << 16
            for i in range(max(0, pad - row * stride), min(kernel, height + pad - row * stride)):
                above = row * stride + i - pad
                for w in range(width):
                    for c in range(channels):
                        x_bits[w, c] = np.int32(x[n, above, w, c]) << 16
                for j in range(kernel):
                    w = max(0, (pad - j + stride - 1) // stride)
                    last = min(columns, (width - 1 - j + pad) // stride + 1)
                    total, at = out[i, j], w * stride + j - pad
                    while w + 4 <= last:  # four columns at a time: fewer loads and stores of the sums
                        x0, x1, x2, x3 = x_row[at], x_row[at + stride], x_row[at + 2 * stride], x_row[at + 3 * stride]
                        g0, g1, g2, g3 = (gradient_row[w], gradient_row[w + 1], gradient_row[w + 2],
                                          gradient_row[w + 3])
                        for c in range(channels):
                            total[c] += x0[c] * g0[c] + x1[c] * g1[c] + x2[c] * g2[c] + x3[c] * g3[c]
                        w, at = w + 4, at + 4 * stride
                    while w < last:
                        x0, g0 = x_row[at], gradient_row[w]
                        for c in range(channels):
                            total[c] += x0[c] * g0[c]
                        w, at = w + 1, at + stride
