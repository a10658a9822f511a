# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Layers and functions of planes that several networks share.
"""

import functools

import torch
from torch import nn
from torch.nn import functional as F

__all__ = ['Pointwise', 'Standardized', 'all_count', 'asinh', 'at_hand',
           'box_matrix', 'box_sum', 'computing_in', 'convolution_block',
           'convolved', 'exporting', 'in_pairs', 'mean_around',
           'mean_of_nine', 'rectified', 'shuffled', 'squashed', 'unshuffled']

# Slope of the rectifiers below 0.
_SLOPE = 0.1

# Numbers that a processor computes with at once.
_VECTOR = 16

# Rows of features made single at a time.
_ROWS = 32

# Share of a batch in the running means of `Standardized`.
_SHARE = 0.01


def asinh(plane):
    """
    Compute the inverse hyperbolic sine, several times as fast as torch.

    Parameters
    ----------
    plane : `torch.Tensor`
        Any shape.

    Returns
    -------
    answer : `torch.Tensor`
        Accurate to 1e-6, and for large values to rounding.

    Examples
    --------
    >>> import torch
    >>> from astro_denoise.models.layers import asinh
    >>> print(asinh(torch.tensor([-1.0, 0.0, 3.0])).numpy().round(4))
    [-0.8814  0.      1.8184]
    """
    root = torch.sqrt(plane * plane + 1.0)
    size = torch.log(root + plane.abs())
    # ONNX has no copysign
    return (size * torch.sign(plane) if exporting()
            else torch.copysign(size, plane))


def box_sum(plane, size):
    """
    Sum over a box around each pixel; pixels outside the plane are 0.

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
    """Sum neighbors along an axis, from sums of half as many."""
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


def mean_of_nine(plane):
    """
    Compute the mean over 3x3 pixels, at the edges over those that exist.

    Parameters
    ----------
    plane : `torch.Tensor`
        Shape (n, 1, ny, nx).

    Returns
    -------
    mean : `torch.Tensor`
        Same shape.

    Examples
    --------
    >>> import torch
    >>> from astro_denoise.models.layers import mean_of_nine
    >>> print(mean_of_nine(torch.arange(9.0).view(1, 1, 3, 3))[0, 0, 1])
    tensor([3.5000, 4.0000, 4.5000])
    """
    # In place: a plane that is made anew takes longer than the sum in it.
    rows = plane.clone()
    rows[:, :, 1:] += plane[:, :, :-1]
    rows[:, :, :-1] += plane[:, :, 1:]
    mean = rows.clone()
    mean[..., 1:] += rows[..., :-1]
    mean[..., :-1] += rows[..., 1:]
    mean *= 1 / 9
    for edge in (0, -1):
        mean[:, :, edge] *= 1.5
        mean[..., edge] *= 1.5
    return mean


def exporting():
    """
    Tell if a network is being exported or compiled.

    No branch may then depend on the values of a tensor.

    Returns
    -------
    exporting : bool
        `True` if it is.
    """
    return torch.compiler.is_compiling()


def at_hand(tensor):
    """
    Tell if a branch may depend on the values of a tensor.

    A card would have to be waited for: there, both cases are computed.

    Parameters
    ----------
    tensor : `torch.Tensor`
        Any tensor.

    Returns
    -------
    at_hand : bool
        `True` on the processor, except while a network is exported.
    """
    return not exporting() and tensor.device.type == 'cpu'


def all_count(valid):
    """
    Tell if all pixels count, so that there is less to compute.

    Parameters
    ----------
    valid : `torch.Tensor`
        1 for pixels that count, else 0.

    Returns
    -------
    all_count : bool
        `False` where the values are not at hand.
    """
    return at_hand(valid) and bool(valid.min() == 1.0)


