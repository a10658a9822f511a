# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Denoise frames with a catalog of the sources that are in them.
"""

from dataclasses import dataclass, replace

import numpy as np

from ..frames.windows import within
from ..photometry.footprints import FOOTPRINT_REACH, find_footprints
from ..photometry.source_table import source_table

__all__ = ['Guide', 'denoise_guided', 'open_guide']

GUIDES = ('blend', 'model')

# The model that keeps the lowest error where there is no source.
_OUTSIDE = 'ccd-mmse'

# Sources so many pixels off the frame may have light on it.
_EDGE = 16


@dataclass(frozen=True)
class Guide:
    """
    The known sources of a frame, and the way they guide the denoising.

    Parameters
    ----------
    kind : {'blend', 'model'}
        As the ``guide`` of `astro_denoise.denoise`.

    sources : `~astropy.table.QTable`
        From `~astro_denoise.photometry.source_table.source_table`, those
        on the frame and near its edges.

    outside : `~astro_denoise.models.Model`
        For the pixels outside the footprints.

    n_on, n_off : int
        Sources of the catalog that are on the frame, and that are not.

    psf : object, optional
        The point-spread function of ``'model'``, from
        `~astro_denoise.photometry.psf_models.open_psf`; `None` to fit it.
    """

    kind: str
    sources: object
    outside: object
    n_on: int
    n_off: int
    psf: object = None

    @property
    def wants_psf(self):
        """True if the point-spread function has to be fitted."""
        return self.kind == 'model' and self.psf is None

    @property
    def reach(self):
        """Pixels from which a result can be influenced, beside a model's."""
        return max(self.outside.network.reach, FOOTPRINT_REACH)

    def describe(self):
        """
        Put what the header says in words.

        Returns
        -------
        description : dict
            Kind, model outside, and numbers of sources.
        """
        return {'guide': self.kind, 'outside': self.outside.name,
                'n_sources': self.n_on, 'n_off': self.n_off}

    def of_phase(self, phase):
        """
        Move to every second row and column of a mosaic.

        Parameters
        ----------
        phase : tuple of int
            The first row and column.

        Returns
        -------
        guide : `Guide`
            With positions and sizes on that plane.

        Raises
        ------
        ValueError
            If there is a point-spread function, which is that of the
            frame.
        """
        if self.psf is not None:
            msg = ("psf must be 'fit' for a mosaic of filters, which is "
                   'worked on as four planes, got that of the frame')
            raise ValueError(msg)
        sources = self.sources.copy()
        for name, first in zip('yx', phase, strict=True):
            sources[name] = (sources[name] - first) / 2.0
        for name in ('r50', 'a', 'b'):
            if name in sources.colnames:
                sources[name] = sources[name] / 2.0
        return replace(self, sources=sources)


def open_guide(catalog, guide, psf, model, *, shape, wcs=None):
    """
    Check a catalog and what is to be done with it.

    Parameters
    ----------
    catalog, guide, psf : object
        As for `astro_denoise.denoise`.

    model : `~astro_denoise.models.Model`
        The model for the footprints.

    shape : tuple of int
        ``(ny, nx)`` of the frame.

    wcs : WCS object, optional
        World coordinates of the frame.

    Returns
    -------
    guide : `Guide` or `None`
        `None` without a catalog.

    Raises
    ------
    ValueError, TypeError
        If an argument makes no sense, or no source is on the frame.
    """
    from ..models.registry import load_model

    if guide not in GUIDES:
        msg = (f'guide must be {" or ".join(map(repr, GUIDES))}, got '
               f'{guide!r}')
        raise ValueError(msg)
    if catalog is None:
        if psf is not None:
            msg = ("psf is for a catalog with guide='model', got "
                   'catalog=None')
            raise ValueError(msg)
        return None
    outside = load_model(_OUTSIDE, task='denoise')
    if model.hash == outside.hash:
        msg = (f'model must keep the flux of the sources of a catalog, as '
               f"'ccd' does, got {model.name!r}, which is for the pixels "
               f'outside their footprints')
        raise ValueError(msg)
    psf = _opened_psf(guide, psf)
    sources = source_table(catalog, getattr(wcs, 'celestial', wcs))
    x, y = (np.asarray(sources[name], float) for name in 'xy')
    here = _inside(x, y, shape, margin=0)
    if not here.any():
        msg = (f'catalog must have sources on the frame of {shape[0]} x '
               f'{shape[1]} pixels, got {len(sources)} with x from '
               f'{_range(x)} and y from {_range(y)}')
        raise ValueError(msg)
    n_on = int(np.count_nonzero(here))
    return Guide(guide, sources[_inside(x, y, shape, margin=_EDGE)], outside,
                 n_on, len(sources) - n_on, psf)


