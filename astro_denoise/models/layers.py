# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Functions of planes that torch has as well, but slower on processors.
"""

import torch
from torch.nn import functional as F

__all__ = ['asinh', 'box_sum', 'shuffled', 'unshuffled']


def asinh(plane):
    """
    The inverse hyperbolic sine, several times as fast as torch's.

    Parameters
    ----------
    plane : `torch.Tensor`
        Any shape.

    Returns
    -------
    answer : `torch.Tensor`
        Right to 1e-6, and for large values to the last digits.

    Examples
    --------
    >>> import torch
    >>> from astro_denoise.models.layers import asinh
    >>> print(asinh(torch.tensor([-1.0, 0.0, 3.0])).numpy().round(4))
    [-0.8814  0.      1.8184]
    """
    root = torch.sqrt(plane * plane + 1.0)
    return torch.copysign(torch.log(root + plane.abs()), plane)


def box_sum(plane, size):
    """
    Sum over a box around each pixel, of the pixels that there are.

    Parameters
    ----------
    plane : `torch.Tensor`
        Shape (n, 1, ny, nx).

    size : int
        Odd side of the box.

    Returns
    -------
    total : `torch.Tensor`
        Same shape.

    Examples
    --------
    >>> import torch
    >>> from astro_denoise.models.layers import box_sum
    >>> print(box_sum(torch.ones(1, 1, 3, 4), 3)[0, 0].int().tolist())
    [[4, 6, 6, 4], [6, 9, 9, 6], [4, 6, 6, 4]]
    """
    half = size // 2
    plane = F.pad(plane, (half, half, half, half))
    return _running_sum(_running_sum(plane, size, 2), size, 3)


def _running_sum(plane, size, axis):
    """Sums of neighbours along an axis, made of sums of half as many."""
    length = plane.shape[axis] - size + 1
    total, start, width, part = None, 0, 1, plane
    while True:
        if size & width:
            piece = part.narrow(axis, start, length)
            total = piece if total is None else total + piece
            start += width
        if 2 * width > size:
            return total
        n_left = part.shape[axis] - width
        part = part.narrow(axis, 0, n_left) + part.narrow(axis, width, n_left)
        width *= 2


def unshuffled(planes):
    """
    `~torch.nn.functional.pixel_unshuffle` by two, channels last.

    Two neighbours move together, as a complex number.

    Parameters
    ----------
    planes : `torch.Tensor`
        Shape (n, channels, 2 ny, 2 nx).

    Returns
    -------
    planes : `torch.Tensor`
        Shape (n, 4 channels, ny, nx).

    Examples
    --------
    >>> import torch
    >>> from astro_denoise.models.layers import unshuffled
    >>> print(unshuffled(torch.arange(4.0).view(1, 1, 2, 2)).flatten().int())
    tensor([0, 1, 2, 3], dtype=torch.int32)
    """
    n, channels, height, width = planes.shape
    pairs = torch.view_as_complex(planes.reshape(
        n, channels, height // 2, 2, width // 2, 2))
    pairs = pairs.permute(0, 2, 4, 1, 3).contiguous()
    return torch.view_as_real(pairs).flatten(3).permute(0, 3, 1, 2)


def shuffled(planes):
    """
    `~torch.nn.functional.pixel_shuffle` by two, as `unshuffled`.

    Parameters
    ----------
    planes : `torch.Tensor`
        Shape (n, 4 channels, ny, nx), channels last in memory.

    Returns
    -------
    planes : `torch.Tensor`
        Shape (n, channels, 2 ny, 2 nx).

    Examples
    --------
    >>> import torch
    >>> from astro_denoise.models.layers import shuffled, unshuffled
    >>> planes = torch.rand(1, 3, 4, 6)
    >>> print(torch.equal(shuffled(unshuffled(planes)), planes))
    True
    """
    n, channels, height, width = planes.shape
    pairs = torch.view_as_complex(planes.permute(0, 2, 3, 1).reshape(
        n, height, width, channels // 4, 2, 2))
    pairs = pairs.permute(0, 3, 1, 4, 2).contiguous()
    return torch.view_as_real(pairs).reshape(
        n, channels // 4, 2 * height, 2 * width)
