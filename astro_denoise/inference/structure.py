# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Keep structure that a network takes for noise.
"""

import torch
import torch.nn.functional as F

from ..models.layers import at_hand

__all__ = ['BLOCK', 'keep_structure']

BLOCK = 16  # pixels a side

# What is taken away has a mean square of 1 less the variance of the error if
# it is noise; of 256 pixels it is known to 9 per cent. From the first to the
# second multiple of it, more and more is taken for structure.
_FEW, _MANY = 1.25, 1.5

# Pixels count as this many times the noise at most: hot pixels, and noise with
# long tails as that of many CMOS cameras, are no structure. And what is left
# of the mean square of Gaussian noise by that.
_OUTLIER, _LEFT = 2.5, 0.979


def keep_structure(noise, log_variance, valid):
    r"""
    Take less away where more than noise would be.

    A denoiser that takes away :math:`r` of a pixel with noise
    :math:`\sigma` and leaves an error of variance :math:`v` took away
    noise if the mean of :math:`r^2` is :math:`\sigma^2 - v`. If it is more,
    the rest was signal. The mean square error of :math:`k r` is then least
    for

    .. math::

        k = (\sigma^2 - v) / \overline{r^2}

    and is :math:`\sigma^2 - k (\sigma^2 - v)`, never more than that of the
    raw frame (Stein 1981, Annals of Statistics 9, 1135). All is done in
    blocks of 16 x 16 pixels.

    Parameters
    ----------
    noise, log_variance : 4D `~torch.Tensor`
        Noise of each pixel and logarithm of the variance of the error, in
        units of the noise, of shape (1, 1, ny, nx); the first pixel is the
        first of a block.

    valid : 2D `~torch.Tensor`
        1 where a pixel is valid, else 0.

    Returns
    -------
    noise, log_variance : 4D `~torch.Tensor`
        The same, or new ones.

    Examples
    --------
    >>> import torch
    >>> from astro_denoise.inference.structure import keep_structure
    >>> noise = 3 * torch.ones(1, 1, 32, 32)
    >>> log_variance = torch.full_like(noise, 0.1).log()
    >>> noise, log_variance = keep_structure(noise, log_variance,
    ...                                      torch.ones(32, 32))
    >>> print(f'{noise[0, 0, 0, 0]:.2f} {log_variance.exp().mean():.2f}')
    0.30 0.91
    """
    gained = (-torch.expm1(log_variance)).clamp(min=-1)
    squares = noise.square()
    weight = valid[None, None]
    due, usual = (F.avg_pool2d(plane * weight, BLOCK, ceil_mode=True)
                  for plane in (gained, squares.clamp(max=_OUTLIER**2)))
    due = due.clamp(min=1e-12)
    excess = ((usual / (_LEFT * due) - _FEW) / (_MANY - _FEW)).clamp(0, 1)
    if at_hand(excess) and not excess.any():
        return noise, log_variance
    removed = F.avg_pool2d(squares * weight, BLOCK, ceil_mode=True)
    share = 1 - excess * (1 - due / removed.clamp(min=1e-12)).clamp(0)
    # what is left in it of structure that was taken away
    lost = excess * (share * (share * removed - due)).clamp(0)
    share, lost = (plane.repeat_interleave(BLOCK, 2).repeat_interleave(
        BLOCK, 3)[:, :, :noise.shape[2], :noise.shape[3]]
        for plane in (share, lost))
    left = torch.log((1 - share * gained + lost).clamp(min=1e-12))
    return share * noise, torch.where(share < 1, left, log_variance)
