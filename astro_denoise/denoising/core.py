# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Denoise frames.
"""

import contextlib
import warnings

import astropy.units as u
import numpy as np
from astropy.nddata import NDData
from tqdm import tqdm

from ..exceptions import NoiseEstimateWarning
from ..frames.checks import (
    check_counts,
    check_counts_unit,
    check_no_energy_axis,
    warn_of_counts,
    warn_of_denoised,
    warn_of_missing_noise,
    warn_of_optical,
)
from ..frames.inputs import open_frame, without_axes
from ..frames.memory_maps import check_output_array
from ..frames.results import FrameWriter, nothing_valid, result_type
from ..frames.unusual import warn_of_unusual
from ..noise.gain import resolve_gain
from ..noise.measurement import warn_of
from .dask_arrays import denoise_lazily, is_lazy
from .guided import open_guide
from .header_log import log_cards, read_cards
from .route import denoise_plane

__all__ = ['denoise']


# Pixels of a plane of a stack that one core works on alone.
_SMALL_PLANE = 2**19

_PROGRESS = ('{desc}: {percentage:3.0f}%|{bar}| {n:.1f}/{total} '
             '[{elapsed}<{remaining}]')


def denoise(data, model='ccd', *, uncertainty=None, mask=None, gain=None,
            read_noise=None, catalog=None, guide='blend', psf=None,
            average=1, device=None, precision='auto', progress_bar=False,
            add_keyword=True, return_uncertainty=False, output_array=None,
            output_uncertainty=None):
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
        64x64 pixels: they know neither ``uncertainty`` nor ``gain`` and
        ``read_noise``. ``'gc-counts'`` gives the expected counts behind
        counts with Poisson noise, the sum of the counts kept; it and
        ``'gc-mixed'`` take any size.

    uncertainty : `~astropy.nddata.NDUncertainty`, \
            `~astropy.units.Quantity`, `~numpy.ndarray` or float, optional
        Noise of each pixel; plain numbers are standard deviations.
        Comes before the frame's own.

    mask : `~numpy.ndarray`, optional
        Shape of the frame, true (non-zero) on bad pixels; added to the
        frame's own. Masked and non-finite pixels influence no other
        pixel and come back as they were, with the mask set; only
        ``'gc-counts'`` and ``'gc-mixed'`` fill them.

    gain : float, `~astropy.units.Quantity` or str, optional
        Electrons per adu, or the header keyword that says so; 1 for a
        frame in electrons. The unit of the frame never changes.

    read_noise : float, `~astropy.units.Quantity` or str, optional
        In electrons, or the header keyword. Without ``uncertainty``,
        ``gain`` and ``read_noise``, the noise is estimated from the
        frame itself.

    catalog : table, optional
        Sources that are known to be in the frame: positions as ``x, y``,
        ``x_centroid, y_centroid`` or ``aperture_x, aperture_y`` (pixels, 0
        is the center of the first pixel), or a
        `~astropy.coordinates.SkyCoord` column or ``ra`` and ``dec`` for a
        frame with a WCS. Shapes as for
        `~astro_denoise.photometry.forced_photometry`; a source without is a
        star.

    guide : {'blend', 'model'}, optional
        How to use the catalog. With ``'blend'``, pixels in the footprints
        of the sources are those of ``model``, which must keep flux, and all
        others those of ``'ccd-mmse'``, with a smooth edge in between. A
        source that the catalog lacks is treated as by ``'ccd-mmse'``. With
        ``'model'``, the light of all sources is fitted as by
        `~astro_denoise.photometry.forced_photometry`; what it leaves is
        denoised with ``model`` where it is significant (4 sigma), with
        ``'ccd-mmse'`` elsewhere, and the light is added again. The noise is
        lower, and the result as good as positions, shapes and ``psf``.

    psf : 'fit', `~astropy.modeling.Model` or 2D array, optional
        The point-spread function for ``guide='model'``, as for
        `~astro_denoise.photometry.forced_photometry`. ``'fit'`` is not for
        dask arrays.

    average : int, optional
        Denoise so many versions of the frame, turned and shifted by one
        pixel, and take their mean, up to 32. The models do not know which
        way is up: the results of two versions differ by less than a tenth
        of the noise (rms).
        Means of 8 do not depend on turns, and differ by less than half as
        much for a shift by one pixel. Takes as many times as long.

    device : str or `torch.device`, optional
        Default: a CUDA device where there is one, else the processor.

    precision : {'auto', 'float32', 'bfloat16', 'bfloat16-mixed'}, optional
        Of the convolutions; ``'auto'`` takes bfloat16 where the hardware
        has it, for ``ccd`` at all levels of the network, for others not at
        the outermost, as ``'bfloat16-mixed'`` does.

    progress_bar : bool, optional
        Show a progress bar.

    add_keyword : bool, str, dict or ``ccdproc.Keyword``, optional
        Log in the header what was done: model, its hash, noise. A
        string names one more keyword, set to the model, and so does a
        ``Keyword`` of ccdproc, which may bring a value; a dict gives
        cards (values, or values and comments) instead of the usual
        ones; `False` adds nothing. Keywords have at most 8 characters, or
        begin with ``HIERARCH``.

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
        of neighboring pixels are correlated. With a ``catalog``,
        ``flags`` of CCDData is 1 in the footprints of its sources, unless
        the frame has flags of its own or an ``output_array`` is given.

    uncertainty : `~numpy.ndarray` or `~astropy.units.Quantity`
        Only with ``return_uncertainty=True``.

    Raises
    ------
    TypeError, ValueError
        If an argument is not what it should be; the message names it.

    Warns
    -----
    ProcessedFrameWarning
        If the frame was denoised before.

    UnusualImageWarning
        If an optical frame is given to a model for gamma rays, or single
        photons to a model for CCD frames; for ``'gc-...'``, if an image
        is unlike those that it was trained on.

    NoiseEstimateWarning
        If the uncertainty of finite pixels is NaN: they are left out.

    CorrelatedNoiseWarning
        If the noise of neighboring pixels is correlated (resampled or
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
    from ..inference.devices import Runtime
    from ..inference.images import denoises_images
    from ..inference.shield import shielded
    from ..models.registry import load_model

    read_cards(add_keyword)  # refused before any work
    _check_average(average)
    if is_lazy(data):
        if output_array is not None or output_uncertainty is not None:
            msg = ('output_array and output_uncertainty are not for dask '
                   'arrays: store the result with dask.array.store')
            raise ValueError(msg)
        return denoise_lazily(
            data, model, uncertainty=uncertainty, mask=mask, gain=gain,
            read_noise=read_noise, catalog=catalog, guide=guide, psf=psf,
            average=average, device=device, precision=precision,
            return_uncertainty=return_uncertainty)
    with shielded():
        reader = open_frame(data, uncertainty=uncertainty, mask=mask)
        outputs = output_array, output_uncertainty
        _check_outputs(reader, *outputs)
        warn_of_denoised(reader.header)
        warn_of_missing_noise(reader)
        model = load_model(model, task='denoise')
        if denoises_images(model.network):
            _refuse_for_images(model, average=average, catalog=catalog)
        guide = open_guide(catalog, guide, psf, model,
                           shape=reader.pixels.shape[-2:],
                           wcs=getattr(reader.data, 'wcs', None))
        runtime = Runtime.resolve(device, precision)
        network = runtime.place(model.network)
        with _progress(reader, shown=progress_bar) as advance:
            if denoises_images(network):
                writer, noise = _denoise_images(reader, model, network,
                                                outputs, runtime)
            else:
                in_memory = all(array is None for array in outputs)
                writer = FrameWriter(
                    reader, *_arrays(reader, *outputs, return_uncertainty),
                    flagged=guide is not None and in_memory)
                measurements = _denoise_planes(
                    reader, network, writer, runtime=runtime, progress=advance,
                    in_memory=in_memory, average=average, guide=guide,
                    **_electrons(reader, gain, read_noise))
                warn_of(measurements, header=reader.header)
                noise = _described(measurements, network, guide)
                if average > 1:
                    noise['average'] = average
        return writer.wrap(log=log_cards(add_keyword, model, noise),
                           return_uncertainty=return_uncertainty)


def _check_average(average):
    """Refuse numbers of versions that there are not."""
    from ..inference.averaging import MOST_VERSIONS

    if isinstance(average, bool) or not isinstance(average,
                                                   int | np.integer):
        msg = f'average must be an integer, got {average!r}'
        raise TypeError(msg)
    if not 1 <= average <= MOST_VERSIONS:
        msg = f'average must be from 1 to {MOST_VERSIONS}, got {average}'
        raise ValueError(msg)


def _refuse_for_images(model, *, average, catalog):
    """Small images are denoised as they are."""
    for name, refused, usual, value in (
            ('average', average != 1, 1, average),
            ('catalog', catalog is not None, None, type(catalog).__name__)):
        if refused:
            msg = (f'{name} must be {usual} for the model {model.name!r}, '
                   f'which is for small images, got {value}')
            raise ValueError(msg)


@contextlib.contextmanager
def _progress(reader, *, shown):
    """Show a bar; what is called with shares of a plane moves it."""
    with tqdm(total=len(reader.indices), disable=not shown, desc='denoise',
              bar_format=_PROGRESS) as bar:
        # Many small shares may add up to a little more than all.
        yield lambda share: bar.update(min(share, bar.total - bar.n))


def _check_outputs(reader, output_array, output_uncertainty):
    """Refuse arrays that cannot take the result."""
    read = list(reader.arrays)
    for name, array in (('output_array', output_array),
                        ('output_uncertainty', output_uncertainty)):
        if array is not None:
            check_output_array(
                name, array, (1,) * reader.n_empty + reader.pixels.shape,
                read)
            read.append(array)


def _electrons(reader, gain, read_noise):
    """Gain and read noise as numbers."""
    return {
        'gain': resolve_gain(gain, reader.header, reader.unit),
        'read_noise': resolve_gain(
            read_noise, reader.header, reader.unit, name='read_noise',
            default_unit=u.electron)}


def _arrays(reader, array, uncertainty, return_uncertainty):
    """
    The arrays that take the result.

    Who gives an array for the pixels means to save memory: the
    uncertainties then take none unless they are asked for.
    """
    shape, dtype = reader.pixels.shape, result_type(reader.pixels.dtype)
    array, uncertainty = (
        each if each is None else without_axes(each, reader.n_empty)
        for each in (array, uncertainty))
    wanted = return_uncertainty or (array is None
                                    and isinstance(reader.data, NDData))
    if wanted and uncertainty is None:
        uncertainty = np.empty(shape, dtype)
    return np.empty(shape, dtype) if array is None else array, uncertainty


def _denoise_planes(reader, network, writer, **options):
    """Denoise each plane of a frame, and mask the pixels not used."""
    from ..inference.side_by_side import side_by_side
    from ..noise.compiling import one_of_many
    from ..noise.sampling import is_measured_whole

    _warn_of_counts(reader)
    options['in_memory'] &= is_measured_whole(reader.pixels.shape)
    n_rows, n_columns = reader.pixels.shape[-2:]
    small = options['in_memory'] and n_rows * n_columns <= _SMALL_PLANE

    def work(index):
        with one_of_many(len(reader.indices) * n_rows * n_columns):
            return denoise_plane(reader.plane(index), network, writer,
                                 **options)

    if small and len(reader.indices) > 1:
        with side_by_side(options['runtime'].device,
                          len(reader.indices)) as do:
            measurements = list(do(work, reader.indices))
    else:
        measurements = list(map(work, reader.indices))
    if not all(each.n_valid for each in measurements):
        _warn_of_dead_planes(reader, measurements)
    return [each for each in measurements if each.n_valid]


def _described(measurements, network, guide):
    """Describe the noise of the first plane, and how it was filtered."""
    if not measurements:
        return {}
    first = measurements[0]
    described = first.describe() | (guide.describe() if guide else {})
    # The pixels of a mosaic are filtered by themselves; the planes of a stack
    # may have kernels of their own; a model of sources is none.
    if guide is not None and guide.kind == 'model':
        return described
    if not first.is_mosaic and len({each.fwhm for each in measurements}) == 1:
        described['kernel'] = _kernel_of(network, first)
    return described


def _kernel_of(network, measurement):
    find = getattr(network, 'restoring_kernel', None)
    return None if find is None else find(measurement.fwhm)


def _warn_of_dead_planes(reader, measurements):
    """Planes without a valid pixel come back as they were."""
    dead = [number for number, each in enumerate(measurements)
            if not each.n_valid]
    reason = 'no pixel is valid'
    if len(dead) == len(measurements):
        parameter, reason = nothing_valid(reader)
        if parameter != 'data':
            msg = f'{parameter} {reason}'
            raise ValueError(msg)
        reason = f'it {reason}'
    which = 'data' if reader.pixels.ndim == 2 else f'plane {dead[0]} of data'
    if len(dead) > 1:
        which += f' (and {len(dead) - 1} more)'
    msg = f'{which} is returned as it was, with the mask set: {reason}'
    warnings.warn(msg, NoiseEstimateWarning, stacklevel=4)


def _warn_of_counts(reader):
    """Look for single photons in a piece of the first plane."""
    plane = reader.plane(reader.indices[0])
    values, valid, _ = plane.read(tuple(
        slice(max(0, n // 2 - 64), n // 2 + 64) for n in plane.shape))
    warn_of_counts(values, valid, plane.unit, stacklevel=5)


def _denoise_images(reader, model, network, outputs, runtime):
    """
    Denoise gamma-ray images, whose noise is not known in advance.
    """
    from ..inference.images import (
        denoise_images,
        image_scores,
        takes_counts,
    )

    if any(array is not None for array in outputs):
        msg = (f'output_array and output_uncertainty are not for the '
               f'model {model.name!r}, which is for small images')
        raise ValueError(msg)
    check_no_energy_axis(reader.data, 'data')
    frame = reader.read()
    if not frame.valid.any():
        raise ValueError(' '.join(nothing_valid(reader)))
    counts = takes_counts(network)
    if counts:
        check_counts_unit(frame.unit, 'data')
        check_counts(frame.values, frame.valid, 'data', stacklevel=4)
    warn_of_optical(frame, 'data', model.name, counts=counts, stacklevel=4)
    denoised, error, filled, noise = denoise_images(
        network, frame.values, frame.valid, device=runtime.device)
    if hasattr(network, 'ood_score'):
        scores = image_scores(network, frame.values, frame.valid,
                              device=runtime.device)
        warn_of_unusual(scores, network.ood_threshold, name='data',
                        model=model.name, stacklevel=4)
    shape, dtype = reader.pixels.shape, result_type(reader.pixels.dtype)
    writer = FrameWriter(reader, np.empty(shape, dtype),
                         np.empty(shape, dtype))
    whole = tuple(slice(0, n) for n in shape[-2:])
    for number, index in enumerate(reader.indices):
        valid = frame.valid[number]
        writer.write(reader.plane(index), whole, denoised[number],
                     error[number], valid | filled)
        writer.mark((*index, *whole), ~valid)
    return writer, {'origin': noise}
