# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The network behind `astro_denoise.denoise`: a U-Net that predicts the
standardized noise of every pixel, and restores from the residual the
flux that it would have removed.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

from ..frames.kernel_card import FAINT
from .error_calibration import calibration_knots, variance_correction
from .layers import (
    all_count,
    asinh,
    computing_in,
    convolution_block,
    convolved,
    in_pairs,
    mean_of_nine,
    shuffled,
    unshuffled,
)
from .lone_pixels import find_lone_pixels
from .restoring_kernels import (
    KERNEL_RADIUS,
    identity_kernels,
    kernels_between,
    restored,
)

__all__ = ['LARGEST_NOISE', 'CCDDenoiser', 'fwhm_of', 'psf_context']

#: The noise of a pixel is taken to be at most this many sigmas: whatever
#: exceeds it (a cosmic ray that the network has not seen) stays.
LARGEST_NOISE = 6.0

# Width of the point-spread function, in pixels, that the context is
# relative to, and the one taken where none is known.
_CONTEXT_FWHM = 3.5
_UNKNOWN_FWHM = 2.6


class CCDDenoiser(nn.Module):
    """
    Predict the noise in a frame and its error; give flux back.

    The frame comes standardized, ``x = (frame - background) / sigma``.
    The network sees ``asinh(x)``, the same of its fine detail, the
    logarithm of the noise map and the validity mask, at half resolution
    (pixel unshuffle), and answers with the noise ``n`` in each pixel and
    the logarithm of the variance of the final error. Where it has
    kernels, flux is restored from the residual (twicing, Tukey 1977):
    ``result = d + K * (x - d)``, with a
    kernel K of sum 1 that depends on the width of the point-spread
    function. ``d`` is ``x - n`` where that is bright, and goes to zero
    where it is faint: a faint source, of which the network sees too
    little or now too much, is left to the kernel.

    Parameters
    ----------
    widths : tuple of int, optional
        Channels of the levels, from half resolution downwards.

    kernel_fwhms : tuple of float, optional
        Widths of the point-spread function, in pixels and increasing by
        a constant factor, for which there are restoring kernels; empty
        for a network that restores nothing. The kernels themselves are
        weights, see `astro_denoise.training.restoration`.

    lone_pixels : bool, optional
        Whether a pixel that its neighbors do not support is told from
        light: taken for noise, or for a cosmic ray that stays.

    calibration_scale : float, optional
        The signal over the noise below which errors are calibrated in
        equal steps of signal, and above in steps of a factor.

    shuffle : {2, 4}, optional
        Pixels per side of the squares that are seen and answered for at
        once.

    gated : bool, optional
        Whether the noise is what the network answers, and in addition a
        share of the pixel, which it answers too. Without, few channels
        take the pixels along all layers, and lose some of them.
    """

    def __init__(self, widths=(32, 64, 96, 128), kernel_fwhms=(),
                 lone_pixels=True, calibration_scale=1.0, shuffle=2,
                 gated=False):
        super().__init__()
        if len(kernel_fwhms) == 1:
            msg = f'kernel_fwhms must hold two or more, got {kernel_fwhms!r}'
            raise ValueError(msg)
        self.config = {'widths': list(widths),
                       'kernel_fwhms': list(kernel_fwhms),
                       'lone_pixels': lone_pixels,
                       'calibration_scale': calibration_scale,
                       'shuffle': shuffle, 'gated': gated}
        self.shuffle = shuffle
        self.gated = gated
        self.lone_pixels = lone_pixels
        self.calibration_scale = calibration_scale
        self.encoders = nn.ModuleList()
        n_in = 4 * shuffle**2
        for width in widths:
            self.encoders.append(convolution_block(n_in, width))
            n_in = width
        self.decoders = nn.ModuleList()
        self.projections = nn.ModuleList()
        for level in reversed(range(len(widths) - 1)):
            self.projections.append(nn.Conv2d(widths[level + 1],
                                              widths[level], 1))
            self.decoders.append(convolution_block(
                widths[level], widths[level], 2 if level else 1))
        self.context = nn.Sequential(nn.Linear(2, 32), nn.SiLU(),
                                     nn.Linear(32, sum(widths[1:])))
        head_reach = int(shuffle == 2)
        self.head = nn.Conv2d(widths[0], (2 + gated) * shuffle**2,
                              2 * head_reach + 1, padding=head_reach)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        # With a gate, all is noise at first.
        nn.init.ones_(self.head.bias[2 * shuffle**2:])
        # Correction of the logarithm of the variance.
        self.register_buffer('calibration', torch.zeros(
            len(calibration_knots(calibration_scale))))
        if kernel_fwhms:
            self.register_buffer('kernels',
                                 identity_kernels(len(kernel_fwhms)))

    @property
    def stride(self):
        """Tiles must start at multiples of this many pixels."""
        return self.shuffle * 2**(len(self.config['widths']) - 1)

    @property
    def restoring_reach(self):
        """The part of ``reach`` that is due to what follows the network."""
        return KERNEL_RADIUS + 4 if self.config['kernel_fwhms'] else 2

    @property
    def reach(self):
        """
        Pixels from which a result can still be influenced, on each side.

        The interval that one pixel depends on is followed backwards
        through the deepest level, for each position in a stride.
        """
        n_levels = len(self.config['widths'])
        reach = 0
        for pixel in range(self.stride):
            low = high = pixel // self.shuffle
            low, high = low - 1, high + 1                    # head
            for level in range(n_levels - 1):
                n_convolutions = 2 if level else 1           # decoder
                low, high = low - n_convolutions, high + n_convolutions
                low, high = (low - 1) // 2, (high + 1) // 2  # bilinear
            for level in reversed(range(n_levels)):
                low, high = low - 2, high + 2                # encoder
                side = 2 if level else self.shuffle
                low, high = side * low, side * (high + 1) - 1
            reach = max(reach, pixel - low, high - pixel)
        return reach + 2 + self.restoring_reach              # detail

    def dtypes(self, dtype, outermost=None):
        """
        Choose the precision of each level, from the outermost inwards.

        In a result, bfloat16 at the outermost level shows more than below it,
        and ten times as much where no kernel restores what is faint. For
        training either will do.

        Parameters
        ----------
        dtype : `torch.dtype`
            Precision of the inner levels.

        outermost : `torch.dtype`, optional
            That of the outermost one; by default the same, except for
            results of a network without kernels: float32.

        Returns
        -------
        dtypes : list of `torch.dtype`
            One for each level.
        """
        if outermost is None:
            tolerant = self.training or self.config['kernel_fwhms']
            outermost = dtype if tolerant else torch.float32
        return [outermost] + [dtype] * (len(self.config['widths']) - 1)

    def features(self, x, log_sigma, valid):
        """Make the planes that the network sees, at half resolution."""
        planes = torch.cat([asinh(x), asinh(_detail(x, valid)), log_sigma,
                            valid], 1)
        return unshuffled(planes, self.shuffle)

    def shifts(self, context):
        """Compute what the context adds to each level but the first."""
        shifts = self.context(context).split(self.config['widths'][1:], 1)
        return [None, *(shift[:, :, None, None] for shift in shifts)]

    def encoded(self, level, features, shift, dtype):
        """Encode a level: its skip, from its features once pooled."""
        return convolved(self.encoders[level], features, dtype, shift=shift)

    def projected(self, level, features, dtype):
        """Give features of the next level as many channels as this one's."""
        exact = level == 0 and not self.training
        with computing_in(torch.float32 if exact else dtype,
                          features.device):
            # Interpolated in bfloat16, the outermost would be less exact,
            # and on processors slower.
            if exact:
                features = features.float()
            return self.projections[-1 - level](features).contiguous(
                memory_format=torch.channels_last)

    def joined(self, level, features, rows, skips, dtype):
        """Add skips to rows of enlarged features of the next level."""
        features = F.interpolate(
            self.projected(level, features, dtype), scale_factor=2,
            mode='bilinear', align_corners=False)[:, :, rows]
        for first, skip in skips:
            features[:, :, first:first + skip.shape[2]] += skip
        return features

    def decoded(self, level, features, dtype):
        """Decode a level from the sum of the next one and its own skip."""
        features = convolved(self.decoders[-1 - level], features, dtype)
        if level:
            return features
        with torch.autocast(features.device.type, enabled=False):
            return in_pairs(self.head, features)

    def trunk(self, features, context, dtypes):
        """Compute the answer of the head, at half resolution."""
        skips = []
        for level, shift in enumerate(self.shifts(context)):
            if level:
                features = F.avg_pool2d(features, 2)
            features = self.encoded(level, features, shift, dtypes[level])
            skips.append(features)
        features = skips.pop()
        while skips:
            level = len(skips) - 1
            features = self.joined(level, features, slice(None),
                                   [(0, skips.pop())], dtypes[level])
            features = self.decoded(level, features, dtypes[level])
        return features

    def forward(self, x, log_sigma, valid, context, *, dtype=torch.float32,
                outermost=None):
        """
        Estimate the noise.

        Parameters
        ----------
        x, log_sigma, valid : `torch.Tensor`
            Shape (n, 1, ny, nx), sides multiples of ``stride``: the
            standardized frame, the logarithm of the noise in units of
            the blank sky's, and 1 for pixels that count (elsewhere both
            others must be 0).

        context : `torch.Tensor`
            Shape (n, 2): logarithm of the PSF's full width at half
            maximum over 3.5 pixels, and 1; or two zeros if unknown.

        dtype, outermost : `torch.dtype`, optional
            Precision of the convolutions, see `dtypes`; the head and
            everything after it are float32.

        Returns
        -------
        noise : `torch.Tensor`
            Shape (n, 1, ny, nx); ``x - noise`` is the denoised frame.

        log_variance : `torch.Tensor`
            Of the error of ``x - noise``.
        """
        answer = self.trunk(self.features(x, log_sigma, valid), context,
                            self.dtypes(dtype, outermost))
        estimate = self.estimated(answer, x, valid)
        return self.finished(*estimate, x, log_sigma, valid, context)

    def estimated(self, answer, x, valid):
        """Unpack noise and log variance from the answer of the head."""
        with torch.autocast(valid.device.type, enabled=False):
            answer = shuffled(answer, self.shuffle)
            noise, log_variance = answer[:, :1], answer[:, 1:2]
            if self.gated:
                noise = torch.addcmul(noise, answer[:, 2:], x.clamp(
                    -LARGEST_NOISE, LARGEST_NOISE))
            return (noise.clamp(-LARGEST_NOISE, LARGEST_NOISE) * valid,
                    log_variance)

    def finished(self, noise, log_variance, x, log_sigma, valid, context):
        """Restore the flux and calibrate the errors of an estimate."""
        has_kernels = bool(self.config['kernel_fwhms'])
        with torch.autocast(x.device.type, enabled=False):
            lone = None
            if not self.training and self.lone_pixels:
                signal = x - noise
                lone = find_lone_pixels(x, signal, valid, fwhm_of(context))
                noise, log_variance = lone.without_peaks(
                    noise, log_variance, signal)
            if has_kernels:
                # What the network sees counts where it is significant: a
                # faint source is left to the kernel, whose response and
                # scatter are known.
                kernel = self.kernel_of(context)
                signal = x - noise
                doubt = FAINT / (signal**2 + FAINT)
                scatter = kernel.square().sum((1, 2)).log()
                log_variance = torch.lerp(
                    log_variance, scatter[:, None, None, None], doubt)
                noise = noise + signal * doubt
            if lone is not None:
                # A cosmic ray stays, and nothing of it is restored beside.
                noise = noise * (1.0 - lone.ray) * valid
            if has_kernels:
                noise = noise - restored(noise, valid, kernel)
            log_variance = log_variance.clamp(-12.0, 8.0)
            if not self.training:
                # No error is made larger than the noise of the pixel.
                log_variance = torch.minimum(
                    log_variance + self._calibrated((x - noise)
                                                    * log_sigma.exp()),
                    log_variance.clamp_min(0.0))
        return noise, log_variance

    def _calibrated(self, signal):
        """Correct the log variance of a signal in units of the sky's noise."""
        return variance_correction(signal, self.calibration,
                                   self.calibration_scale)

    def restoring_kernel(self, fwhm=None):
        """
        Compute the kernel that a faint source is filtered with.

        Parameters
        ----------
        fwhm : float, optional
            Full width at half maximum of the point-spread function in
            pixels, if it is known.

        Returns
        -------
        kernel : 2D `~numpy.ndarray` or `None`
            Of sum 1; `None` for a network without kernels.
        """
        if not self.config['kernel_fwhms']:
            return None
        context = torch.tensor([psf_context(fwhm)],
                               device=self.kernels.device)
        return self.kernel_of(context)[0].cpu().numpy()

    def kernel_of(self, context):
        """Interpolate the kernel for each frame, as a tensor."""
        # Unknown widths are taken to be small: a narrow kernel keeps flux.
        log_fwhm = torch.where(context[:, 1] > 0,
                               context[:, 0] + math.log(_CONTEXT_FWHM),
                               math.log(_UNKNOWN_FWHM))
        return kernels_between(self.kernels, self.config['kernel_fwhms'],
                               log_fwhm)


