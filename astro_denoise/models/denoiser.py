# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The network behind `astro_denoise.denoise`: a U-Net that predicts the
standardised noise of every pixel, and restores from the residual the
flux that it would have removed.
"""

import math

import numpy as np
import torch
from scipy.fft import next_fast_len
from torch import nn
from torch.nn import functional as F

from .layers import asinh, shuffled, unshuffled

__all__ = ['CCDDenoiser', 'calibration_knots', 'psf_context']

# The noise of a pixel is taken to be at most this many sigmas: whatever
# exceeds it (a cosmic ray that the network has not seen) stays.
_LARGEST_NOISE = 6.0

# A pixel that stands alone is noise below the first number of sigmas, begins
# to be a cosmic ray from the second on, and is one as far above that as the
# two are apart. Of a hundred million pixels of noise, one exceeds the first.
_LONE = (5.7, 6.7)

# What the neighbours of a pixel must have of its signal: this share of what
# they have beside a star, and at most that.
_SUPPORT, _LARGEST_SUPPORT = 0.6, 0.35

# Square of the signal, in sigmas of a pixel, from which on a network with
# restoring kernels is believed.
_FAINT = 4.0

# Restoring kernels: half their size, and their size, in pixels.
_KERNEL_RADIUS = 12
_KERNEL_SIZE = 2 * _KERNEL_RADIUS + 1

# Signals over the noise between which errors are calibrated, and the
# distance of the knots in asinh of them.
_LEAST_SIGNAL, _LARGEST_SIGNAL = math.sinh(-1.0), math.sinh(7.0)
_KNOT_STEP = 0.4

# Width of the point-spread function, in pixels, that the context is
# relative to, and the one taken where none is known.
_CONTEXT_FWHM = 3.5
_UNKNOWN_FWHM = 2.2


def _block(n_in, n_out, n_convolutions=2):
    """Some 3x3 convolutions with leaky rectifiers."""
    layers = []
    for index in range(n_convolutions):
        layers += [nn.Conv2d(n_out if index else n_in, n_out, 3, padding=1),
                   nn.LeakyReLU(0.1, inplace=True)]
    return nn.Sequential(*layers)


class CCDDenoiser(nn.Module):
    """
    Predict the noise in a frame and its error; give flux back.

    The frame comes standardised, ``x = (frame - background) / sigma``.
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
        Whether a pixel that its neighbours do not support is told from
        light: taken for noise, or for a cosmic ray that stays.

    calibration_scale : float, optional
        The signal over the noise below which errors are calibrated in
        equal steps of signal, and above in steps of a factor.
    """

    def __init__(self, widths=(32, 64, 96, 128), kernel_fwhms=(),
                 lone_pixels=True, calibration_scale=1.0):
        super().__init__()
        if len(kernel_fwhms) == 1:
            msg = f'kernel_fwhms must hold two or more, got {kernel_fwhms!r}'
            raise ValueError(msg)
        self.config = {'widths': list(widths),
                       'kernel_fwhms': list(kernel_fwhms),
                       'lone_pixels': lone_pixels,
                       'calibration_scale': calibration_scale}
        self.lone_pixels = lone_pixels
        self.calibration_scale = calibration_scale
        self.encoders = nn.ModuleList()
        n_in = 16
        for width in widths:
            self.encoders.append(_block(n_in, width))
            n_in = width
        self.decoders = nn.ModuleList()
        self.projections = nn.ModuleList()
        for level in reversed(range(len(widths) - 1)):
            self.projections.append(nn.Conv2d(widths[level + 1],
                                              widths[level], 1))
            self.decoders.append(_block(widths[level], widths[level],
                                        2 if level else 1))
        self.context = nn.Sequential(nn.Linear(2, 32), nn.SiLU(),
                                     nn.Linear(32, sum(widths[1:])))
        self.head = nn.Conv2d(widths[0], 8, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        # Correction of the logarithm of the variance, see _calibrated.
        self.register_buffer('calibration', torch.zeros(
            len(calibration_knots(calibration_scale))))
        if kernel_fwhms:
            kernels = torch.zeros(len(kernel_fwhms), _KERNEL_SIZE,
                                  _KERNEL_SIZE)
            kernels[:, _KERNEL_RADIUS, _KERNEL_RADIUS] = 1.0
            self.register_buffer('kernels', kernels)

    @property
    def stride(self):
        """Tiles must start at multiples of this many pixels."""
        return 2**len(self.config['widths'])

    @property
    def restoring_reach(self):
        """The part of ``reach`` that is due to what follows the network."""
        return _KERNEL_RADIUS + 4 if self.config['kernel_fwhms'] else 2

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
            low, high = pixel // 2 - 1, pixel // 2 + 1       # head
            for level in range(n_levels - 1):
                n_convolutions = 2 if level else 1           # decoder
                low, high = low - n_convolutions, high + n_convolutions
                low, high = (low - 1) // 2, (high + 1) // 2  # bilinear
            for _ in range(n_levels):
                low, high = low - 2, high + 2                # encoder
                low, high = 2 * low, 2 * high + 1            # pool, unshuffle
            reach = max(reach, pixel - low, high - pixel)
        return reach + 2 + self.restoring_reach              # detail

    def _precision(self, level, dtype, device):
        """
        Context in which a level computes.

        In a result, bfloat16 at the outermost level would show as 0.03
        sigma, below it as 0.005; for training either will do.
        """
        return torch.autocast(
            device.type, dtype=torch.bfloat16,
            enabled=dtype == torch.bfloat16 and (level > 0 or self.training))

    def features(self, x, log_sigma, valid):
        """What the network sees, at half resolution."""
        planes = torch.cat([asinh(x), asinh(_detail(x, valid)), log_sigma,
                            valid], 1)
        return unshuffled(planes)

    def shifts(self, context):
        """What the context adds to each level below half resolution."""
        shifts = self.context(context).split(self.config['widths'][1:], 1)
        return [None, *(shift[:, :, None, None] for shift in shifts)]

    def encoded(self, level, features, shift, dtype):
        """The skip of a level, from its features or those to be pooled."""
        encoder = self.encoders[level]
        with self._precision(level, dtype, features.device):
            if shift is None:
                return encoder(features)
            features = encoder[0](features)
            return encoder[1:](features + shift.to(features.dtype))

    def enlarged(self, level, features, dtype):
        """The features of the next level at the resolution of this one."""
        with self._precision(level, dtype, features.device):
            if level == 0 and not self.training:
                features = features.float()
            projection = self.projections[-1 - level]
            return F.interpolate(
                projection(features).contiguous(
                    memory_format=torch.channels_last),
                scale_factor=2, mode='bilinear', align_corners=False)

    def decoded(self, level, features, dtype):
        """What a level makes of the next one and its own skip, added."""
        with self._precision(level, dtype, features.device):
            features = self.decoders[-1 - level](features)
        if level:
            return features
        with torch.autocast(features.device.type, enabled=False):
            return self.head(features.float())

    def trunk(self, features, context, dtype):
        """The answer of the head, at half resolution."""
        skips = []
        for level, shift in enumerate(self.shifts(context)):
            if level:
                features = F.avg_pool2d(features, 2)
            features = self.encoded(level, features, shift, dtype)
            skips.append(features)
        features = skips.pop()
        while skips:
            level = len(skips) - 1
            features = self.enlarged(level, features, dtype)
            features += skips.pop()
            features = self.decoded(level, features, dtype)
        return features

    def forward(self, x, log_sigma, valid, context, *, dtype=torch.float32):
        """
        Estimate the noise.

        Parameters
        ----------
        x, log_sigma, valid : `torch.Tensor`
            Shape (n, 1, ny, nx), sides multiples of ``stride``: the
            standardised frame, the logarithm of the noise in units of
            the blank sky's, and 1 for pixels that count (elsewhere both
            others must be 0).

        context : `torch.Tensor`
            Shape (n, 2): logarithm of the PSF's full width at half
            maximum over 3.5 pixels, and 1; or two zeros if unknown.

        dtype : `torch.dtype`, optional
            Precision of the convolutions below half resolution; the
            others, the head and everything after it are float32, except
            that training does all convolutions in ``dtype``.

        Returns
        -------
        noise : `torch.Tensor`
            Shape (n, 1, ny, nx); ``x - noise`` is the denoised frame.

        log_variance : `torch.Tensor`
            Of the error of ``x - noise``.
        """
        answer = self.trunk(self.features(x, log_sigma, valid), context,
                            dtype)
        estimate = self.estimated(answer, valid)
        return self.finished(*estimate, x, log_sigma, valid, context)

    def estimated(self, answer, valid):
        """Noise and log variance as the head answers them."""
        with torch.autocast(valid.device.type, enabled=False):
            answer = shuffled(answer)
            noise, log_variance = answer[:, :1], answer[:, 1:]
            return (noise.clamp(-_LARGEST_NOISE, _LARGEST_NOISE) * valid,
                    log_variance)

    def finished(self, noise, log_variance, x, log_sigma, valid, context):
        """The same with the flux restored and the errors calibrated."""
        has_kernels = bool(self.config['kernel_fwhms'])
        with torch.autocast(x.device.type, enabled=False):
            ray = None
            if not self.training and self.lone_pixels:
                signal = x - noise
                ray, good, near, share = self._lone_pixels(
                    x, signal, valid, context)
                noise, log_variance = self._without_peaks(
                    noise, log_variance, signal, good, near, share)
            if has_kernels:
                # What the network sees counts where it is significant: a
                # faint source is left to the kernel, whose response and
                # scatter are known.
                kernel = self._kernel(context)
                signal = x - noise
                doubt = _FAINT / (signal**2 + _FAINT)
                scatter = kernel.square().sum((1, 2)).log()
                log_variance = torch.lerp(
                    log_variance, scatter[:, None, None, None], doubt)
                noise = noise + signal * doubt
            if ray is not None:
                # A cosmic ray stays, and nothing of it is restored beside.
                noise = noise * (1.0 - ray) * valid
            if has_kernels:
                noise = noise - self._restored(noise, valid, kernel)
            log_variance = log_variance.clamp(-12.0, 8.0)
            if not self.training:
                # No error is made larger than the noise of the pixel.
                log_variance = torch.minimum(
                    log_variance + self._calibrated((x - noise)
                                                    * log_sigma.exp()),
                    log_variance.clamp_min(0.0))
        return noise, log_variance

    def _lone_pixels(self, x, signal, valid, context):
        """
        Pixels that stand alone.

        Light has gone through a point-spread function, of which the
        neighbours of a pixel have their share. Where they have not, in
        the frame (which has no rounding of the network in it) or in
        what the network makes of it, a pixel is noise, if it may be,
        and else a cosmic ray.

        Returns how far a pixel is a cosmic ray, which pixels are good
        neighbours, each from 0 to 1, the signal of these, and how far a
        pixel is not alone.
        """
        # A Gaussian profile, averaged over a pixel.
        fwhm = _CONTEXT_FWHM * torch.exp(context[:, 0])
        fwhm = torch.where(context[:, 1] > 0, fwhm, _UNKNOWN_FWHM)
        beside = torch.exp(-0.5 / ((fwhm / 2.355)**2 + 1.0 / 12.0))
        support = (_SUPPORT * 0.5 * (beside + beside**2)).clamp_max(
            _LARGEST_SUPPORT)[:, None, None, None]

        def supported(plane, near):
            return (near * plane / (support * plane.square()).clamp_min(1e-12)
                    ).clamp(0.0, 1.0)

        low, high = _LONE
        above = (x.abs() - low) / (high - low)
        good, share = valid, supported(x, _around(x, valid))
        ray = (1.0 - share) * (above - 1.0).clamp(0.0, 1.0)
        if ray.any():
            good = valid * (1.0 - ray)
            share = supported(x, _around(x, good))
        near = _around(signal, good)
        # Where either crosses zero nothing may jump.
        share = torch.minimum(share, torch.maximum(
            supported(signal, near), 1.5 - signal.abs()))
        usual = torch.maximum(above, 1.0 - 2.0 * x.abs())
        return ray, good, near, torch.maximum(share, usual.clamp(0.0, 1.0))

    def _without_peaks(self, noise, log_variance, signal, good, near,
                       share):
        """
        The noise, with its peaks in lone pixels, of which the network
        keeps some for fear of cosmic rays; and without the errors that
        are so large for the same reason.
        """
        # A bright neighbour is no reason to be brighter.
        size = signal.abs()
        near = near.clamp(-size, size)
        usual = torch.minimum(_around(log_variance, good), log_variance)
        return (noise + (signal - near) * (1.0 - share),
                torch.lerp(usual, log_variance, share))

    def _calibrated(self, signal):
        """
        Correction of the log variance, linear between knots in signal.

        ``signal`` is in units of the blank sky's noise; its means over
        2x2 pixels count.
        """
        scale = self.calibration_scale
        signal = asinh(F.avg_pool2d(signal, 2) / scale)
        first = math.asinh(_LEAST_SIGNAL / scale)
        place = ((signal - first) / _KNOT_STEP).clamp_(
            0.0, len(self.calibration) - 1.001)
        lower = place.long()
        correction = torch.lerp(self.calibration[lower],
                                self.calibration[lower + 1], place - lower)
        return F.interpolate(correction, scale_factor=2, mode='nearest')

    def _kernel(self, context):
        """The kernel for each frame, between those of the nearest widths."""
        fwhms = self.config['kernel_fwhms']
        step = math.log(fwhms[-1] / fwhms[0]) / (len(fwhms) - 1)
        # Unknown widths are taken to be small: a narrow kernel keeps flux.
        log_fwhm = torch.where(context[:, 1] > 0,
                               context[:, 0] + math.log(_CONTEXT_FWHM),
                               math.log(_UNKNOWN_FWHM))
        place = ((log_fwhm - math.log(fwhms[0])) / step).clamp(
            0.0, len(fwhms) - 1.0)
        lower = place.floor().long().clamp_max(len(fwhms) - 2)
        share = (place - lower)[:, None, None]
        return torch.lerp(self.kernels[lower], self.kernels[lower + 1], share)

    def _restored(self, noise, valid, kernel):
        """The part of the estimated noise that goes back as flux."""
        if not valid.min():
            # A hole takes the mean of its surroundings.
            near = F.avg_pool2d(noise * valid, 5, 1, 2)
            near = near / F.avg_pool2d(valid, 5, 1, 2).clamp_min(0.04)
            noise = torch.where(valid > 0, noise, near)
        plane = F.pad(noise, (_KERNEL_RADIUS,) * 4, mode='replicate')[:, 0]
        height, width = noise.shape[2:]
        shape = [next_fast_len(length, real=True)
                 for length in plane.shape[1:]]
        product = (torch.fft.rfft2(plane, s=shape)
                   * torch.fft.rfft2(kernel, s=shape))
        plane = torch.fft.irfft2(product, s=shape)
        # Both start at the corner: the result is shifted by a diameter.
        first = _KERNEL_SIZE - 1
        plane = plane[:, first:first + height, first:first + width]
        return plane[:, None] * valid


def _mean(plane):
    """Mean over 3x3 pixels, those of them that there are."""
    rows = F.pad(plane, (1, 1, 1, 1))
    rows = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]
    mean = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    mean *= 1 / 9
    for edge in (0, -1):
        mean[:, :, edge] *= 1.5
        mean[..., edge] *= 1.5
    return mean


def _around(plane, valid):
    """Mean of the eight pixels around each, weighted by their validity."""
    if valid.min() == 1.0:
        return torch.sub(_mean(plane).mul_(9 / 8), plane, alpha=1 / 8)
    plane = plane * valid
    total = _mean(plane) * 9.0 - plane
    return total / (_mean(valid) * 9.0 - valid).clamp_min(0.5)


def _detail(x, valid):
    """
    A plane without its surroundings, 5x5 pixels of triangular weight.

    Where the signal is far above the noise, a bfloat16 logarithm holds
    nothing of the noise any more; this plane does.
    """
    surroundings = _mean(_mean(x))
    if not valid.min():
        surroundings = surroundings / _mean(_mean(valid)).clamp_min(1e-3)
    return (x - surroundings) * valid


def psf_context(fwhm=None):
    """
    What a network is told of the point-spread function.

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


def calibration_knots(scale=1.0):
    """
    Where the calibration of the errors is known.

    Parameters
    ----------
    scale : float, optional
        The ``calibration_scale`` of a `CCDDenoiser`.

    Returns
    -------
    knots : `~numpy.ndarray`
        In asinh of the denoised signal over the noise of the sky and
        over ``scale``.
    """
    first = math.asinh(_LEAST_SIGNAL / scale)
    last = math.asinh(_LARGEST_SIGNAL / scale)
    return first + _KNOT_STEP * np.arange(
        round((last - first) / _KNOT_STEP) + 1)
