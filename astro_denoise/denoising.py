# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Denoise frames.
"""

import math
import re
import warnings

import astropy.units as u
import numpy as np
from tqdm import tqdm

from . import __version__
from .exceptions import CorrelatedNoiseWarning
from .frames import repack, unpack
from .noise import noise_model, resolve_gain
from .seeing import estimate_fwhm

__all__ = ['denoise']

# Lag-1 autocorrelation of the blank background above which the noise is no
# longer independent from pixel to pixel, as the models assume.
_LARGEST_CORRELATION = 0.05

# Single precision, in which noise maps and networks compute, holds squares
# of numbers up to this and down to its inverse with some room.
_LARGEST_NUMBER = 1e30

_PROGRESS = ('{desc}: {percentage:3.0f}%|{bar}| {n:.1f}/{total} '
             '[{elapsed}<{remaining}]')


def denoise(data, model='ccd', *, uncertainty=None, mask=None, gain=None,
            read_noise=None, device=None, precision='auto',
            progress_bar=False, add_keyword=True, return_uncertainty=False):
    """
    Remove noise from a frame, keep its flux, and say how sure that is.

    Parameters
    ----------
    data : `~astropy.nddata.CCDData`, `~astropy.nddata.NDData`, \
            `~astropy.units.Quantity` or `~numpy.ndarray`
        Shape (ny, nx), or (n, ny, nx) for a stack of frames, each
        denoised on its own. Any real type and byte order; never
        changed. The sky may be left in.

    model : str, path-like or `~astro_denoise.models.Model`, optional
        A name of `~astro_denoise.list_models`, the path of a
        ``.safetensors`` file, or a model. ``'ccd'`` keeps the flux of
        faint sources, ``'ccd-mmse'`` has the lowest error per pixel and
        does not.

    uncertainty : `~astropy.nddata.NDUncertainty`, \
            `~astropy.units.Quantity`, `~numpy.ndarray` or float, optional
        Noise of each pixel; plain numbers are standard deviations.
        Comes before the frame's own.

    mask : `~numpy.ndarray`, optional
        Shape of the frame, true (non-zero) on bad pixels; added to the
        frame's own. Masked and non-finite pixels influence no other
        pixel and come back as they were, with the mask set.

    gain : float, `~astropy.units.Quantity` or str, optional
        Electrons per adu, or the header keyword that says so; 1 for a
        frame in electrons. The unit of the frame never changes.

    read_noise : float, `~astropy.units.Quantity` or str, optional
        In electrons, or the header keyword. Without ``uncertainty``,
        ``gain`` and ``read_noise``, the noise is estimated from the
        frame itself.

    device : str or `torch.device`, optional
        Default: a CUDA device where there is one, else the processor.

    precision : {'auto', 'float32', 'bfloat16'}, optional
        Of the convolutions; ``'auto'`` takes bfloat16 where the
        hardware has it.

    progress_bar : bool, optional
        Show a progress bar.

    add_keyword : bool, str or dict, optional
        Log in the header what was done: model, its hash, noise. A
        string names one more keyword, set to the model; a dict gives
        cards (values, or values and comments) instead of the usual
        ones; `False` adds nothing. Keywords have at most 8 characters.

    return_uncertainty : bool, optional
        For arrays and quantities: return the uncertainty too.

    Returns
    -------
    denoised : same type as ``data``
        A new object with the same unit, wcs, meta and mask. For NDData
        types, ``uncertainty`` is the standard deviation of each
        denoised pixel as a `~astropy.nddata.StdDevUncertainty`; errors
        of neighbouring pixels are correlated.

    uncertainty : `~numpy.ndarray` or `~astropy.units.Quantity`
        Only with ``return_uncertainty=True``.

    Raises
    ------
    TypeError, ValueError
        If an argument is not what it should be; the message names it.

    Warns
    -----
    CorrelatedNoiseWarning
        If the noise of neighbouring pixels is correlated (resampled or
        drizzled frames): the models take it for independent.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.nddata import CCDData
    >>> from astro_denoise import denoise
    >>> rng = np.random.default_rng(1)
    >>> frame = CCDData(100.0 + 5.0 * rng.standard_normal((64, 64)),
    ...                 unit='adu')
    >>> result = denoise(frame)
    >>> print(type(result).__name__, result.unit,
    ...       bool(result.data.std() < 2.5))
    CCDData adu True
    """
    # torch is slow to import: not before it is needed.
    from .inference.devices import resolve_device, resolve_precision
    from .inference.engine import denoise_plane, placed
    from .models import load_model

    _check_keywords(add_keyword)
    frame = unpack(data, uncertainty=uncertainty, mask=mask)
    model = load_model(model, task='denoise')
    gain = resolve_gain(gain, frame.header, frame.unit)
    read_noise = resolve_gain(read_noise, frame.header, frame.unit,
                              name='read_noise', default_unit=u.electron)
    device = resolve_device(device)
    dtype = resolve_precision(precision, device)
    network = placed(model.network, device)

    denoised = np.empty_like(frame.values)
    error = np.empty_like(frame.values)
    used = []
    with tqdm(total=len(frame.values), disable=not progress_bar,
              desc='denoise', bar_format=_PROGRESS) as bar:
        for index, valid in enumerate(frame.valid):
            values, sigma, exponent = _in_single_precision(
                frame.values[index], valid,
                None if frame.sigma is None else frame.sigma[index])
            noise = noise_model(
                values, valid, sigma=sigma, read_noise=read_noise,
                gain=None if gain is None else math.ldexp(gain, exponent),
                unit=frame.unit)
            fwhm = estimate_fwhm(values, noise.background, noise.sigma, valid)
            denoised[index], error[index] = denoise_plane(
                network, values, valid, noise.background, noise.sigma,
                noise.level, fwhm=fwhm, device=device, dtype=dtype,
                progress=bar.update)
            if exponent:
                for plane in (denoised[index], error[index]):
                    np.ldexp(plane, exponent, out=plane)
            used.append((noise.origin,
                         noise.gain and math.ldexp(noise.gain, -exponent),
                         noise.read_noise, math.ldexp(noise.level, exponent),
                         noise.correlation, fwhm))
            del noise  # its planes are not needed while the next are made

    origin, gain, read_noise, level, correlation, fwhm = used[0]
    correlation = max(entry[4] for entry in used)
    if correlation > _LARGEST_CORRELATION:
        msg = (f'the noise of neighbouring pixels is correlated (lag-1 '
               f'autocorrelation {correlation:.2f}), as in resampled frames: '
               f'the models take it for independent, and the uncertainty '
               f'returned is too small')
        warnings.warn(msg, CorrelatedNoiseWarning, stacklevel=2)
    log = _log_cards(add_keyword, model, {
        'DNNOISE': (origin, 'origin of the noise map'),
        'DNGAIN': (gain, 'electron per unit of the frame'),
        'DNRDNOIS': (read_noise, 'read noise in electron'),
        'DNSIGMA': (level, 'noise of the blank sky'),
        'DNFWHM': (fwhm, 'PSF FWHM found, in pixels')})
    return repack(frame, denoised, error, log=log,
                  return_uncertainty=return_uncertainty)


def _check_keywords(add_keyword):
    """Refuse what cannot go into a header before anything is computed."""
    if add_keyword is None or isinstance(add_keyword, bool | np.bool_):
        return
    if not isinstance(add_keyword, str | dict):
        msg = (f'add_keyword must be a bool, a keyword or a dict of cards, '
               f'got {add_keyword!r}')
        raise TypeError(msg)
    keywords = [add_keyword] if isinstance(add_keyword, str) else add_keyword
    for keyword in keywords:
        if not (isinstance(keyword, str)
                and re.fullmatch('[A-Za-z0-9_-]{1,8}', keyword)):
            msg = (f'add_keyword must name FITS keywords (1 to 8 letters, '
                   f'digits, - and _), got {keyword!r}')
            raise ValueError(msg)


def _in_single_precision(values, valid, sigma):
    """
    Bring a plane and its noise into the range of single precision.

    Pixels that cannot be brought there with the others are marked as
    not valid, in place. Returns the two planes and the power of two
    that they were divided by, which is exact.
    """
    step = max(1, math.isqrt(values.size // 100_000))
    typical = 0.0
    for every in (slice(None, None, step), slice(None)):
        sample = np.abs(values[every, every][valid[every, every]])
        if sample.any():
            typical = np.median(sample[sample > 0])
            break
    exponent = int(np.frexp(typical)[1])
    if abs(exponent) < 64:
        exponent = 0
    else:
        values = np.ldexp(values, -exponent)
        sigma = None if sigma is None else np.ldexp(sigma, -exponent)

    held = (values < _LARGEST_NUMBER) & (values > -_LARGEST_NUMBER)
    if sigma is not None:
        held &= (sigma < _LARGEST_NUMBER) & (sigma > 1 / _LARGEST_NUMBER)
    held |= ~valid
    if not held.all():
        valid &= held
        values = np.where(held, values, 0)
    return values, sigma, exponent


def _log_cards(add_keyword, model, noise_cards):
    """Header cards that say what was done, as the user wants them."""
    if not add_keyword:
        return {}
    if isinstance(add_keyword, dict):
        return add_keyword
    cards = {'DNMODEL': (model.name, 'astro_denoise model'),
             'DNVERS': (__version__, 'version of astro_denoise'),
             'DNHASH': model.hash}
    for keyword, (value, comment) in noise_cards.items():
        if value is not None:
            if not isinstance(value, str):
                value = float(f'{value:.6g}')
            cards[keyword] = (value, comment)
    if isinstance(add_keyword, str):
        cards[add_keyword] = (model.name, 'astro_denoise model')
    return cards