def _detail(x, valid):
    """
    Subtract from a plane its surroundings, 5x5 pixels of triangular weight.

    Where the signal is far above the noise, a bfloat16 logarithm holds
    nothing of the noise any more; this plane does.
    """
    surroundings = mean_of_nine(mean_of_nine(x))
    if not all_count(valid):
        surroundings = surroundings / mean_of_nine(
            mean_of_nine(valid)).clamp_min(1e-3)
    return (x - surroundings) * valid


def psf_context(fwhm=None):
    """
    Encode the width of the point-spread function for a network.

    Parameters
    ----------
    fwhm : float, optional
        Full width at half maximum in pixels, if it is known.

    Returns
    -------
    context : tuple of float
        A row of the ``context`` of `CCDDenoiser`.
    """
    return (math.log(fwhm / _CONTEXT_FWHM), 1.0) if fwhm else (0.0, 0.0)


def fwhm_of(context):
    """
    Decode the width of the point-spread function.

    Parameters
    ----------
    context : `torch.Tensor`
        Rows of `psf_context`.

    Returns
    -------
    fwhm : `torch.Tensor`
        In pixels; a small one where it is not known.
    """
    return torch.where(context[:, 1] > 0,
                       _CONTEXT_FWHM * torch.exp(context[:, 0]),
                       _UNKNOWN_FWHM)
