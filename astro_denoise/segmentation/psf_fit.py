# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Fit point sources in images of counts: position, flux and their errors.
"""

from dataclasses import dataclass

import numpy as np

__all__ = ['SourceFit', 'fit_source', 'refine_sources']

# Standard deviation of the point-spread function of the models in pixels,
# and the relative error with which it is known.
_WIDTH, _WIDTH_ERROR = 0.8 / 3.0 / 0.46875, 0.25

# Pixels around the highest one that are fitted, rounds of the fit, and
# the pixel farthest from where it began that a source may end in.
_REACH, _N_ROUNDS, _FARTHEST = 2, 12, 1.2

# Signal-to-noise ratio of the flux from which a source is fitted, and
# standard deviations by which chi squared may exceed its mean.
_BRIGHT, _LARGEST_CHI2 = 6.0, 3.0

# Pixels within which others are parts of the same source.
_SAME = 1.6


@dataclass
class SourceFit:
    """
    A source as it was fitted.

    Attributes
    ----------
    values : 1D `~numpy.ndarray`
        Flux, x, y, background per pixel and width of the point-spread
        function.

    errors : 1D `~numpy.ndarray`
        Their standard deviations.

    chi2 : float
        Chi squared over its mean, in its standard deviations.
    """

    values: np.ndarray
    errors: np.ndarray
    chi2: float


def _model(values, x, y):
    """Compute the model and its derivatives, shape (5, n)."""
    flux, x0, y0, _, width = values
    dx, dy = x - x0, y - y0
    shape = np.exp(-0.5 * (dx**2 + dy**2) / width**2) / (
        2.0 * np.pi * width**2)
    light = flux * shape
    return values[3] + light, np.stack([
        shape, light * dx / width**2, light * dy / width**2,
        np.ones_like(x), light * ((dx**2 + dy**2) / width**3 - 2.0 / width)])


def fit_source(counts, row, column):
    """
    Fit a point source on a constant background.

    Parameters
    ----------
    counts : 2D `~numpy.ndarray`
        Counts.

    row, column : int
        Its highest pixel, two pixels or more from the edge.

    Returns
    -------
    fit : `SourceFit` or `None`
        `None` if there is no such source near that pixel.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.segmentation.psf_fit import fit_source
    >>> from astro_denoise.simulation import GalacticCenterSimulator
    >>> light = GalacticCenterSimulator().expected_light([0.1], [0.3],
    ...                                                  [1000.0])
    >>> counts = np.random.default_rng(1).poisson(light + 15.0)
    >>> fit = fit_source(counts, 32, 32)
    >>> print(f'{abs(fit.values[0] - 1000) / fit.errors[0] < 3}')
    True
    """
    window = tuple(slice(center - _REACH, center + _REACH + 1)
                   for center in (row, column))
    data = np.asarray(counts[window], float).ravel()
    y, x = (plane.ravel().astype(float)
            for plane in np.mgrid[window])
    background = np.quantile(data, 0.3)
    values = np.array([max(float((data - background).sum()), 1.0), column,
                       row, max(background, 0.1), _WIDTH])
    prior = np.diag([0.0, 0.0, 0.0, 0.0, (_WIDTH * _WIDTH_ERROR)**-2])
    for _ in range(_N_ROUNDS):
        expected, slopes = _model(values, x, y)
        # Pearson's chi squared with the variance of the model: with it
        # renewed in each round, the result is that of the likelihood.
        weights = 1.0 / np.maximum(expected, 0.5)
        matrix = slopes * weights @ slopes.T + prior
        pull = slopes @ (weights * (data - expected))
        pull[4] -= prior[4, 4] * (values[4] - _WIDTH)
        try:
            step = np.linalg.solve(matrix, pull)
        except np.linalg.LinAlgError:
            return None
        step[1:3] = np.clip(step[1:3], -0.4, 0.4)
        step[4] = np.clip(step[4], -0.1, 0.1)
        values = values + step
        values[3] = max(values[3], 0.05)
        values[4] = np.clip(values[4], 0.35, 1.2)
    if not np.isfinite(values).all() or values[0] <= 0 or np.hypot(
            values[1] - column, values[2] - row) > _FARTHEST:
        return None
    expected, slopes = _model(values, x, y)
    weights = 1.0 / np.maximum(expected, 0.5)
    errors = np.sqrt(np.diag(np.linalg.inv(slopes * weights @ slopes.T
                                           + prior)))
    free = len(data) - 4
    chi2 = float((weights * (data - expected)**2).sum())
    return SourceFit(values, errors, (chi2 - free) / (2.0 * free)**0.5)


def refine_sources(catalog, labels, peaks, counts, valid):
    """
    Fit the bright sources of a catalog, and join what is one source.

    A source between pixels has light in several, each of which may be
    taken for a source of its own. Where one point source on a constant
    background explains the counts, they become one entry.

    Parameters
    ----------
    catalog : `~astropy.table.QTable`
        Of `~astro_denoise.segmentation.catalog.measure_sources`, with
        ``snr``.

    labels : 2D `~numpy.ndarray`
        Number of the source of each pixel.

    peaks : 1D `~numpy.ndarray`
        Index of the highest pixel of each source in the flattened image.

    counts : 2D `~numpy.ndarray`
        The image.

    valid : 2D bool `~numpy.ndarray`
        Pixels that count.

    Returns
    -------
    catalog : `~astropy.table.QTable`
        With errors of the positions in pixels, ``x_centroid_error`` and
        ``y_centroid_error``. Labels are numbered anew.

    labels : 2D `~numpy.ndarray`
        Likewise.
    """
    catalog = catalog.copy()
    snr = np.asarray(catalog['snr'], float)
    # Anywhere in a pixel, if the light does not tell.
    error = np.minimum(12**-0.5, _WIDTH / np.maximum(snr, 1.0))
    for name in ('x_centroid_error', 'y_centroid_error'):
        catalog[name] = error.copy()
    rows, columns = np.divmod(peaks, labels.shape[1])
    height = counts[rows, columns] if len(peaks) else np.zeros(0)
    owner = np.arange(len(catalog))
    for index in np.argsort(-height, kind='stable'):
        row, column = rows[index], columns[index]
        inside = (_REACH <= row < labels.shape[0] - _REACH
                  and _REACH <= column < labels.shape[1] - _REACH)
        if owner[index] != index or not inside or not valid[
                row - _REACH:row + _REACH + 1,
                column - _REACH:column + _REACH + 1].all():
            continue
        fit = fit_source(counts, row, column)
        if fit is None or fit.chi2 > _LARGEST_CHI2 or (
                fit.values[0] < _BRIGHT * fit.errors[0]):
            continue
        _write(catalog, index, fit)
        near = (np.hypot(columns - fit.values[1], rows - fit.values[2])
                < _SAME) & (owner == np.arange(len(catalog)))
        owner[near] = index
    kept = owner == np.arange(len(catalog))
    number = np.concatenate([[0], np.cumsum(kept)[owner]])
    catalog['probability'] = _most(np.asarray(catalog['probability']), owner)
    catalog = catalog[kept]
    catalog['label'] = np.arange(1, len(catalog) + 1)
    return catalog, number[labels].astype(np.int32)


def _write(catalog, index, fit):
    """Write a fit into a row."""
    # The noise stays what it was.
    noise = catalog['flux'][index] / catalog['snr'][index]
    for name, number in (('flux', 0), ('x_centroid', 1), ('y_centroid', 2)):
        catalog[name][index] = fit.values[number]
        catalog[f'{name}_error'][index] = fit.errors[number]
    catalog['snr'][index] = fit.values[0] / noise


def _most(values, owner):
    """Take the largest value of all that have one owner."""
    most = values.copy()
    np.maximum.at(most, owner, values)
    return most
