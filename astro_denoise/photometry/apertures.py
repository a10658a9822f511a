# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Elliptical-aperture photometry with a background from an annulus.
"""

import math
from enum import IntFlag

import numpy as np
from astropy import units as u
from astropy.table import QTable
from photutils.geometry import elliptical_overlap_grid

from ..frames.provenance import table_meta
from .annulus import (
    SIGMA_CLIP,
    annulus_statistics,
    check_annulus,
    pixel_noise,
    within,
)
from .correlated_noise import (
    FilteredNoise,
    denoised_noise,
    frame_kernel,
    refusal,
)
from .plane import open_plane, with_unit
from .tables import aperture_table

__all__ = ['ApertureFlag', 'annulus_photometry']

FEW_SHARE = 0.1  # of the annulus that must be left for its background


class ApertureFlag(IntFlag):
    """
    Problems of a measurement, as bits of the ``flag`` column.
    """

    EDGE = 1  #: The aperture reaches over the edge of the frame.
    OFF_FRAME = 2  #: No part of the aperture is on the frame.
    MASKED = 4  #: There are masked pixels in the aperture.
    SATURATED = 8  #: There are saturated pixels in the aperture.
    FEW_BACKGROUND = 16  #: Less than a tenth of the annulus is left.
    NON_FINITE = 32  #: There are pixels without finite value in the aperture.
    OVERLAP = 64  #: The aperture reaches into the annulus.


def ellipse_weights(x, y, a, b, theta):
    """
    Exact overlap of an ellipse with the pixels of its bounding box.

    Parameters
    ----------
    x, y, a, b : float
        Center and semi-axes, in pixels.

    theta : float
        Angle of ``a`` from the x axis, in radians.

    Returns
    -------
    weights : 2D `~numpy.ndarray`
        The fraction of each pixel in the ellipse.

    box : tuple of int
        ``(x_low, x_high, y_low, y_high)``, the upper ends exclusive.
    """
    cosine, sine = math.cos(theta), math.sin(theta)
    x_extent = math.hypot(a * cosine, b * sine)
    y_extent = math.hypot(a * sine, b * cosine)
    x_low = math.floor(x - x_extent + 0.5)
    x_high = math.floor(x + x_extent + 0.5) + 1
    y_low = math.floor(y - y_extent + 0.5)
    y_high = math.floor(y + y_extent + 0.5) + 1
    weights = elliptical_overlap_grid(
        x_low - 0.5 - x, x_high - 0.5 - x, y_low - 0.5 - y, y_high - 0.5 - y,
        x_high - x_low, y_high - y_low, a, b, theta, 1, 1)
    return weights, (x_low, x_high, y_low, y_high)


def aperture_sums(plane, apertures, background, sigma):
    """
    Weighted sums over the valid pixels of elliptical apertures.

    The weights of the variances are squared: the variance of ``sum(w d)``
    is ``sum(w^2 sigma^2)``. (`photutils` before version 3.1 weights them
    by ``w``; see its pull request 2398.)

    Parameters
    ----------
    plane : `Plane`
        The frame.

    apertures : `~astropy.table.QTable`
        From `~astro_denoise.photometry.tables.aperture_table`.

    background : 1D `~numpy.ndarray`
        Mean background of each source.

    sigma : 1D `~numpy.ndarray`
        Noise of a pixel, for a frame without noise map.

    Returns
    -------
    sums : dict of 1D `~numpy.ndarray`
        ``flux`` (background subtracted), ``area``, ``variance`` (of the
        pixels' noise), ``signal`` (``sum(w^2 d)``, background subtracted),
        ``flag``.
    """
    n_sources = len(apertures)
    names = ('flux', 'area', 'variance', 'signal')
    sums = {name: np.full(n_sources, np.nan) for name in names}
    flags = np.zeros(n_sources, dtype=int)
    columns = [np.asarray(apertures[name], dtype=float).tolist()
               for name in ('x', 'y', 'a', 'b', 'theta')]
    near = within(plane, np.asarray(apertures['x']),
                   np.asarray(apertures['y']), np.asarray(
                       np.maximum(apertures['a'], apertures['b'])))
    flags[~near] = ApertureFlag.OFF_FRAME
    for row in np.flatnonzero(near):
        weights, box = ellipse_weights(*(column[row] for column in columns))
        here, part = plane.cutout(*box)
        inner = weights[part] if here is not None else np.zeros(1)
        if not np.any(inner):
            flags[row] = ApertureFlag.OFF_FRAME
            continue
        if inner.size < weights.size and (
                np.count_nonzero(inner) < np.count_nonzero(weights)):
            flags[row] = ApertureFlag.EDGE
            continue
        valid = plane.valid[here]
        flags[row] = _pixel_flags(plane, here, inner, valid)
        if not valid.all():
            inner = inner * valid
        squares = inner * inner
        values = plane.values[here] - background[row]
        sums['area'][row] = inner.sum()
        sums['flux'][row] = np.vdot(inner, values)
        sums['signal'][row] = np.vdot(squares, values)
        if plane.sigma is None:
            sums['variance'][row] = squares.sum() * sigma[row]**2
        else:
            sums['variance'][row] = np.vdot(squares, plane.variance(here))
    sums['flag'] = flags
    return sums


def _pixel_flags(plane, here, weights, valid):
    """
    Flags of the pixels in an aperture.
    """
    flag = 0
    if not valid.all():
        bad = (weights > 0) & ~valid
        finite = np.isfinite(plane.original[here])
        if np.any(bad & finite):
            flag |= ApertureFlag.MASKED
        if np.any(bad & ~finite):
            flag |= ApertureFlag.NON_FINITE
    if plane.saturation < np.inf:
        full = plane.original[here] >= plane.saturation
        if full.any() and full[weights > 0].any():
            flag |= ApertureFlag.SATURATED
    if plane.saturated is not None:
        full = plane.saturated[here]
        if full.any() and full[weights > 0].any():
            flag |= ApertureFlag.SATURATED
    return flag


def annulus_photometry(data, catalog, *, r_in=30, r_out=45,
                       sigma_clip=SIGMA_CLIP, error=None, gain=None,
                       mask=None, wcs=None, theta_sign=1, saturation=None):
    r"""
    Fluxes in elliptical apertures, the background from an annulus.

    The flux is the sum over the aperture, each pixel weighted by the
    fraction :math:`w` of it that is inside, minus the area times the
    sigma-clipped mean of the annulus. Masked and non-finite pixels are
    left out of the sum, the area and the annulus. Raw and denoised frames
    are measured in the same way.

    Parameters
    ----------
    data : `~astropy.nddata.NDData`, `~astropy.units.Quantity` or 2D array
        The frame (mostly a `~astropy.nddata.CCDData`), background included
        or not.

    catalog : table, photutils aperture or list of apertures
        A table with the columns ``aperture_a``, ``aperture_b`` (semi-axes
        in pixels, or in an angular unit), ``aperture_theta`` (degrees),
        and ``aperture_x``, ``aperture_y`` (pixels, 0 is the center of the
        first pixel) or else a `~astropy.coordinates.SkyCoord` column or
        ``ra`` and ``dec``; ``ref_id`` names the sources. Or one or more
        circular or elliptical photutils apertures, on pixels or on the
        sky.

    r_in, r_out : float, optional
        Inner and outer radius of the circular annulus, in pixels.

    sigma_clip : `~astropy.stats.SigmaClip` or `None`, optional
        The clipping of the annulus, by default at 3 sigma.

    error : array_like, `~astropy.units.Quantity` or uncertainty, optional
        Standard deviation of the pixels. `None` takes the frame's own
        uncertainty and, where there is none, the scatter in the annulus.

    gain : float, `~astropy.units.Quantity` or str, optional
        Electrons per unit of the frame, or a header keyword: the photon
        noise of the source is added. Leave it out where ``error`` holds
        that noise already.

    mask : bool or int array, optional
        Pixels to leave out (not 0), added to the frame's own mask. In an
        integer mask the bit 1024 says saturated.

    wcs : WCS object, optional
        World coordinates, by default those of ``data``.

    theta_sign : {1, -1}, optional
        With 1, ``aperture_theta`` runs counter-clockwise from the x axis,
        as in photutils; -1 reads the angles of the PAUS catalog.

    saturation : float, `~astropy.units.Quantity` or str, optional
        Level of saturated pixels or a header keyword; by default the
        header's ``SATURATE`` where there is one.

    Returns
    -------
    table : `~astropy.table.QTable`
        ``ref_id``, ``flux``, ``flux_error``, ``area`` (unmasked),
        ``annulus_mean``, ``annulus_median``, ``annulus_sigma``,
        ``annulus_samples`` (pixels left by the clipping) and ``flag``
        (bits of `ApertureFlag`), a row per source. Sources that reach
        over the edge of the frame have NaN.

    Raises
    ------
    ValueError
        If a column is missing, has the wrong unit or a bad value (column
        and row are named), or another argument makes no sense; or if the
        frame was denoised by a model without restoring kernel, such as
        ``'ccd-mmse'``, and ``error`` is not given.

    TypeError
        If data or catalog are of an unknown kind.

    Warns
    -----
    NoiseEstimateWarning
        If the uncertainty of finite pixels is NaN: they are left out.

    Notes
    -----
    The variance of the flux is

    .. math:: \sum w^2\sigma^2 + A^2 s^2 / N + \sum w^2 (d - \bar b) / g,

    the noise of the pixels, the error of the background mean (``s`` the
    standard deviation in the annulus before clipping, which for a normal
    distribution and ``SigmaClip(3)`` is ``annulus_sigma / 0.985``) and,
    for a ``gain``, the photon noise of the source. The pixels' noise is
    taken as independent.

    That of a denoised frame is not. If the header has the kernel of the
    model that denoised it (``'ccd'``), the error is that of
    `~astro_denoise.photometry.denoised_flux_error`, annulus included, and
    ``error`` is the noise of the raw pixels. Otherwise ``error`` must be
    given and makes the errors those of the raw fluxes; errors of the
    denoised ones come from
    `~astro_denoise.photometry.recalibrate_errors` or
    `~astro_denoise.photometry.measure_response`.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.table import QTable
    >>> from astro_denoise.photometry import annulus_photometry
    >>> image = np.random.default_rng(1).normal(100, 2, (120, 120))
    >>> image[58:63, 58:63] += 10
    >>> catalog = QTable({'ref_id': [7], 'aperture_x': [60.0],
    ...                   'aperture_y': [60.0], 'aperture_a': [5.0],
    ...                   'aperture_b': [4.0], 'aperture_theta': [30.0]})
    >>> table = annulus_photometry(image, catalog)
    >>> print(f'{table["area"][0].value:.2f} {table["flag"][0]}')
    62.83 0
    >>> bool(abs(table['flux'][0] - 250) < 3 * table['flux_error'][0])
    True
    """
    check_annulus(r_in, r_out, sigma_clip)
    header = getattr(data, 'meta', None) or {}
    kernel = frame_kernel(header) if 'DNMODEL' in header else None
    if 'DNMODEL' in header and kernel is None and error is None:
        raise ValueError(refusal(header))
    plane = open_plane(data, error=error, gain=gain, mask=mask, wcs=wcs,
                       saturation=saturation)
    apertures = aperture_table(catalog, wcs=plane.wcs, theta_sign=theta_sign)
    table = measure(plane, apertures, r_in, r_out, sigma_clip)
    if kernel is not None:
        noise = FilteredNoise.of(plane, header, kernel,
                                 knows_noise=error is not None,
                                 denoised=denoised_noise(data))
        variance = filtered_variance(plane, apertures, noise, (r_in, r_out),
                                     np.asarray(table['annulus_samples']))
        measured = np.isfinite(np.asarray(table['flux']))
        table['flux_error'] = with_unit(
            np.where(measured, np.sqrt(variance), np.nan), plane.unit)
    return table


def filtered_variance(plane, apertures, noise, annulus=None, samples=None):
    """
    Variances of the fluxes in apertures on a frame that was filtered.

    Parameters
    ----------
    plane : `Plane`
        The frame.

    apertures : `~astropy.table.QTable`
        From `~astro_denoise.photometry.tables.aperture_table`.

    noise : `~astro_denoise.photometry.correlated_noise.FilteredNoise`
        The noise of the raw pixels, and the kernel.

    annulus : tuple of float, optional
        Its inner and outer radius, if the background was subtracted.

    samples : 1D int `~numpy.ndarray`, optional
        Pixels of each annulus; by default all that it can have.

    Returns
    -------
    variance : 1D `~numpy.ndarray`
        NaN where an aperture is not on the frame.
    """
    variance = np.full(len(apertures), np.nan)
    correlated = noise.of_mean(*annulus) if annulus is not None else 0.0
    reach = 2 * (noise.kernel.shape[0] // 2)
    columns = [np.asarray(apertures[name], dtype=float).tolist()
               for name in ('x', 'y', 'a', 'b', 'theta')]
    for row, (x, y, a, b, theta) in enumerate(zip(*columns, strict=True)):
        if not np.isfinite(x + y):
            continue
        weights, box = ellipse_weights(x, y, a, b, theta)
        here, part = plane.cutout(*box)
        if here is None:
            continue
        inside = np.zeros(weights.shape)
        inside[part] = weights[part] * plane.valid[here]
        variance[row] = noise.of_sum(plane, inside, box)
        if annulus is None:
            continue
        sky = np.mean(noise.sky[here])
        area, n_pixels = inside.sum(), np.pi * (annulus[1]**2
                                                - annulus[0]**2)
        if samples is not None:
            n_pixels = max(samples[row], 1)
        variance[row] += area**2 * sky * correlated / n_pixels
        if max(a, b) + reach > annulus[0]:
            variance[row] -= 2 * area * sky * noise.of_both(
                inside, x - (box[0] + box[1] - 1) / 2,
                y - (box[2] + box[3] - 1) / 2, *annulus)
    return variance


def measure(plane, apertures, r_in, r_out, sigma_clip):
    """
    The table of `annulus_photometry` for an opened frame.
    """
    x, y = np.asarray(apertures['x']), np.asarray(apertures['y'])
    mean, median, sigma, samples = annulus_statistics(plane, x, y, r_in,
                                                      r_out, sigma_clip)
    noise = pixel_noise(sigma, r_in, r_out, sigma_clip)
    enough = samples > 1
    sums = aperture_sums(plane, apertures, np.where(enough, mean, np.nan),
                         noise)
    variance = (sums['variance']
                + sums['area']**2 * noise**2 / np.maximum(samples, 1))
    if plane.gain is not None:
        variance += np.maximum(sums['signal'], 0) / plane.gain

    flag = sums['flag']
    few = samples < FEW_SHARE * np.pi * (r_out**2 - r_in**2)
    flag[few] |= ApertureFlag.FEW_BACKGROUND
    overlap = np.maximum(apertures['a'], apertures['b']) > r_in
    flag[overlap] |= ApertureFlag.OVERLAP
    empty = ~(sums['area'] > 0)

    table = QTable()
    table['ref_id'] = apertures['ref_id']
    for name, values in (('flux', sums['flux']),
                         ('flux_error', np.sqrt(variance))):
        table[name] = with_unit(np.where(empty, np.nan, values), plane.unit)
    table['area'] = sums['area'] * u.pix**2
    for name, values in (('annulus_mean', mean), ('annulus_median', median),
                         ('annulus_sigma', sigma)):
        table[name] = with_unit(values, plane.unit)
    table['annulus_samples'] = samples
    table['flag'] = flag
    table.meta.update(table_meta(), r_in=r_in, r_out=r_out,
                      sigma_clip=repr(sigma_clip),
                      flags={flag.name: int(flag) for flag in ApertureFlag})
    return table
