# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Denoise frames.
"""

import functools
import math
from dataclasses import replace

import astropy.units as u
import numpy as np
from astropy.nddata import NDData
from tqdm import tqdm

from ..frames.inputs import inspect, plain_parts
from ..frames.memory_maps import check_output_array
from ..frames.results import merge, repack, result_type, unpack, wrap
from ..frames.scaling import in_range, sample_exponent, sample_step
from ..noise.gain import resolve_gain
from ..noise.measurement import WHOLE, measure_sample, warn_of_correlation
from .blockwise import denoise_strips
from .dask_arrays import denoise_lazily, is_lazy
from .header_log import check_keywords, log_cards

__all__ = ['denoise']

_PROGRESS = ('{desc}: {percentage:3.0f}%|{bar}| {n:.1f}/{total} '
             '[{elapsed}<{remaining}]')


def denoise(data, model='ccd', *, uncertainty=None, mask=None, gain=None,
            read_noise=None, device=None, precision='auto',
            progress_bar=False, add_keyword=True, return_uncertainty=False,
            output_array=None, output_uncertainty=None):
    """
    Remove noise from a frame, keep its flux, and say how sure that is.

    Parameters
    ----------
    data : `~astropy.nddata.CCDData`, `~astropy.nddata.NDData`, \
            `~astropy.units.Quantity`, `~numpy.ndarray` or dask array
        Shape (ny, nx), or (n, ny, nx) for a stack of frames, each
        denoised on its own. Any real type and byte order; never
        changed. The sky may be left in. Of a dask array comes a dask
        array, and nothing is computed before that is.

    model : str, path-like or `~astro_denoise.models.Model`, optional
        A name of `~astro_denoise.list_models`, the path of a
        ``.safetensors`` file, or a model. ``'ccd'`` keeps the flux of
        faint sources, ``'ccd-mmse'`` has the lowest error per pixel and
        does not. The models ``'gc-...'`` are for gamma-ray images of
        64x64 pixels (``'gc-mixed'`` takes any size): they know neither
        ``uncertainty`` nor ``gain`` and ``read_noise``.

    uncertainty : `~astropy.nddata.NDUncertainty`, \
            `~astropy.units.Quantity`, `~numpy.ndarray` or float, optional
        Noise of each pixel; plain numbers are standard deviations.
        Comes before the frame's own.

    mask : `~numpy.ndarray`, optional
        Shape of the frame, true (non-zero) on bad pixels; added to the
        frame's own. Masked and non-finite pixels influence no other
        pixel and come back as they were, with the mask set; only
        ``'gc-mixed'`` fills them.

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

    output_array : `~numpy.ndarray`, optional
        Of the shape of ``data`` and a floating-point type, memory-mapped
        for instance: takes the denoised pixels. The frame is then worked
        on strip by strip, and the memory needed does not grow with it. NDData
        types get an uncertainty only with ``output_uncertainty``.

    output_uncertainty : `~numpy.ndarray`, optional
        The same for the standard deviations.

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

    A frame larger than memory, from file to file:

    >>> frame = np.load('frame.npy', mmap_mode='r')  # doctest: +SKIP
    >>> output = np.lib.format.open_memmap(
    ...     'denoised.npy', 'w+', np.float32, frame.shape)  # doctest: +SKIP
    >>> denoise(frame, output_array=output)  # doctest: +SKIP
    """
    # torch is slow to import: not before it is needed.
    from ..inference.devices import (
        resolve_device,
        resolve_precision,
        survive_fork,
    )
    from ..inference.engine import placed
    from ..inference.images import denoises_images
    from ..models.registry import load_model

    survive_fork()
    check_keywords(add_keyword)
    if is_lazy(data):
        if output_array is not None or output_uncertainty is not None:
            msg = ('output_array and output_uncertainty are not for dask '
                   'arrays: store the result with dask.array.store')
            raise ValueError(msg)
        return denoise_lazily(
            data, model, uncertainty=uncertainty, mask=mask, gain=gain,
            read_noise=read_noise, device=device, precision=precision,
            return_uncertainty=return_uncertainty)
    source = inspect(data, uncertainty=uncertainty, mask=mask)
    read = list(source.arrays)
    for name, array in (('output_array', output_array),
                        ('output_uncertainty', output_uncertainty)):
        if array is not None:
            check_output_array(name, array, source.pixels.shape, read)
            read.append(array)
    model = load_model(model, task='denoise')
    device = resolve_device(device)
    if denoises_images(model.network):
        if output_array is not None or output_uncertainty is not None:
            msg = (f'output_array and output_uncertainty are not for the '
                   f'model {model.name!r}, which is for small images')
            raise ValueError(msg)
        return _denoise_images(
            unpack(data, mask=mask), model, placed(model.network, device),
            device, add_keyword, return_uncertainty)
    options = {
        'gain': resolve_gain(gain, source.header, source.unit),
        'read_noise': resolve_gain(
            read_noise, source.header, source.unit, name='read_noise',
            default_unit=u.electron),
        'device': device, 'dtype': resolve_precision(precision, device)}
    network = placed(model.network, device)

    shape = source.pixels.shape
    in_strips = (output_array is not None or output_uncertainty is not None
                 or shape[-2] * shape[-1] > WHOLE)
    with tqdm(total=math.prod(shape[:-2]), disable=not progress_bar,
              desc='denoise', bar_format=_PROGRESS) as bar:
        advance = functools.partial(_advance, bar)
        if in_strips:
            outputs = _outputs(source, output_array, output_uncertainty,
                               return_uncertainty)
            measured, invalid = denoise_strips(
                source, network, *outputs, progress=advance, **options)
            finish = functools.partial(wrap, data, *outputs, invalid)
        else:
            frame = unpack(data, uncertainty=uncertainty, mask=mask)
            measured, *planes = _denoise_planes(
                frame, network, progress=advance, **options)
            finish = functools.partial(repack, frame, *planes)

    warn_of_correlation(measured)
    return finish(log=log_cards(add_keyword, model, measured[0].log()),
                  return_uncertainty=return_uncertainty)


def _advance(bar, share):
    """Many small shares may add up to a little more than all."""
    bar.update(min(share, bar.total - bar.n))


def _outputs(source, array, uncertainty, return_uncertainty):
    """
    The arrays that take the result of a frame denoised in strips.

    Who gives an array for the pixels means to save memory: the
    uncertainties then take none unless they are asked for.
    """
    shape, dtype = source.pixels.shape, result_type(source.pixels.dtype)
    wanted = return_uncertainty or (array is None
                                    and isinstance(source.data, NDData))
    if wanted and uncertainty is None:
        uncertainty = np.empty(shape, dtype)
    return np.empty(shape, dtype) if array is None else array, uncertainty


def _denoise_planes(frame, network, *, gain, read_noise, device, dtype,
                    progress):
    """
    Denoise each plane of a frame as a whole.
    """
    from ..inference.engine import denoise_plane

    denoised = np.empty_like(frame.values)
    error = np.empty_like(frame.values)
    everything = []
    for index, valid in enumerate(frame.valid):
        values = frame.values[index]
        exponent = _exponent(values, valid)
        values, sigma = in_range(
            values, valid, None if frame.sigma is None else
            frame.sigma[index], exponent)
        measured, noise = measure_sample(
            values, valid, sigma, gain=gain, read_noise=read_noise,
            unit=frame.unit, exponent=exponent)
        denoised[index], error[index] = denoise_plane(
            network, values, valid, noise.background, noise.sigma,
            noise.level, fwhm=measured.fwhm, electrons=measured.electrons,
            device=device, dtype=dtype, progress=progress)
        if exponent:
            for plane in (denoised[index], error[index]):
                np.ldexp(plane, exponent, out=plane)
        everything.append(measured)
        del noise  # its planes are not needed while the next are made
    return everything, denoised, error


def _denoise_images(frame, model, network, device, add_keyword,
                    return_uncertainty):
    """
    Denoise gamma-ray images, whose noise is not known in advance.
    """
    from ..inference.images import denoise_images

    denoised, error, filled, noise = denoise_images(
        network, frame.values, frame.valid, device=device)
    invalid = ~frame.valid
    if filled:
        frame = replace(frame, valid=np.ones_like(frame.valid))
    shape = plain_parts(frame.source)[0].shape
    result, error = (plane.reshape(shape)
                     for plane in merge(frame, denoised, error))
    return wrap(frame.source, result, error, invalid.reshape(shape),
                log=log_cards(add_keyword, model,
                               (noise, None, None, None, None, None)),
                return_uncertainty=return_uncertainty)


def _exponent(values, valid):
    step = sample_step(values.size)
    for every in (slice(None, None, step), slice(None)):
        exponent = sample_exponent(values[every, every][valid[every, every]])
        if exponent is not None:
            return exponent
    return 0
