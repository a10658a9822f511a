# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Elliptical-aperture photometry with a background from an annulus.
"""

from enum import IntFlag

import numpy as np
from astropy import units as u
from astropy.stats import SigmaClip
from astropy.table import QTable
from photutils.geometry import elliptical_overlap_grid
from scipy.stats import norm

from astro_denoise.photometry.plane import open_plane, with_unit
from astro_denoise.photometry.tables import aperture_table, table_meta

__all__ = ['ApertureFlag', 'annulus_photometry']

SIGMA_CLIP = SigmaClip(3)
MAX_CLIPS = 100
FEW_SHARE = 0.1  # of the annulus that must be left for its background
BLOCK_PIXELS = 500_000  # annulus pixels worked on at a time


class ApertureFlag(IntFlag):
    """
    What is wrong with a measurement, as bits of the ``flag`` column.
    """

    EDGE = 1  #: The aperture reaches over the edge of the frame.
    OFF_FRAME = 2  #: No part of the aperture is on the frame.
    MASKED = 4  #: There are masked pixels in the aperture.
    SATURATED = 8  #: There are saturated pixels in the aperture.
    FEW_BACKGROUND = 16  #: Less than a tenth of the annulus is left.
    NON_FINITE = 32  #: There are pixels without finite value in the aperture.
    OVERLAP = 64  #: The aperture reaches into the annulus.


def clipped_width(sigma_clip, n_pixels):
    """
    Standard deviation that sigma clipping leaves of a unit normal.

    Every iteration cuts the normal distribution at multiples of the
    standard deviation that the one before has left, until less than half
    a pixel is cut: 0.985 for clipping at 3.

    Parameters
    ----------
    sigma_clip : `~astropy.stats.SigmaClip` or `None`
        The clipping; `None` clips nothing.

    n_pixels : float
        Number of pixels that are clipped.

    Returns
    -------
    width : float
        The standard deviation.
    """
    width, share = 1.0, 1.0
    if sigma_clip is None:
        return width
    # the clipping takes 0 iterations for as many as it needs
    for _ in range(int(min(sigma_clip.maxiters or MAX_CLIPS, MAX_CLIPS))):
        low = -sigma_clip.sigma_lower * width
        high = sigma_clip.sigma_upper * width
        left = norm.cdf(high) - norm.cdf(low)
        mean = (norm.pdf(low) - norm.pdf(high)) / left
        moment = 1 + (low * norm.pdf(low) - high * norm.pdf(high)) / left
        width = np.sqrt(moment - mean**2)
        if n_pixels * (share - left) < 0.5:
            break
        share = left
    return width


def pixel_noise(sigma, r_in, r_out, sigma_clip):
    """
    Noise of a pixel from the clipped standard deviation in an annulus.
    """
    n_pixels = np.pi * (r_out**2 - r_in**2)
    return sigma / clipped_width(sigma_clip, n_pixels)


def annulus_statistics(plane, x, y, r_in, r_out, sigma_clip):
    """
    Sigma-clipped background in circular annuli.

    Pixels whose centres lie in the annulus count, as for `photutils`
    statistics in apertures.

    Parameters
    ----------
    plane : `Plane`
        The frame.

    x, y : 1D `~numpy.ndarray`
        Centres, in pixels.

    r_in, r_out : float
        Radii, in pixels.

    sigma_clip : `~astropy.stats.SigmaClip` or `None`
        The clipping.

    Returns
    -------
    mean, median, sigma : 1D `~numpy.ndarray`
        Statistics of the pixels left, NaN where there are none.

    samples : 1D int `~numpy.ndarray`
        The number of pixels left.
    """
    offsets = _annulus_offsets(r_in, r_out)
    n_sources, n_block = len(x), max(1, BLOCK_PIXELS // len(offsets[0]))
    mean, median, sigma = np.full((3, n_sources), np.nan)
    samples = np.zeros(n_sources, dtype=int)
    on_frame = np.flatnonzero(_within(plane, x, y, r_out))
    for start in range(0, len(on_frame), n_block):
        rows = on_frame[start:start + n_block]
        block = _annulus_block(plane, x[rows], y[rows], *offsets, r_in, r_out)
        if sigma_clip is not None:
            block = sigma_clip(block, axis=1, copy=False)
        mean[rows], median[rows], sigma[rows], samples[rows] = _statistics(
            block)
    return mean, median, sigma, samples


def _statistics(block):
    """Mean, median, standard deviation and number of what rows have left."""
    kept = ~np.ma.getmaskarray(block)
    count = kept.sum(axis=1)
    some = np.maximum(count, 1)
    values = np.where(kept, block.data, np.float64(0.0))
    mean = values.sum(axis=1) / some
    values -= np.where(kept, mean[:, np.newaxis], 0.0)
    sigma = np.sqrt(np.einsum('ij,ij->i', values, values) / some)
    ordered = np.sort(np.where(kept, block.data, np.inf), axis=1)
    middle = np.stack([(some - 1) // 2, some // 2], axis=1)
    median = np.take_along_axis(ordered, middle, axis=1).mean(axis=1,
                                                              dtype=float)
    found = np.where(count, 1.0, np.nan)
    return mean * found, median * found, sigma * found, count


def _within(plane, x, y, margin):
    ny, nx = plane.values.shape
    return ((x > -0.5 - margin) & (x < nx - 0.5 + margin)
            & (y > -0.5 - margin) & (y < ny - 0.5 + margin))


def _annulus_offsets(r_in, r_out):
    """Offsets in y and x of the pixels that can lie in an annulus."""
    reach = int(np.ceil(r_out)) + 1
    grid = np.arange(-reach, reach + 1)
    dy, dx = np.meshgrid(grid, grid, indexing='ij')
    distance = np.hypot(dx, dy)
    near = (distance > r_in - 0.75) & (distance < r_out + 0.75)
    return dy[near], dx[near]


def _annulus_block(plane, x, y, dy, dx, r_in, r_out):
    """
    Masked array of the pixels around some sources, a row each.
    """
    ny, nx = plane.values.shape
    x_pixel, y_pixel = np.rint(x).astype(int), np.rint(y).astype(int)
    # Squares of the distances from the centres.
    offset = np.stack([x - x_pixel, y - y_pixel], axis=1)
    square = offset @ (-2.0 * np.stack([dx, dy]))
    square += dx**2 + dy**2
    square += (offset**2).sum(axis=1, keepdims=True)
    inside = (square < r_out**2) & (square >= r_in**2)
    reach = dx.max()
    if (x_pixel.min() < reach or x_pixel.max() >= nx - reach
            or y_pixel.min() < reach or y_pixel.max() >= ny - reach):
        columns = x_pixel[:, np.newaxis] + dx
        lines = y_pixel[:, np.newaxis] + dy
        inside &= (columns >= 0) & (columns < nx)
        inside &= (lines >= 0) & (lines < ny)
        np.clip(columns, 0, nx - 1, out=columns)
        np.clip(lines, 0, ny - 1, out=lines)
        index = lines * nx + columns
    else:
        index = (y_pixel * nx + x_pixel)[:, np.newaxis] + (dy * nx + dx)
    inside &= np.take(plane.valid, index)
    return np.ma.MaskedArray(np.take(plane.values, index), mask=~inside)


def ellipse_weights(x, y, a, b, theta):
    """
    Exact overlap of an ellipse with the pixels of its bounding box.

    Parameters
    ----------
    x, y, a, b : float
        Centre and semi-axes, in pixels.

    theta : float
        Angle of ``a`` from the x axis, in radians.

    Returns
    -------
    weights : 2D `~numpy.ndarray`
        The fraction of each pixel in the ellipse.

    box : tuple of int
        ``(x_low, x_high, y_low, y_high)``, the upper ends exclusive.
    """
    x_extent = np.hypot(a * np.cos(theta), b * np.sin(theta))
    y_extent = np.hypot(a * np.sin(theta), b * np.cos(theta))
    x_low = int(np.floor(x - x_extent + 0.5))
    x_high = int(np.floor(x + x_extent + 0.5)) + 1
    y_low = int(np.floor(y - y_extent + 0.5))
    y_high = int(np.floor(y + y_extent + 0.5)) + 1
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
    near = _within(plane, np.asarray(apertures['x']),
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
        flags[row] = _pixel_flags(plane, here, inner)
        inner = inner * plane.valid[here]
        squares = inner**2
        values = plane.values[here] - background[row]
        sums['area'][row] = inner.sum()
        sums['flux'][row] = np.sum(inner * values)
        sums['signal'][row] = np.sum(squares * values)
        if plane.sigma is None:
            sums['variance'][row] = squares.sum() * sigma[row]**2
        else:
            sums['variance'][row] = np.sum(squares * plane.variance(here))
    sums['flag'] = flags
    return sums


def _pixel_flags(plane, here, weights):
    """
    Flags of the pixels in an aperture.
    """
    inside = weights > 0
    flag = 0
    bad = inside & ~plane.valid[here]
    if bad.any():
        finite = np.isfinite(plane.original[here])
        if np.any(bad & finite):
            flag |= ApertureFlag.MASKED
        if np.any(bad & ~finite):
            flag |= ApertureFlag.NON_FINITE
    if (plane.saturation < np.inf
            and np.any(plane.original[here][inside] >= plane.saturation)):
        flag |= ApertureFlag.SATURATED
    if plane.saturated is not None and np.any(plane.saturated[here][inside]):
        flag |= ApertureFlag.SATURATED
    return flag


def check_annulus(r_in, r_out, sigma_clip):
    """
    Raise ValueError or TypeError unless the annulus makes sense.
    """
    if not 0 <= r_in < r_out < np.inf:
        msg = ('r_in and r_out must be 0 <= r_in < r_out, got '
               f'r_in={r_in!r}, r_out={r_out!r}')
        raise ValueError(msg)
    if sigma_clip is not None and not isinstance(sigma_clip, SigmaClip):
        msg = ('sigma_clip must be a SigmaClip or None, got '
               f'{sigma_clip!r}')
        raise TypeError(msg)


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
        and ``aperture_x``, ``aperture_y`` (pixels, 0 is the centre of the
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
        as in photutils; -1 reads the angles of the PAUS catalogue.

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
        and row are named), or another argument makes no sense.

    TypeError
        If data or catalog are of an unknown kind.

    Notes
    -----
    The variance of the flux is

    .. math:: \sum w^2\sigma^2 + A^2 s^2 / N + \sum w^2 (d - \bar b) / g,

    the noise of the pixels, the error of the background mean (``s`` the
    standard deviation in the annulus before clipping, which for a normal
    distribution and ``SigmaClip(3)`` is ``annulus_sigma / 0.985``) and,
    for a ``gain``, the photon noise of the source. The pixels' noise is
    taken as independent, which that of a denoised frame is not: errors of
    denoised fluxes come from
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
    plane = open_plane(data, error=error, gain=gain, mask=mask, wcs=wcs,
                       saturation=saturation)
    apertures = aperture_table(catalog, wcs=plane.wcs, theta_sign=theta_sign)
    return measure(plane, apertures, r_in, r_out, sigma_clip)


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
