# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Calibration diagnostics for posterior samples.
"""

import numpy as np
from astropy.table import QTable

from ..frames.provenance import table_meta
from .checks import finite_array

__all__ = ['expected_coverage', 'rank_statistics', 'tarp_coverage']


def _check(samples, truth):
    """Return samples and truth as arrays of the right shapes."""
    samples = finite_array(samples, 'samples')
    truth = finite_array(truth, 'truth')
    if samples.ndim != 3 or truth.shape != samples.shape[::2]:
        msg = (f'samples must be of shape (n, n_samples, k) and truth of '
               f'shape (n, k), got {samples.shape} and {truth.shape}')
        raise ValueError(msg)
    return samples, truth


def _names(names, k, *taken):
    """Return the names of k parameters, which are to be columns."""
    if names is None:
        return [f'parameter_{index}' for index in range(k)]
    names = list(names)
    if len(names) != k or len({*names, *taken}) < k + len(taken):
        other = f' that are not {" or ".join(taken)}' if taken else ''
        msg = f'names must be {k} different names{other}, got {names!r}'
        raise ValueError(msg)
    return names


def _ranks(samples, truth, rng):
    """Return ranks of the truth, drawn among those possible."""
    below = (samples < truth[:, None]).sum(1)
    ties = (samples == truth[:, None]).sum(1)
    return below + rng.integers(0, ties, endpoint=True)


def rank_statistics(samples, truth, *, names=None, seed=0):
    """
    Rank the truth among the posterior samples.

    Over many simulated images drawn from the prior the ranks of exact
    posteriors are uniform (simulation-based calibration,
    arXiv:1804.06788): a valley means overconfidence, a hill the
    opposite, a slope a bias.

    Parameters
    ----------
    samples : 3D `~numpy.ndarray`
        Shape (n, n_samples, k): samples of k parameters for n images.

    truth : 2D `~numpy.ndarray`
        Shape (n, k).

    names : sequence of str, optional
        Names of the parameters; `None` numbers them.

    seed : int, optional
        Random seed for ties, which integer parameters have: the rank is
        drawn among the possible ones.

    Returns
    -------
    ranks : `~astropy.table.QTable`
        A row per image and a column per parameter: the rank, 0 to
        n_samples. ``ranks.meta`` holds ``n_images`` and ``n_samples``, and
        ``version`` and ``date`` as all tables of the package.

    Raises
    ------
    ValueError
        If the shapes do not belong together, a number is masked or not
        finite, or names are not one for each parameter.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.evaluation import rank_statistics
    >>> samples = np.arange(10.0).reshape(1, 10, 1)
    >>> ranks = rank_statistics(samples, [[3.5]], names=['x'])
    >>> print(ranks['x'][0], 'of', ranks.meta['n_samples'])
    4 of 10
    """
    samples, truth = _check(samples, truth)
    n, n_samples, k = samples.shape
    names = _names(names, k)
    ranks = _ranks(samples, truth, np.random.default_rng(seed))
    return QTable(ranks, names=names, meta={
        **table_meta(), 'n_images': n, 'n_samples': n_samples})


def expected_coverage(samples, truth, *, names=None, levels=None, seed=0):
    """
    Compute the coverage of central credible intervals.

    An interval of 68 per cent of the posterior should hold the truth in 68
    per cent of the images.

    Parameters
    ----------
    samples : 3D `~numpy.ndarray`
        Shape (n, n_samples, k): samples of k parameters for n images.

    truth : 2D `~numpy.ndarray`
        Shape (n, k).

    names : sequence of str, optional
        Names of the parameters; `None` numbers them.

    levels : 1D `~numpy.ndarray`, optional
        Probabilities of the intervals; `None` takes 0.05 to 0.95, and
        0.68.

    seed : int, optional
        Random seed for ties, see `rank_statistics`.

    Returns
    -------
    table : `~astropy.table.QTable`
        A row per ``level``, and a column per parameter: the fraction of
        images whose interval holds the truth. ``error`` is the standard
        deviation expected from the number of images. ``table.meta`` holds
        ``n_images`` and ``n_samples``, and ``version`` and ``date`` as all
        tables of the package.

    Raises
    ------
    ValueError
        If the shapes do not belong together, a number is masked or not
        finite, names are not one for each parameter, or a level is not
        between 0 and 1.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.evaluation import expected_coverage
    >>> rng = np.random.default_rng(1)
    >>> samples = rng.normal(size=(3000, 200, 1))
    >>> table = expected_coverage(samples, rng.normal(size=(3000, 1)),
    ...                           names=['x'], levels=[0.68])
    >>> print(f'{table["x"][0]:.2f}')
    0.68
    """
    samples, truth = _check(samples, truth)
    n, n_samples, k = samples.shape
    names = _names(names, k, 'level', 'error')
    levels = np.sort(np.append(np.linspace(0.05, 0.95, 19), 0.68)
                     if levels is None
                     else finite_array(levels, 'levels').astype(float))
    if not 0 <= levels[0] <= levels[-1] <= 1:
        msg = (f'levels must lie between 0 and 1, got {levels[0]:g} to '
               f'{levels[-1]:g}')
        raise ValueError(msg)
    # The smallest central interval that holds the truth; between samples,
    # whose number is finite, drawn at random.
    rng = np.random.default_rng(seed)
    ranks = _ranks(samples, truth, rng)
    position = (ranks + rng.uniform(size=ranks.shape)) / (n_samples + 1)
    smallest = np.abs(2.0 * position - 1.0)
    table = QTable({'level': levels}, meta={
        **table_meta(), 'n_images': n, 'n_samples': n_samples})
    for index, name in enumerate(names):
        table[name] = (smallest[:, index] <= levels[:, None]).mean(1)
    table['error'] = np.sqrt(levels * (1.0 - levels) / n)
    return table


def tarp_coverage(samples, truth, *, bounds=None, n_levels=51, n_repeats=1,
                  seed=0):
    """
    Compute the expected coverage of the joint posterior (TARP).

    For a reference point drawn at random, the credible region is the
    ball around it that holds a given fraction of the samples. It holds
    the truth as often for every reference exactly if the posterior is
    right (Lemos et al. 2023, arXiv:2302.03026).

    Parameters
    ----------
    samples : 3D `~numpy.ndarray`
        Shape (n, n_samples, k): samples of k parameters for n images.

    truth : 2D `~numpy.ndarray`
        Shape (n, k).

    bounds : tuple of 1D `~numpy.ndarray`, optional
        Lower and upper ends of the priors; distances are in units of
        their differences, references uniform between them. `None` takes
        the range of the truth.

    n_levels : int, optional
        Credibility levels, from 0 to 1.

    n_repeats : int, optional
        References per image, over which the coverage is averaged.

    seed : int, optional
        Random seed for the references.

    Returns
    -------
    table : `~astropy.table.QTable`
        ``level``, ``coverage``, and ``error``, its standard deviation
        by bootstrap over the images. ``table.meta['deviation']`` is the
        largest difference of coverage and level; the meta holds
        ``n_images``, ``n_samples`` and ``n_repeats`` too, and ``version``
        and ``date`` as all tables of the package.

    Raises
    ------
    ValueError
        If the shapes do not belong together, a number is masked or not
        finite, or an upper end of ``bounds`` is not above the lower one.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.evaluation import tarp_coverage
    >>> rng = np.random.default_rng(1)
    >>> mean = rng.uniform(size=(2000, 1, 2))
    >>> samples = mean + rng.normal(0, 0.1, size=(2000, 100, 2))
    >>> truth = mean[:, 0] + rng.normal(0, 0.1, size=(2000, 2))
    >>> print(tarp_coverage(samples, truth).meta['deviation'] < 0.03)
    True
    """
    samples, truth = _check(samples, truth)
    n, n_samples, k = samples.shape
    if bounds is None:
        lower, upper = truth.min(0), truth.max(0)
        # What is the same in all images has no scale of its own.
        width = np.where(upper > lower, upper - lower, 1.0)
    else:
        lower, upper = (finite_array(ends, 'bounds') for ends in bounds)
        if not lower.shape == upper.shape == (k,) or (upper <= lower).any():
            msg = (f'bounds must be lower and upper ends of {k} parameters, '
                   f'got {lower} and {upper}')
            raise ValueError(msg)
        width = upper - lower
    rng = np.random.default_rng(seed)
    truth = (truth - lower) / width
    fraction = np.empty((n, n_repeats))
    for image in range(n):
        scaled = (samples[image] - lower) / width
        reference = rng.uniform(size=(n_repeats, 1, k))
        inside = (np.sum((scaled - reference)**2, -1)
                  < np.sum((truth[image] - reference)**2, -1))
        # Between samples at random, as for the ranks.
        fraction[image] = ((inside.sum(1) + rng.uniform(size=n_repeats))
                           / (n_samples + 1))
    levels = np.linspace(0.0, 1.0, n_levels)
    covered = (fraction[:, :, None] <= levels).mean(1)
    weights = rng.multinomial(n, np.full(n, 1.0 / n), size=100) / n
    table = QTable({'level': levels, 'coverage': covered.mean(0),
                    'error': (weights @ covered).std(0)})
    table.meta.update(
        table_meta(), n_images=n, n_samples=n_samples, n_repeats=n_repeats,
        deviation=float(np.abs(table['coverage'] - levels).max()))
    return table