def _opened_psf(guide, psf):
    """Open the point-spread function; `None` if there is none to use."""
    if guide == 'blend':
        if psf is not None:
            msg = ("psf must be None for guide='blend', which needs no "
                   f'point-spread function, got {psf!r:.80}')
            raise ValueError(msg)
        return None
    if psf is None:
        msg = ("psf must be 'fit', a photutils PSF model or an image for "
               "guide='model', got None")
        raise ValueError(msg)
    # Fits are slow to import, and no part of a frame without a catalog.
    from ..photometry.forced import checked_psf

    return checked_psf(psf)


def _inside(x, y, shape, *, margin):
    """Tell which positions are on the frame, or near it."""
    least = -0.5 - margin
    return ((x > least) & (x < shape[1] - 1 - least)
            & (y > least) & (y < shape[0] - 1 - least))


def _range(values):
    """Text of the smallest and largest of some numbers."""
    values = values[np.isfinite(values)]
    if not len(values):
        return 'NaN to NaN'
    return f'{values.min():.6g} to {values.max():.6g}'


def denoise_guided(guide, network, planes, measurement, write, *, runtime,
                   origin=(0, 0), average=1, window_pixels=None,
                   progress=None):
    """
    Denoise a plane with one network in footprints, with another outside.

    Parameters
    ----------
    guide : `Guide`
        The sources, on the plane.

    network, planes, measurement : object
        As for `~astro_denoise.inference.engine.denoise_windows`.

    write : callable
        Called as by `~astro_denoise.inference.engine.denoise_windows`, and
        with the share of the first network in each pixel.

    runtime, window_pixels, progress : object
        As for `~astro_denoise.inference.engine.denoise_windows`.

    origin : tuple of int, optional
        First row and column of ``planes`` in the plane of the sources.

    average : int, optional
        As for `~astro_denoise.inference.averaging.denoise_averaged`.
    """
    from ..inference.averaging import windows_in_memory

    networks = network, runtime.place(guide.outside.network)
    footprints = find_footprints(guide.sources, measurement.fwhm)
    windows = windows_in_memory(planes, max(network.reach, guide.reach))
    if guide.kind == 'model':
        from .source_light import with_psf

        guide = with_psf(guide, planes, measurement, origin)
    options = {
        'runtime': runtime, 'average': average,
        'window_pixels': window_pixels,
        'progress': progress and (
            lambda done: progress(0.5 * done / len(windows)))}
    for core, window in windows:
        part = planes.part(window)
        place = tuple(first + side.start for first, side in zip(
            origin, window, strict=True))
        signal = (part.values - part.background) / measurement.level
        share = footprints.draw(signal, part.valid, place)
        if guide.kind == 'model':
            denoised, sigma = _modeled(guide, networks, part, measurement,
                                       place, **options)
        else:
            denoised, sigma = _blended(networks, share, part, measurement,
                                       **options)
        inside = within(core, window)
        write(*core, denoised[inside], sigma[inside], share[inside])


def _modeled(guide, networks, part, measurement, place, **options):
    """
    Subtract the fitted light of the sources, denoise, and add it again.
    """
    from .source_light import fit_window, unexplained

    model = fit_window(guide, part, measurement, place)
    if model is None:
        return _blended(networks, np.zeros(part.shape, np.float32), part,
                        measurement, **options)
    light = model.light.astype(part.values.dtype)
    part = replace(part, values=np.where(part.valid, part.values - light, 0))
    share = unexplained((part.values - part.background) / part.noise_map,
                        part.valid, model.psf.fwhm)
    denoised, sigma = _blended(networks, share, part, measurement, **options)
    # What the first network answers for does not depend on the model.
    variance = (1 - share)**2 * model.variance
    return denoised + light, np.sqrt(sigma**2 + variance.astype(np.float32))


def _blended(networks, weights, part, measurement, *, progress, **options):
    """
    Denoise a window with two networks, and mix the results.

    Their errors are of the same noise: standard deviations are mixed as
    pixels are.
    """
    results = []
    for network, wanted in zip(networks, (weights > 0, weights < 1),
                               strict=True):
        if wanted.any():
            results.append(_in_memory(network, part, measurement,
                                      progress=progress, **options))
        else:
            results.append(None)
            if progress:
                progress(1.0)
    inside, outside = results
    if inside is None or outside is None:
        return outside if inside is None else inside
    return tuple(weights * first + (1 - weights) * second
                 for first, second in zip(inside, outside, strict=True))


def _in_memory(network, part, measurement, **options):
    """Denoise a window into arrays."""
    from ..inference.averaging import denoise_averaged

    results = (np.empty(part.shape, part.values.dtype),
               np.empty(part.shape, np.float32))

    def write(rows, columns, *parts):
        for result, values in zip(results, parts, strict=True):
            result[rows, columns] = values

    denoise_averaged(network, part, measurement, write, **options)
    return results
