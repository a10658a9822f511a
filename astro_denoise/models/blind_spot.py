# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The network that learns from noisy frames alone: it predicts each pixel
from those around it.
"""

import torch
from torch import nn
from torch.nn import functional as F

from .error_calibration import calibration_knots, variance_correction
from .layers import asinh, computing_in, convolution_block

__all__ = ['BlindSpotDenoiser', 'mixture_terms']

# The noise of a pixel is taken to be at most this many sigmas, as in the
# other networks: what exceeds it (a star that its neighbors do not
# foretell) stays.
_LARGEST_NOISE = 6.0

# Range of the logarithm of a prior variance, over the local scale squared.
_LOG_VARIANCE = (-9.0, 4.0)


class BlindSpotDenoiser(nn.Module):
    """
    Predict the signal of a pixel from its surroundings.

    A plain U-Net at full resolution, small at the outer levels. It sees
    the frame in units of the noise of the blank sky, as its asinh, and
    the validity mask; it never sees the noise map, which may know the
    pixel that is to be predicted. It answers in units of the local
    brightness, so that its target need not be compressed.

    With components it predicts a distribution, a sum of Gaussians, and
    the result is the mean of the posterior that follows from it, the
    noise model and the pixel itself (Krull et al. 2020,
    arXiv:1906.00651; sums of Gaussians as in Prakash et al. 2020,
    arXiv:1911.12291).

    Parameters
    ----------
    widths : tuple of int, optional
        Channels of the levels, from full resolution downwards.

    n_components : int, optional
        Gaussians of the predicted distribution; 0 predicts the mean
        alone, and that is the result.

    top_skip : bool, optional
        Whether the outermost level has a skip connection.

    blur_pool : bool, optional
        Smooth before each down-sampling, instead of taking the maximum
        of 2x2 pixels.

    noise_mixture : sequence of tuple of float, optional
        Weight, mean and standard deviation of the Gaussians that make
        up the noise of a pixel, in units of its sigma.

    calibration_scale : float, optional
        As of a `~astro_denoise.models.denoiser.CCDDenoiser`.
    """

    def __init__(self, widths=(8, 16, 48, 96), n_components=0,
                 top_skip=True, blur_pool=False,
                 noise_mixture=((1.0, 0.0, 1.0),), calibration_scale=1.0):
        super().__init__()
        self.config = {'widths': list(widths), 'n_components': n_components,
                       'top_skip': top_skip, 'blur_pool': blur_pool,
                       'noise_mixture': [list(part)
                                         for part in noise_mixture],
                       'calibration_scale': calibration_scale}
        self.encoders = nn.ModuleList()
        n_in = 2
        for level, width in enumerate(widths):
            self.encoders.append(
                convolution_block(n_in, width, 2 if level else 1))
            n_in = width
        self.projections = nn.ModuleList()
        self.decoders = nn.ModuleList()
        for level in reversed(range(len(widths) - 1)):
            self.projections.append(nn.Conv2d(widths[level + 1],
                                              widths[level], 1))
            self.decoders.append(
                convolution_block(widths[level], widths[level], 1))
        self.head = nn.Conv2d(widths[0], max(3 * n_components, 1), 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        if n_components:
            # Components that start alike would stay alike.
            with torch.no_grad():
                self.head.bias[2 * n_components:] = -torch.arange(
                    1.0, n_components + 1.0)
        # Correction of the logarithm of the variance, see CCDDenoiser.
        self.calibration_scale = calibration_scale
        self.register_buffer('calibration', torch.zeros(
            len(calibration_knots(self.calibration_scale))))

    @property
    def stride(self):
        """Tiles must start at multiples of this many pixels."""
        return 2**(len(self.config['widths']) - 1)

    @property
    def reach(self):
        """
        Pixels from which a result can still be influenced, on each side.

        The interval that one pixel depends on is followed backwards
        through the deepest level, for each position in a stride.
        """
        n_levels = len(self.config['widths'])
        pool = 1 if self.config['blur_pool'] else 0
        reach = 0
        for pixel in range(self.stride):
            low = high = pixel
            for _ in range(n_levels - 1):
                low, high = low - 1, high + 1                # decoder
                low, high = (low - 1) // 2, (high + 1) // 2  # bilinear
            for level in reversed(range(n_levels)):
                n_convolutions = 2 if level else 1           # encoder
                low, high = low - n_convolutions, high + n_convolutions
                if level:
                    low, high = 2 * low - pool, 2 * high + 1 + pool
            reach = max(reach, pixel - low, high - pixel)
        return reach + 1                                     # calibration

    def dtypes(self, dtype, outermost=None):
        """
        Choose the precision of each level, from the outermost inwards.

        Parameters
        ----------
        dtype : `torch.dtype`
            Precision of the inner levels.

        outermost : `torch.dtype`, optional
            That of the outermost one; by default float32, and in training
            the same.

        Returns
        -------
        dtypes : list of `torch.dtype`
            One for each level.
        """
        if outermost is None:
            outermost = dtype if self.training else torch.float32
        return [outermost] + [dtype] * (len(self.config['widths']) - 1)

    def _pooled(self, features):
        if not self.config['blur_pool']:
            return F.max_pool2d(features, 2)
        # Means of 4x4 pixels let nothing of the Nyquist frequency through.
        return F.avg_pool2d(features, 4, 2, 1, count_include_pad=False)

    def _answer(self, planes, dtypes):
        """Compute the answer of the head, in float32."""
        levels = []
        features = planes
        for level, encoder in enumerate(self.encoders):
            with computing_in(dtypes[level], planes.device):
                if level:
                    features = self._pooled(features)
                features = encoder(features)
            levels.append(features)
        features = levels.pop()
        for projection, decoder in zip(self.projections, self.decoders,
                                       strict=True):
            level, skip = len(levels) - 1, levels.pop()
            with computing_in(dtypes[level], planes.device):
                features = F.interpolate(
                    projection(features.to(skip.dtype)), scale_factor=2,
                    mode='bilinear', align_corners=False)
                if level or self.config['top_skip']:
                    features += skip
                del skip  # large, and not needed while the decoder runs
                features = decoder(features)
        with torch.autocast(planes.device.type, enabled=False):
            return self.head(features.float())

    def predict(self, signal, valid, *, dtype=torch.float32, outermost=None):
        """
        Predict the distribution of the signal of each pixel.

        Parameters
        ----------
        signal, valid : `torch.Tensor`
            Shape (n, 1, ny, nx): the frame without its background in
            units of the noise of the blank sky, 0 where it is not
            valid; and 1 for pixels that count.

        dtype, outermost : `torch.dtype`, optional
            As in `forward`.

        Returns
        -------
        logits, means, log_variances : `torch.Tensor`
            Of the components, shape (n, m, ny, nx), in the units of
            ``signal``; logits and log_variances are `None` for a
            network that predicts the mean alone.
        """
        planes = torch.cat([asinh(signal), valid], 1).contiguous(
            memory_format=torch.channels_last)
        answer = self._answer(planes, self.dtypes(dtype, outermost))
        scale = _brightness(signal, valid)
        n = self.config['n_components']
        if n == 0:
            return None, answer * scale, None
        logits, means, spread = answer.split(n, 1)
        return (logits, means * scale,
                spread.clamp(*_LOG_VARIANCE) + 2.0 * scale.log())

    def forward(self, x, log_sigma, valid, context=None, *,
                dtype=torch.float32, outermost=None, prior=False):
        """
        Estimate the noise.

        Parameters
        ----------
        x, log_sigma, valid : `torch.Tensor`
            Shape (n, 1, ny, nx), sides multiples of ``stride``: the
            standardized frame, the logarithm of the noise in units of
            the blank sky's, and 1 for pixels that count (elsewhere both
            others must be 0).

        context : `torch.Tensor`, optional
            Not used.

        dtype, outermost : `torch.dtype`, optional
            Precision of the convolutions, see `dtypes`; the head and
            everything after it are float32.

        prior : bool, optional
            Return what `predict` does, for training.

        Returns
        -------
        noise : `torch.Tensor`
            Shape (n, 1, ny, nx); ``x - noise`` is the denoised frame.

        log_variance : `torch.Tensor`
            Of the error of ``x - noise``.
        """
        sigma = log_sigma.exp()
        signal = x * sigma
        logits, means, log_variances = self.predict(signal, valid,
                                                    dtype=dtype,
                                                    outermost=outermost)
        if prior:
            return logits, means, log_variances
        if logits is None:
            mean, log_variance = means, torch.zeros_like(x)
        else:
            mean, log_variance = self._posterior(
                signal, log_sigma, logits, means, log_variances)
        noise = (x - mean / sigma).clamp(-_LARGEST_NOISE,
                                         _LARGEST_NOISE) * valid
        if not self.training:
            log_variance = log_variance + variance_correction(
                (x - noise) * sigma, self.calibration, self.calibration_scale)
        return noise, log_variance.clamp(-12.0, 8.0)

    def _posterior(self, signal, log_sigma, logits, means, log_variances):
        """
        Compute mean of the posterior and log variance in units of the noise.
        """
        total = mean = square = 0.0
        terms = mixture_terms(signal, log_sigma, logits, means,
                              log_variances, self.config['noise_mixture'])
        peak = torch.stack([term[0].amax(1, keepdim=True)
                            for term in terms]).amax(0)
        for log_weight, residual, noise, prior in terms:
            weight = (log_weight - peak).exp()
            gain = prior / (prior + noise)
            middle = means + gain * residual
            total = total + weight.sum(1, keepdim=True)
            mean = mean + (weight * middle).sum(1, keepdim=True)
            square = square + (weight * (
                gain * noise + (middle - signal)**2)).sum(1, keepdim=True)
        mean = mean / total
        variance = square / total - (mean - signal)**2
        return mean, variance.clamp_min(1e-6).log() - 2.0 * log_sigma


def mixture_terms(signal, log_sigma, logits, means, log_variances, mixture):
    """
    Combine each Gaussian of the prior with each of the noise of a pixel.

    Parameters
    ----------
    signal, log_sigma : `torch.Tensor`
        The pixels and the logarithm of their noise, (n, 1, ny, nx).

    logits, means, log_variances : `torch.Tensor`
        The prior, (n, m, ny, nx).

    mixture : sequence of tuple of float
        Weight, mean and standard deviation of each part of the noise,
        in units of sigma.

    Returns
    -------
    terms : list of tuple of `torch.Tensor`
        For each part of the noise, of shape (n, m, ny, nx): logarithm
        of the likelihood of the pixel under each component (but for a
        constant), the pixel without noise offset minus the mean, the
        variance of the noise, and that of the prior. The mean of the
        signal given the component is ``mean + residual * prior / (prior
        + noise)``.
    """
    log_weights = torch.log_softmax(logits, 1)
    prior = log_variances.exp()
    terms = []
    for weight, offset, width in mixture:
        noise = (2.0 * log_sigma).exp() * width**2
        residual = signal - offset * log_sigma.exp() - means
        variance = prior + noise
        log_likelihood = log_weights - 0.5 * (
            residual**2 / variance + variance.log())
        terms.append((log_likelihood + torch.log(torch.tensor(weight)),
                      residual, noise, prior))
    return terms


def _smooth(plane):
    """Smooth by weights 1, 2, 1: nothing of the Nyquist frequency stays."""
    plane = F.pad(plane, (1, 1, 1, 1), mode='replicate')
    plane = plane[:, :, 1:] + plane[:, :, :-1]
    plane = plane[:, :, 1:] + plane[:, :, :-1]
    plane = plane[..., 1:] + plane[..., :-1]
    return (plane[..., 1:] + plane[..., :-1]) / 16.0


def _brightness(signal, valid):
    """
    Measure the typical brightness of the surroundings, at least 1.
    """
    total, count = (_smooth(_smooth(plane)) for plane in (signal, valid))
    return (1.0 + (total / count.clamp_min(1e-3))**2).sqrt()