def mean_around(plane, valid):
    """
    Compute the mean of the eight pixels around each, weighted by validity.

    Parameters
    ----------
    plane, valid : `torch.Tensor`
        Shape (n, 1, ny, nx); ``valid`` is from 0 to 1.

    Returns
    -------
    mean : `torch.Tensor`
        Same shape.

    Examples
    --------
    >>> import torch
    >>> from astro_denoise.models.layers import mean_around
    >>> plane = torch.zeros(1, 1, 3, 3)
    >>> plane[..., 0, 0] = 8.0
    >>> print(mean_around(plane, torch.ones(1, 1, 3, 3))[0, 0, 1, 1])
    tensor(1.)
    """
    if all_count(valid):
        return torch.sub(mean_of_nine(plane).mul_(9 / 8), plane, alpha=1 / 8)
    plane = plane * valid
    total = mean_of_nine(plane) * 9.0 - plane
    return total / (mean_of_nine(valid) * 9.0 - valid).clamp_min(0.5)


def box_matrix(size, n_pixels):
    """
    Make the matrix that takes running means of a line of pixels.

    Parameters
    ----------
    size : int
        Odd number of pixels to average.

    n_pixels : int
        Length of the line.

    Returns
    -------
    matrix : `torch.Tensor`
        Shape (n_pixels, n_pixels); at the ends, the pixels that exist are
        averaged.

    Examples
    --------
    >>> import torch
    >>> from astro_denoise.models.layers import box_matrix
    >>> print(box_matrix(3, 4) @ torch.arange(4.0))
    tensor([0.5000, 1.0000, 2.0000, 2.5000])
    """
    pixel = torch.arange(n_pixels)
    near = ((pixel - pixel[:, None]).abs() <= size // 2).float()
    return near / near.sum(1, keepdim=True)


def squashed(plane):
    """
    Compress values to order one; faster than a logarithm.

    Parameters
    ----------
    plane : `torch.Tensor`
        Any shape.

    Returns
    -------
    compressed : `torch.Tensor`
        From -10/3 to 10/3.

    Examples
    --------
    >>> import torch
    >>> from astro_denoise.models.layers import squashed
    >>> print(squashed(torch.tensor([0.0, 1.0, -1e6])))
    tensor([ 0.0000,  0.7692, -3.3333])
    """
    return plane / (1.0 + 0.3 * plane.abs())


def unshuffled(planes, size=2):
    """
    Move squares of pixels to channels, as torch's ``pixel_unshuffle``.

    It is faster on processors: two neighbors move together, as a complex
    number. The result is channels last in memory.

    Parameters
    ----------
    planes : `torch.Tensor`
        Shape (n, channels, size * ny, size * nx), float32 or bfloat16;
        without a gradient in bfloat16.

    size : int, optional
        Even number of pixels per side of a square.

    Returns
    -------
    planes : `torch.Tensor`
        Shape (n, size^2 channels, ny, nx).

    Examples
    --------
    >>> import torch
    >>> from astro_denoise.models.layers import unshuffled
    >>> print(unshuffled(torch.arange(4.0).view(1, 1, 2, 2)).flatten().int())
    tensor([0, 1, 2, 3], dtype=torch.int32)
    """
    n, channels, height, width = planes.shape
    planes = planes.reshape(n, channels, height // size, size,
                            width // size, size // 2, 2)
    halves = planes.dtype == torch.bfloat16
    pairs = (planes.view(torch.int32)[..., 0] if halves
             else torch.view_as_complex(planes))
    pairs = pairs.permute(0, 2, 4, 1, 3, 5).contiguous()
    pairs = (pairs.view(planes.dtype) if halves
             else torch.view_as_real(pairs))
    return pairs.flatten(3).permute(0, 3, 1, 2)


def shuffled(planes, size=2):
    """
    Move channels to squares of pixels, the inverse of `unshuffled`.

    Parameters
    ----------
    planes : `torch.Tensor`
        Shape (n, size^2 channels, ny, nx), channels last in memory.

    size : int, optional
        Even number of pixels per side of a square.

    Returns
    -------
    planes : `torch.Tensor`
        Shape (n, channels, size * ny, size * nx).

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
        n, height, width, channels // size**2, size, size // 2, 2))
    pairs = pairs.permute(0, 3, 1, 4, 2, 5).contiguous()
    return torch.view_as_real(pairs).reshape(
        n, channels // size**2, size * height, size * width)


class Pointwise(nn.Module):
    """
    Two 1x1 convolutions beside the identity.

    Parameters
    ----------
    width : int
        Number of channels.
    """

    def __init__(self, width):
        super().__init__()
        self.first = nn.Conv2d(width, width, 1)
        self.second = nn.Conv2d(width, width, 1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, features):
        """
        Add the answer of the two convolutions to the features.
        """
        change = F.leaky_relu(self.first(features), 0.1, inplace=True)
        return self.second(change) + features


class Standardized(nn.Module):
    """
    Subtract the mean of each feature and divide by its scatter.

    Both are running means, in training too: a batch adds no noise.

    Parameters
    ----------
    n_features : int
        Number of features.
    """

    def __init__(self, n_features):
        super().__init__()
        self.register_buffer('mean', torch.zeros(n_features))
        self.register_buffer('square', torch.ones(n_features))
        self.register_buffer('steps', torch.zeros(()))

    def forward(self, features):
        """
        Standardize features, of shape (n, n_features).
        """
        if self.training:
            with torch.no_grad():
                self.steps += 1.0
                share = (1.0 / self.steps).clamp_min(_SHARE)
                self.mean.lerp_(features.mean(0), share)
                self.square.lerp_((features - self.mean).square().mean(0),
                                  share)
        return (features - self.mean) * torch.rsqrt(self.square + 1e-8)


def convolution_block(n_in, n_out, n_convolutions=2):
    """
    Chain 3x3 convolutions with leaky rectifiers.

    Parameters
    ----------
    n_in, n_out : int
        Channels of the input, and of every convolution.

    n_convolutions : int, optional
        Number of convolutions.

    Returns
    -------
    block : `torch.nn.Sequential`
        The layers.

    Examples
    --------
    >>> from astro_denoise.models.layers import convolution_block
    >>> len(convolution_block(2, 8))
    4
    """
    layers = []
    for index in range(n_convolutions):
        layers += [nn.Conv2d(n_out if index else n_in, n_out, 3, padding=1),
                   nn.LeakyReLU(_SLOPE, inplace=True)]
    return nn.Sequential(*layers)


def computing_in(dtype, device):
    """
    Make the context in which convolutions have a precision.

    Parameters
    ----------
    dtype : `torch.dtype`
        ``torch.float32`` or ``torch.bfloat16``.

    device : `torch.device`
        Where they are computed.

    Returns
    -------
    context : context manager
        To compute in.

    Examples
    --------
    >>> import torch
    >>> from astro_denoise.models.layers import computing_in
    >>> with computing_in(torch.bfloat16, torch.device('cpu')):
    ...     print((torch.ones(2, 2) @ torch.ones(2, 2)).dtype)
    torch.bfloat16
    """
    return torch.autocast(device.type, dtype=torch.bfloat16,
                          enabled=dtype == torch.bfloat16)


def convolved(block, features, dtype, *, shift=None):
    """
    Run a block of convolutions in a precision.

    Parameters
    ----------
    block : `torch.nn.Sequential`
        From `convolution_block`.

    features : `torch.Tensor`
        Shape (n, n_in, ny, nx).

    dtype : `torch.dtype`
        Precision of the convolutions.

    shift : `torch.Tensor`, optional
        Shape (n, n_out, 1, 1): what is added after the first convolution.

    Returns
    -------
    features : `torch.Tensor`
        Shape (n, n_out, ny, nx).

    Examples
    --------
    >>> import torch
    >>> from astro_denoise.models.layers import convolution_block, convolved
    >>> block = convolution_block(2, 8)
    >>> print(convolved(block, torch.ones(1, 2, 6, 4), torch.float32).shape)
    torch.Size([1, 8, 6, 4])
    """
    for layer in block[::2]:
        features = rectified(layer, features, dtype, shift=shift)
        shift = None
    return features


def in_pairs(layer, features):
    """
    Convolve in single precision, two neighbors at once where that is faster.

    A convolution with few answers leaves half of a processor's vectors empty.
    Features of half precision are made single a few rows at a time, which
    stay in the cache.

    Parameters
    ----------
    layer : `torch.nn.Conv2d`
        A convolution without stride, of 3x3 or 1x1 pixels.

    features : `torch.Tensor`
        Shape (n, n_in, ny, nx), channels last in memory.

    Returns
    -------
    answer : `torch.Tensor`
        Shape (n, n_out, ny, nx), as from the layer.

    Examples
    --------
    >>> import torch
    >>> from astro_denoise.models.layers import in_pairs
    >>> layer = torch.nn.Conv2d(2, 8, 3, padding=1)
    >>> features = torch.rand(1, 2, 6, 4)
    >>> with torch.no_grad():
    ...     answer = in_pairs(layer, features)
    >>> torch.allclose(answer, layer(features), atol=1e-6)
    True
    """
    n, _, height, width = features.shape
    if (torch.is_grad_enabled() or not at_hand(features) or width % 2
            or layer.out_channels >= _VECTOR):
        return layer(features.float())
    # The second answer is that of the kernel one pixel to the right.
    one = layer.weight
    pair = torch.cat([F.pad(one, (0, 1)), F.pad(one, (1, 0))]).contiguous(
        memory_format=torch.channels_last)
    bias = torch.cat([layer.bias, layer.bias])
    margin = layer.padding[0]
    answer = torch.empty(n, height, width // 2, len(bias))
    for first in range(0, height, _ROWS):
        last = min(first + _ROWS, height)
        low, high = max(first - margin, 0), min(last + margin, height)
        part = features[:, :, low:high].float()
        if low > first - margin or high < last + margin:
            part = F.pad(part, (0, 0, low - first + margin,
                                last + margin - high))
        answer[:, first:last] = F.conv2d(
            part.contiguous(memory_format=torch.channels_last), pair, bias,
            (1, 2), (0, layer.padding[1])).permute(0, 2, 3, 1)
    return answer.view(n, height, width, layer.out_channels).permute(
        0, 3, 1, 2)


def rectified(layer, features, dtype, *, scale=None, shift=None):
    """
    Convolve features, scale and shift the answer, and rectify it.

    Parameters
    ----------
    layer : `torch.nn.Conv2d`
        A 3x3 convolution.

    features : `torch.Tensor`
        Shape (n, n_in, ny, nx).

    dtype : `torch.dtype`
        Precision of the convolution.

    scale, shift : `torch.Tensor`, optional
        Shape (n, n_out, 1, 1).

    Returns
    -------
    features : `torch.Tensor`
        Shape (n, n_out, ny, nx).

    Examples
    --------
    >>> import torch
    >>> from astro_denoise.models.layers import rectified
    >>> layer = torch.nn.Conv2d(2, 8, 3, padding=1)
    >>> print(rectified(layer, torch.ones(1, 2, 6, 4), torch.float32).shape)
    torch.Size([1, 8, 6, 4])
    """
    several = any(each is not None and len(each) > 1
                  for each in (scale, shift))
    fused = (None if torch.is_grad_enabled() or not at_hand(features)
             or several else _fused_convolution(dtype))
    if fused is not None:
        weight, bias = layer.weight, layer.bias
        if scale is not None:
            weight, bias = weight * scale[0][..., None], bias * scale.flatten()
        if shift is not None:
            bias = bias + shift.flatten()
        return fused(features.to(dtype), weight.to(dtype), bias.to(dtype))
    with computing_in(dtype, features.device):
        features = layer(features)
        if scale is not None:
            features = features * scale.to(features.dtype)
        if shift is not None:
            features = features + shift.to(features.dtype)
        return F.leaky_relu(features, _SLOPE, inplace=True)


@functools.cache
def _fused_convolution(dtype):
    """
    The operation that convolves and rectifies in one pass, if there is one.

    Apart, the rectifiers take longer than the convolutions in bfloat16.
    torch has it for its compiler, under no public name: it is tried first.
    """
    def convolve(features, weight, bias):
        return torch.ops.mkldnn._convolution_pointwise(
            features, weight, bias, [1, 1], [1, 1], [1, 1], 1, 'leaky_relu',
            [_SLOPE], '')

    features = torch.linspace(-1, 1, 80, dtype=dtype).view(1, 2, 5, 8)
    weight = torch.linspace(-1, 1, 36, dtype=dtype).view(2, 2, 3, 3)
    bias = torch.linspace(0, 1, 2, dtype=dtype)
    try:
        answer = convolve(features, weight, bias).float()
        expected = F.leaky_relu(F.conv2d(features.float(), weight.float(),
                                         bias.float(), padding=1), _SLOPE)
    except (AttributeError, RuntimeError, TypeError):
        return None
    return convolve if (answer - expected).abs().max() < 0.05 else None
