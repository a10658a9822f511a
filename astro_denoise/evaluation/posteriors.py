# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Whether posteriors mean what they say.
"""

import numpy as np
from astropy.table import QTable

__all__ = ['expected_coverage', 'rank_statistics', 'tarp_coverage']


def _check(samples, truth):
    samples, truth = np.asarray(samples), np.asarray(truth)
    if samples.ndim != 3 or truth.shape != samples.shape[::2]:
        msg = (f'samples must be of shape (n, n_samples, k) and truth of '
               f'shape (n, k), got {samples.shape} and {truth.shape}')
        raise ValueError(msg)
    for name, values in (('samples', samples), ('truth', truth)):
        if not np.isfinite(values).all():
            msg = f'{name} must be finite'
            raise ValueError(msg)
    return samples, truth


def rank_statistics(samples, truth, *, seed=0):
    """
    Rank of the truth among the posterior samples.

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

    seed : int, optional
        For ties, which integer parameters have: the rank is drawn among
        the possible ones.

    Returns
    -------
    ranks : 2D `~numpy.ndarray` of int
        Shape (n, k), 0 to n_samples.

    Raises
    ------
    ValueError
        If the shapes do not belong together, or a number is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.evaluation import rank_statistics
    >>> samples = np.arange(10.0).reshape(1, 10, 1)
    >>> print(rank_statistics(samples, [[3.5]]))
    [[4]]
    """
    samples, truth = _check(samples, truth)
    below = (samples < truth[:, None]).sum(1)
    ties = (samples == truth[:, None]).sum(1)
    return below + np.random.default_rng(seed).integers(
        0, ties, endpoint=True)


def expected_coverage(samples, truth, *, names=None, levels=None, seed=0):
    """
    How often central credible intervals hold the truth.

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
        For ties, see `rank_statistics`.

    Returns
    -------
    table : `~astropy.table.QTable`
        A row per ``level``, and a column per parameter: the fraction of
        images whose interval holds the truth. ``error`` is the standard
        deviation expected from the number of images.

    Raises
    ------
    ValueError
        If the shapes do not belong together, or a number is not finite.

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
    names = ([f'parameter_{index}' for index in range(k)] if names is None
             else list(names))
    if len(names) != k:
        msg = f'names must be {k}, got {names!r}'
        raise ValueError(msg)
    levels = np.sort(np.append(np.linspace(0.05, 0.95, 19), 0.68)
                     if levels is None else np.asarray(levels, float))
    # The smallest central interval that holds the truth; between samples,
    # whose number is finite, drawn at random.
    rng = np.random.default_rng(seed)
    ranks = rank_statistics(samples, truth, seed=rng)
    position = (ranks + rng.uniform(size=ranks.shape)) / (n_samples + 1)
    smallest = np.abs(2.0 * position - 1.0)
    table = QTable({'level': levels})
    for index, name in enumerate(names):
        table[name] = (smallest[:, index] <= levels[:, None]).mean(1)
    table['error'] = np.sqrt(levels * (1.0 - levels) / n)
    return table


def tarp_coverage(samples, truth, *, bounds=None, n_levels=51, n_repeats=1,
                  seed=0):
    """
    Expected coverage of the joint posterior (TARP).

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
        Of the references.

    Returns
    -------
    table : `~astropy.table.QTable`
        ``level``, ``coverage``, and ``error``, its standard deviation
        by bootstrap over the images. ``table.meta['deviation']`` is the
        largest difference of coverage and level.

    Raises
    ------
    ValueError
        If the shapes do not belong together, or a number is not finite.

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
    lower, upper = ((truth.min(0), truth.max(0)) if bounds is None
                    else map(np.asarray, bounds))
    width = np.where(upper > lower, upper - lower, 1.0)
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
    table.meta['deviation'] = float(
        np.abs(table['coverage'] - levels).max())
    return table
