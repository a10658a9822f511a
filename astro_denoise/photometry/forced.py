# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Forced photometry: the fluxes of all sources of a catalog at once.
"""

import os
from dataclasses import dataclass
from enum import IntFlag

import numpy as np
from astropy.table import MaskedColumn, QTable
from scipy import sparse

from ..frames.checks import warn_of_denoised
from ..frames.provenance import table_meta
from .calibration import _plain
from .forced_errors import fit_errors
from .forced_passes import Passes, run_passes
from .hybrid_flux import hybrid_fluxes
from .plane import ERROR_OF_RAW, open_plane, with_unit
from .psf_fit import fit_psf, warn_of_sampling
from .psf_models import open_psf, shapes_from_apertures
from .source_model import BACKGROUND_STEP, make_scene
from .source_table import source_table

__all__ = ['ForcedFlag', 'forced_photometry']

_LEAST_VALID = 0.5
_BLENDED = 0.9
_POOR_FIT = 5.0  # standard deviations of chi2 above 1


class ForcedFlag(IntFlag):
    """
    Problems of a forced flux, as bits of the ``flag`` column.
    """

    EDGE = 1  #: The profile reaches over the edge of the frame.
    OFF_FRAME = 2  #: The source is not on the frame.
    MASKED = 4  #: There are masked or non-finite pixels in the profile.
    SATURATED = 8  #: There are saturated pixels in the profile.
    FEW_VALID = 16  #: Less than half of the light is on valid pixels.
    BLENDED = 32  #: The flux is correlated by more than 0.9 with another.
    POOR_FIT = 64  #: The residual is larger than noise and profile allow.


def forced_photometry(data, catalog, psf='fit', *, error=None, gain=None,
                      background_step=BACKGROUND_STEP, robust=True,
                      shift=True, guide_flux=None, covariance=False,
                      return_model=False, mask=None, wcs=None):
    r"""
    Fit the fluxes of all sources of a catalog and the background at once.

    Positions and shapes are known, the fluxes are free: the frame is
    :math:`\sum a_i p_i + \sum \beta_k h_k`, with :math:`p_i` the profile
    of a source and :math:`h_k` bilinear hats. In blends and crowded
    fields this has a smaller error than apertures and fits of one source
    at a time, and no bias from neighbors; the error of an isolated source
    is the Cramér-Rao bound.

    Parameters
    ----------
    data : `~astropy.nddata.NDData`, `~astropy.units.Quantity` or 2D array
        The frame, not denoised, background included or not.

    catalog : table
        Positions as ``x, y``, ``x_centroid, y_centroid`` or ``aperture_x,
        aperture_y`` (pixels, 0 is the center of the first pixel), or a
        `~astropy.coordinates.SkyCoord` column or ``ra`` and ``dec``.
        Shapes as ``r50`` (half-light radius of the circularized profile
        in pixels, or an angle), ``sersic_n``, ``q`` (or ``axis_ratio``)
        and ``theta`` (degrees, counter-clockwise from the x axis); or as
        ``aperture_a, aperture_b, aperture_theta`` of apertures with 62.5
        per cent of the light, which are taken for those of exponential
        profiles. A source without shape, or with an ``r50`` of 0 or NaN,
        is a star.

    psf : 'fit', `~astropy.modeling.Model` or 2D array, optional
        A photutils PSF model, or an image with the pixels of the frame,
        of odd size and centered. ``'fit'`` fits a Moffat profile to the
        brightest sources, neighbors subtracted, and takes the effective
        point-spread function of
        `~photutils.psf.EPSFBuilder` where there are 12 stars or more of a
        signal-to-noise ratio above 30 and it fits them better.

    error : array_like, `~astropy.units.Quantity` or uncertainty, optional
        Standard deviation of the pixels. `None` takes the frame's own
        uncertainty and, where there is none, the scatter of what the fit
        leaves.

    gain : float, `~astropy.units.Quantity` or str, optional
        Electrons per unit of the frame, or a header keyword: the photon
        noise of the sources is added to ``error``. Weights from errors
        that hold the photons already, taken from the same pixels, make
        fluxes of bright sources too small: give the noise of the sky and
        the gain.

    background_step : float, optional
        Pixels between the nodes of the background.

    robust : bool, optional
        Give pixels that are off by more than 3 standard deviations less
        weight (Huber), against cosmic rays that are not masked.

    shift : bool, optional
        Fit one shift common to all positions.

    guide_flux : 1D array, `~astropy.units.Quantity` or str, optional
        Fluxes expected, or the column of the catalog that holds them, from
        which the weights follow. By default they follow from the fluxes
        found.

    covariance : bool, optional
        Put the covariance of all fluxes in the ``meta`` of the table, as
        ``scipy.sparse.csr_array``, without the error of a fitted profile,
        which they share.

    return_model : bool, optional
        Return the fitted model of the frame too.

    mask : bool or int array, optional
        Pixels to leave out (not 0), added to the frame's own mask.

    wcs : WCS object, optional
        World coordinates, by default those of ``data``.

    Returns
    -------
    table : `~astropy.table.QTable`
        A row per source:

        * ``ref_id``
        * ``flux``, all the light of the profile, and ``flux_error``, with
          that of a profile that was fitted
        * ``hybrid_flux`` and ``hybrid_error``, for isolated sources of a
          signal-to-noise ratio above 20 the model and what it leaves in an
          aperture of 1.5 FWHM (and 2 ``r50``) around the source: profiles
          that are not exact then have no part in the flux. The same as
          ``flux`` and ``flux_error`` for all others
        * ``floor_error``, the Cramér-Rao bound, background and neighbors
          fitted
        * ``blend_inflation``, the error over that without neighbors
        * ``max_correlation``, the correlation with the flux of another
          source, and ``max_correlation_id``, which one
        * ``chi2``, mean square of the residual over its variance,
          weighted with the profile: about 1, more for sources that moved
        * ``fraction_valid``, the share of the profile on valid pixels
        * ``flag``, bits of `ForcedFlag`

        NaN for sources off the frame. ``meta`` holds ``shift`` (x and y,
        pixels), ``psf``, ``psf_error``, the relative error that all fluxes
        of stars share since the profile was fitted (0 if it was given), and
        ``model_error``, the error of the profiles relative to their values
        that bright sources show.

    model : 2D `~numpy.ndarray` or `~astropy.units.Quantity`
        Only with ``return_model=True``: sources and background.

    Raises
    ------
    ValueError, TypeError
        If an argument makes no sense; the message names it, and column
        and row of the catalog.

    Warns
    -----
    ProcessedFrameWarning
        If the frame was denoised and ``error`` is not given.

    NoiseEstimateWarning
        If the uncertainty of finite pixels is NaN: they are left out.

    UnusualImageWarning
        If the bright sources are far wider or narrower than ``psf``, as
        where it is sampled more finely than the frame.

    Notes
    -----
    Fluxes may be negative: to cut them at 0 would bias faint ones. The
    weights of a source are :math:`1/(\sigma^2 + V - V_i)`, with :math:`V`
    the variance of the photons and of the errors of the profiles of all
    sources and :math:`V_i` its own. With :math:`V_i` the response to
    bright sources would be curved, and without :math:`V` errors of bright
    profiles would get into their neighbors.

    Fields are solved in tiles of 64 or 128 pixels with a halo, each pass
    for what the last one left.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.table import QTable
    >>> from astro_denoise.photometry import forced_photometry
    >>> from photutils.psf import CircularGaussianPRF
    >>> yy, xx = np.mgrid[:60, :60]
    >>> catalog = QTable({'ref_id': [7, 8], 'x': [30.3, 33.1],
    ...                   'y': [29.8, 30.2]})
    >>> image = np.random.default_rng(1).normal(100, 1, size=(60, 60))
    >>> for x, y, flux in zip(catalog['x'], catalog['y'], [500, 300]):
    ...     star = CircularGaussianPRF(flux=flux, x_0=x, y_0=y, fwhm=4)
    ...     image += star(xx, yy)
    >>> table = forced_photometry(image, catalog,
    ...                           CircularGaussianPRF(fwhm=4))
    >>> bool(np.all(abs(table['flux'] - [500, 300])
    ...             < 3 * table['flux_error']))
    True
    >>> bool(np.all(table['blend_inflation'] > 1.05))
    True
    """
    if not (np.isscalar(background_step) and np.isreal(background_step)
            and 2 <= background_step < np.inf):
        msg = ('background_step must be a number of pixels of at least 2, '
               f'got {background_step!r}')
        raise ValueError(msg)
    psf = checked_psf(psf)
    if error is None:
        warn_of_denoised(getattr(data, 'meta', {}), cure=ERROR_OF_RAW)
    plane = open_plane(data, error=error, gain=gain, mask=mask, wcs=wcs)
    sources = source_table(catalog, plane.wcs)
    guide_flux = _guide(guide_flux, catalog, len(sources), plane.unit)
    off_frame, near = _on_frame(sources, plane.values.shape)
    scene = _scene(plane, len(near), background_step)
    if guide_flux is not None:
        guide_flux = guide_flux[near] / scene.scale
    options = {'robust': robust, 'shift': shift, 'guide_flux': guide_flux}
    knows_noise = plane.sigma is not None
    plane.values = plane.sigma = None  # memory: the scene has them
    start = (0.0, 0.0)
    fits_psf, psf_error = psf is None, (0.0, 0.0)
    if fits_psf:
        psf, start, psf_error = fit_psf(
            scene, sources[near], knows_noise=knows_noise, shift=shift)
    passes = Passes(scene, shapes_from_apertures(sources[near], psf), psf,
                    knows_noise, start, psf_error=psf_error)
    run_passes(passes, **options)
    if not fits_psf:
        warn_of_sampling(passes)
    errors = fit_errors(passes, covariance=covariance)
    errors.error = np.hypot(errors.error, passes.flux_errors_of_psf()[0])
    rows = _Rows(sources['ref_id'], near, off_frame)
    table = _table(plane, passes, errors, rows)
    if covariance:
        table.meta['covariance'] = rows.spread(
            errors.covariance * scene.scale**2)
    if not return_model:
        return table
    return table, with_unit(passes.model(), plane.unit)


def checked_psf(psf):
    """
    Open a point-spread function that may have to be fitted.

    Parameters
    ----------
    psf : object
        As for `forced_photometry`.

    Returns
    -------
    psf : object or `None`
        From `~astro_denoise.photometry.psf_models.open_psf`; `None` for
        one that is to be fitted.
    """
    if not isinstance(psf, str | os.PathLike):
        return open_psf(psf)
    if psf != 'fit':
        msg = ("psf must be 'fit', a photutils PSF model or an image, got "
               f'{os.fspath(psf)!r}: read the image of a file with '
               f'astropy.io.fits.getdata(path)')
        raise ValueError(msg)
    return None


def _guide(guide_flux, catalog, n_sources, unit):
    """Read the expected fluxes."""
    if guide_flux is None:
        return None
    if isinstance(guide_flux, str):
        guide_flux = catalog[guide_flux]
    values = _plain(guide_flux, 'guide_flux')
    if hasattr(values, 'unit'):
        values = values.to_value(values.unit if unit is None else unit)
    if values.shape != (n_sources,) or not np.all(np.isfinite(values)):
        msg = (f'guide_flux must hold {n_sources} finite numbers, one a '
               f'source, got shape {values.shape} with '
               f'{np.count_nonzero(~np.isfinite(values))} not finite')
        raise ValueError(msg)
    return values


def _scene(plane, n_sources, background_step):
    """Make the scene of a frame."""
    values = plane.values
    valid = plane.valid
    if np.isfinite(plane.saturation):
        valid = valid & ~(plane.original >= plane.saturation)
    if not valid.any():
        msg = 'data has no valid pixel below the saturation level'
        raise ValueError(msg)
    noise = plane.sigma
    if noise is None:
        noise = np.full(values.shape, np.std(values[valid], dtype=float)
                        or 1.0)
    return make_scene(values, valid, noise, n_sources, gain=plane.gain,
                      background_step=background_step)


def _on_frame(sources, shape):
    """Find sources off the frame, and those with light on it."""
    x, y = np.asarray(sources['x']), np.asarray(sources['y'])
    off = ~((x > -0.5) & (x < shape[1] - 0.5)
            & (y > -0.5) & (y < shape[0] - 0.5))
    margin = 10.0 + 2.0 * np.asarray(sources['r50'])
    near = np.flatnonzero((x > -margin) & (x < shape[1] + margin)
                          & (y > -margin) & (y < shape[0] + margin))
    return off, near


@dataclass
class _Rows:
    """The rows of a catalog, those that were fitted, and those off frame."""

    ref_id: np.ndarray
    near: np.ndarray
    off_frame: np.ndarray

    def full(self, values, fill=np.nan):
        """Fill in the sources that were not fitted."""
        result = np.full(len(self.off_frame), fill,
                         np.result_type(np.asarray(values).dtype, type(fill)))
        result[self.near] = values
        return result

    def spread(self, matrix):
        """The same for a matrix of all pairs of sources."""
        matrix = matrix.tocoo()
        n_sources = len(self.off_frame)
        return sparse.csr_array(
            (matrix.data, (self.near[matrix.coords[0]],
                           self.near[matrix.coords[1]])),
            (n_sources, n_sources))


def _table(plane, passes, errors, rows):
    """Make the table of the result."""
    stamps, scene = passes.stamps, passes.scene
    totals = np.where(stamps.total > 0, stamps.total, np.nan)
    valid = light = stamps.light()
    pull = passes.fit.residual(scene, stamps)**2
    pull /= passes.weights.variance
    if not scene.valid.all():
        valid = stamps.sums(scene.valid)
        pull *= scene.valid
    on_frame = light / totals
    chi2 = stamps.sums(pull) / np.where(valid > 0, valid, np.nan)
    n_pixels = totals**2 / np.where(stamps.squares > 0, stamps.squares,
                                    np.nan)
    fraction = np.nan_to_num(valid / totals)
    off_frame = rows.off_frame[rows.near]
    measured = ~off_frame & (fraction > 0.01)

    flag = np.zeros(len(off_frame), dtype=int)
    for bit, bad in (
            ('EDGE', on_frame < 0.99), ('OFF_FRAME', off_frame),
            ('MASKED', on_frame - valid / totals > 0.01),
            ('SATURATED', _saturated(plane, stamps) > 0.01),
            ('FEW_VALID', fraction < _LEAST_VALID),
            ('BLENDED', np.abs(errors.correlation) > _BLENDED),
            ('POOR_FIT', chi2 > 1 + _POOR_FIT * np.sqrt(2 / n_pixels))):
        flag[bad] |= ForcedFlag[bit]
    return _columns(plane, passes, errors, rows, measured, chi2, fraction,
                    flag)


def _saturated(plane, stamps):
    """Compute the share of each profile on saturated pixels."""
    saturated = plane.saturated
    if np.isfinite(plane.saturation):
        bright = plane.original >= plane.saturation
        saturated = bright if saturated is None else saturated | bright
    if saturated is None:
        return np.zeros(stamps.n_sources)
    return stamps.sums(saturated)


def _columns(plane, passes, errors, rows, measured, chi2, fraction, flag):
    """Put the columns together, NaN where nothing was measured."""
    table = QTable()
    table['ref_id'] = rows.ref_id
    hybrid_flux, hybrid_error = hybrid_fluxes(passes, errors, fraction)
    for name, values in (('flux', passes.fit.flux),
                         ('flux_error', errors.error),
                         ('hybrid_flux', hybrid_flux),
                         ('hybrid_error', hybrid_error),
                         ('floor_error', errors.floor)):
        table[name] = with_unit(rows.full(
            np.where(measured, values * passes.scene.scale, np.nan)),
            plane.unit)
    for name, values in (('blend_inflation', errors.inflation),
                         ('max_correlation', errors.correlation)):
        table[name] = rows.full(np.where(measured, values, np.nan))
    partner = np.append(rows.near, 0)[errors.partner]
    table['max_correlation_id'] = MaskedColumn(
        rows.ref_id[rows.full(partner, 0)],
        mask=rows.full((errors.partner < 0) | ~measured, fill=True))
    table['chi2'] = rows.full(np.where(measured, chi2, np.nan))
    table['fraction_valid'] = rows.full(fraction, 0.0)
    table['flag'] = rows.full(flag, int(ForcedFlag.OFF_FRAME))
    table.meta.update(
        table_meta(), shift=tuple(passes.shift), psf=passes.psf.describe(),
        psf_error=passes.psf_error[0],
        model_error=passes.fit.model_error,
        flags={flag.name: int(flag) for flag in ForcedFlag})
    return table
