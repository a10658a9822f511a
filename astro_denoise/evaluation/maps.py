# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Scores of maps of the probability of a point source in each pixel.

There are two ways to compare such a map with the truth.

*Approach A*, all sources: the true mask holds every pixel with flux, the
predicted mask every pixel above the cut value.

*Approach B*, the N brightest: both masks hold N pixels of the image, the
true one those with the largest flux, the predicted one those with the
highest score. N is either the number of pixels above the cut value, and so
another one for each image, or a fixed number, which makes different maps
comparable.

Accuracy is the fraction of the pixels of an image in which both masks
agree. The area under the curve (AUC) and the average precision compare
the map itself, without a cut, with the true mask.
"""

from dataclasses import dataclass

import numpy as np
from astropy.table import QTable
from scipy.stats import rankdata

from ..frames.provenance import table_meta
from .checks import finite_array

__all__ = ['SegmentationScores', 'average_precision', 'brightest_pixels',
           'reliability', 'roc_auc', 'scan_thresholds',
           'score_segmentation']


def _numbers(values, name):
    """Return floats: unsigned numbers have no negative to sort by."""
    values = finite_array(values, name)
    return values if values.dtype.kind == 'f' else values.astype(float)


def _pair(score, truth, name='score'):
    """Return a flat score and boolean truth, checked."""
    score, truth = _numbers(score, name), finite_array(truth, 'truth')
    if score.shape != truth.shape:
        msg = (f'{name} and truth must have one shape, got {score.shape} '
               f'and {truth.shape}')
        raise ValueError(msg)
    return score.ravel(), truth.ravel().astype(bool)


def roc_auc(score, truth):
    """
    Compute the area under the receiver operating characteristic (AUC).

    It is the probability that a random true pixel has a higher score than a
    random other one, ties counting half (Mann-Whitney U).

    Parameters
    ----------
    score : `~numpy.ndarray`
        Higher where a source is more likely; any scale, any shape.

    truth : `~numpy.ndarray` of bool
        Same shape.

    Returns
    -------
    auc : float
        0.5 for a score that knows nothing, 1 for a perfect one; NaN if
        all of the truth is the same.

    Raises
    ------
    ValueError
        If the shapes differ, or a value is masked or not finite.

    Examples
    --------
    >>> from astro_denoise.evaluation import roc_auc
    >>> print(roc_auc([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1]))
    0.75
    """
    score, truth = _pair(score, truth)
    n_true = int(truth.sum())
    n_false = truth.size - n_true
    if not n_true or not n_false:
        return np.nan
    ranks = rankdata(score)[truth].sum()
    return float((ranks - 0.5 * n_true * (n_true + 1)) / n_true / n_false)


def average_precision(score, truth):
    """
    Compute the mean precision (purity) over the recall (completeness).

    It is the sum of the precision at each distinct score, weighted by the
    recall gained there, without interpolation.

    Parameters
    ----------
    score : `~numpy.ndarray`
        Higher where a source is more likely; any scale, any shape.

    truth : `~numpy.ndarray` of bool
        Same shape.

    Returns
    -------
    precision : float
        The fraction of true pixels for a score that knows nothing, 1
        for a perfect one; NaN if nothing is true.

    Raises
    ------
    ValueError
        If the shapes differ, or a value is masked or not finite.

    Examples
    --------
    >>> from astro_denoise.evaluation import average_precision
    >>> print(average_precision([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1]))
    0.8333333333333333
    """
    score, truth = _pair(score, truth)
    order = np.argsort(-score, kind='stable')
    score, truth = score[order], truth[order]
    last = np.append(np.flatnonzero(np.diff(score)), score.size - 1)
    found = np.cumsum(truth)[last]
    if not found[-1]:
        return np.nan
    gained = np.diff(found, prepend=0) / found[-1]
    return float(np.sum(gained * found / (last + 1)))


def brightest_pixels(values, n):
    """
    Select the N pixels of each image with the highest positive values.

    Parameters
    ----------
    values : `~numpy.ndarray`
        Shape (..., ny, nx).

    n : int or `~numpy.ndarray` of int
        How many, for all images or for each.

    Returns
    -------
    mask : `~numpy.ndarray` of bool
        Same shape; fewer pixels than N where fewer are positive, which
        NaN is not. Among equal values the first count.

    Examples
    --------
    >>> from astro_denoise.evaluation import brightest_pixels
    >>> print(brightest_pixels([[0.0, 3.0], [2.0, 1.0]], 2))
    [[False  True]
     [ True False]]
    """
    values = np.asarray(values, float)
    flat = values.reshape(-1, values.shape[-2] * values.shape[-1])
    order = np.argsort(-flat, axis=1, kind='stable')
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(flat.shape[1])[None], 1)
    n = np.broadcast_to(np.asarray(n), values.shape[:-2]).reshape(-1, 1)
    return ((ranks < n) & (flat > 0)).reshape(values.shape)


@dataclass
class SegmentationScores:
    """
    Scores of a stack of maps, see `score_segmentation`.

    Parameters
    ----------
    table : `~astropy.table.QTable`
        A row per image: ``accuracy``, ``auc``, ``average_precision``,
        ``brier`` (mean squared difference of score and truth; lower is
        better; it only means something for probabilities), ``n_true`` and
        ``n_predicted``. ``auc`` and ``average_precision`` of an image in
        which they are not defined are NaN.

    pooled : `~astropy.table.QTable`
        The same in one row, over the pixels of all images together.

    Notes
    -----
    The ``meta`` of both tables holds what was scored: ``n_images``,
    ``shape`` of an image, ``approach``, ``threshold`` and
    ``n_brightest``; and ``version`` and ``date`` as all tables of the
    package.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.evaluation import score_segmentation
    >>> flux = np.zeros((1, 8, 8))
    >>> flux[0, 2, 2] = 5.0
    >>> scores = score_segmentation(flux, flux, threshold=0.5)
    >>> print(scores.table.meta['approach'], scores.pooled['accuracy'][0])
    A 1.0
    """

    table: QTable
    pooled: QTable

    def __str__(self):
        meta = self.table.meta
        lines = [(f'approach {meta["approach"]}, cut {meta["threshold"]:g}, '
                  f'{len(self.table)} image{"s"[:len(self.table) != 1]}')]
        for name in ('accuracy', 'auc', 'average_precision'):
            column = np.asarray(self.table[name])
            column = column[np.isfinite(column)]
            spread = (f'{column.mean():.4f} ± {column.std():.4f}'
                      if column.size else 'not defined')
            lines.append(f'{name:18s} {spread} over images, '
                         f'{self.pooled[name][0]:.4f} over pixels')
        lines.append(f'{"brier":18s} {self.pooled["brier"][0]:.4f}')
        return '\n'.join(lines)


def _stack(score, flux):
    """Return score and flux as stacks of images, checked."""
    score, flux = _numbers(score, 'score'), _numbers(flux, 'flux')
    if score.shape != flux.shape or score.ndim not in (2, 3):
        msg = (f'score and flux must be images or stacks of images of one '
               f'shape, got {score.shape} and {flux.shape}')
        raise ValueError(msg)
    shape = (-1, *score.shape[-2:])
    return score.reshape(shape), flux.reshape(shape)


def _masks(score, flux, approach, threshold, n_brightest):
    """Return the true and the predicted masks of an approach."""
    if approach == 'A':
        if n_brightest is not None:
            msg = "n_brightest belongs to approach 'B'"
            raise ValueError(msg)
        return flux > 0, score > threshold
    if approach != 'B':
        msg = f"approach must be 'A' or 'B', got {approach!r}"
        raise ValueError(msg)
    if n_brightest is None:
        predicted = score > threshold
        return brightest_pixels(flux, predicted.sum((1, 2))), predicted
    shifted = score - score.min() + 1.0  # any score, all positive
    return (brightest_pixels(flux, n_brightest),
            brightest_pixels(shifted, n_brightest))


def score_segmentation(score, flux, *, approach='A', threshold=0.02,
                       n_brightest=None):
    """
    Compare maps of point sources with the truth.

    Parameters
    ----------
    score : `~numpy.ndarray`
        Probabilities or another score, shape (n, ny, nx) or (ny, nx).

    flux : `~numpy.ndarray`
        True flux of the point sources in each pixel, same shape.

    approach : {'A', 'B'}, optional
        ``'A'``: true is every pixel with flux, predicted every pixel
        above the threshold. ``'B'``: true are the N pixels of an image
        with the largest flux, predicted the N with the highest score.

    threshold : float, optional
        The cut value.

    n_brightest : int, optional
        N of approach B. `None` takes the number of pixels above the
        threshold in each image.

    Returns
    -------
    scores : `SegmentationScores`
        Tables of accuracy, AUC, average precision and Brier score, per
        image and over all pixels.

    Raises
    ------
    ValueError
        If the shapes differ, a value is masked or not finite, or there is
        no such approach.

    Examples
    --------
    >>> from astro_denoise.evaluation import score_segmentation
    >>> from astro_denoise.simulation import GalacticCenterSimulator
    >>> simulator = GalacticCenterSimulator('legacy')
    >>> images, _, sources = simulator.sample(20, seed=1)
    >>> scores = score_segmentation(images, sources['gc'] + sources['disk'],
    ...                             approach='B', n_brightest=250)
    >>> print(scores.pooled['auc'][0] > 0.94)  # of the bare counts
    True
    """
    score, flux = _stack(score, flux)
    truth, predicted = _masks(score, flux, approach, threshold, n_brightest)
    meta = {**table_meta(), 'n_images': len(score),
            'shape': list(score.shape[1:]), 'approach': approach,
            'threshold': threshold, 'n_brightest': n_brightest}
    rows = [_scores_of(*image)
            for image in zip(score, truth, predicted, strict=True)]
    pooled = [_scores_of(score, truth, predicted)]
    return SegmentationScores(QTable(rows=rows, meta=meta),
                              QTable(rows=pooled, meta=meta))


def _scores_of(score, truth, predicted):
    """Return the row of an image, or of all together."""
    return {'accuracy': np.mean(truth == predicted),
            'auc': roc_auc(score, truth),
            'average_precision': average_precision(score, truth),
            'brier': np.mean((score - truth)**2),
            'n_true': truth.sum(), 'n_predicted': predicted.sum()}


def scan_thresholds(score, flux, thresholds=None):
    """
    Score the masks that a range of cut values gives.

    Parameters
    ----------
    score : `~numpy.ndarray`
        Probabilities or another score, shape (n, ny, nx) or (ny, nx).

    flux : `~numpy.ndarray`
        True flux of the point sources in each pixel, same shape.

    thresholds : 1D `~numpy.ndarray`, optional
        Cut values; `None` takes 50 quantiles of the score.

    Returns
    -------
    table : `~astropy.table.QTable`
        A row per ``threshold``: ``predicted``, the fraction of pixels
        above it; the accuracies of approach A and B, ``accuracy_a`` and
        ``accuracy_b``; and for approach A ``completeness``, ``purity``
        and ``f1``, their harmonic mean. A fraction of nothing, as the
        purity where no pixel is above the threshold, is NaN. The
        threshold of the best F1 is ``table.meta['best_f1']`` (NaN if no F1
        is defined), that of the best accuracy
        ``table.meta['best_accuracy']``; the meta holds ``n_images`` and
        ``shape`` of an image too, and ``version`` and ``date`` as all
        tables of the package.

    Raises
    ------
    ValueError
        If the shapes differ, or a value is masked or not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.evaluation import scan_thresholds
    >>> score = np.array([[0.1, 0.2], [0.6, 0.7]])
    >>> table = scan_thresholds(score, [[0, 0], [1, 2]], [0.15, 0.5])
    >>> print(table['purity'])
            purity
    ------------------
    0.6666666666666666
                   1.0
    """
    score, flux = _stack(score, flux)
    if thresholds is None:
        # A score that is one number everywhere has one threshold.
        thresholds = np.unique(np.quantile(score, np.linspace(0, 0.999, 50)))
    truth = flux > 0
    ranks = np.argsort(np.argsort(-flux.reshape(len(flux), -1), axis=1,
                                  kind='stable'), axis=1)
    ranks = ranks.reshape(flux.shape)
    rows = []
    for threshold in _numbers(thresholds, 'thresholds'):
        predicted = score > threshold
        n = predicted.sum((1, 2))[:, None, None]
        right = int((predicted & truth).sum())
        n_true, n_predicted = int(truth.sum()), int(predicted.sum())
        rows.append({
            'threshold': threshold, 'predicted': predicted.mean(),
            'accuracy_a': (predicted == truth).mean(),
            'accuracy_b': (predicted == ((ranks < n) & truth)).mean(),
            'completeness': right / n_true if n_true else np.nan,
            'purity': right / n_predicted if n_predicted else np.nan,
            'f1': (2 * right / (n_true + n_predicted)
                   if n_true + n_predicted else np.nan)})
    table = QTable(rows=rows)
    table.meta.update(table_meta(), n_images=len(score),
                      shape=list(score.shape[1:]))
    for key, column in (('best_f1', 'f1'), ('best_accuracy', 'accuracy_a')):
        known = table[np.isfinite(table[column])]
        table.meta[key] = (float(known['threshold'][known[column].argmax()])
                           if len(known) else np.nan)
    return table


def reliability(probability, truth, *, n_bins=15):
    """
    Compute a reliability diagram.

    If probabilities are calibrated, a source is there in as many of the
    pixels as their probability says.

    Parameters
    ----------
    probability : `~numpy.ndarray`
        Probabilities between 0 and 1, of any shape.

    truth : `~numpy.ndarray` of bool
        Same shape.

    n_bins : int, optional
        Bins of equal width.

    Returns
    -------
    table : `~astropy.table.QTable`
        A row per bin that is not empty: ``n``, the mean ``probability``,
        the ``fraction`` that was true, and ``error``, its binomial
        standard deviation. ``table.meta['calibration_error']`` is the
        mean of the difference of both over all pixels; the meta holds
        ``n_pixels`` and ``n_bins`` too, and ``version`` and ``date`` as
        all tables of the package.

    Raises
    ------
    ValueError
        If the shapes differ, a value is masked or not finite, or the
        probabilities are not between 0 and 1.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.evaluation import reliability
    >>> rng = np.random.default_rng(1)
    >>> probability = rng.uniform(size=10000)
    >>> table = reliability(probability, rng.uniform(size=10000)
    ...                     < probability, n_bins=5)
    >>> print(table.meta['calibration_error'] < 0.02)
    True
    """
    probability, truth = _pair(probability, truth, 'probability')
    if not 0 <= probability.min() <= probability.max() <= 1:
        msg = (f'probability must lie between 0 and 1, got '
               f'{probability.min():g} to {probability.max():g}')
        raise ValueError(msg)
    bins = np.minimum((probability * n_bins).astype(int), n_bins - 1)
    n = np.bincount(bins, minlength=n_bins)
    filled = n > 0
    mean = np.bincount(bins, probability, n_bins)[filled] / n[filled]
    fraction = np.bincount(bins, truth, n_bins)[filled] / n[filled]
    table = QTable({
        'n': n[filled], 'probability': mean, 'fraction': fraction,
        'error': np.sqrt(fraction * (1.0 - fraction) / n[filled])})
    table.meta.update(
        table_meta(), n_pixels=probability.size, n_bins=n_bins,
        calibration_error=float(
            np.sum(n[filled] * np.abs(mean - fraction)) / n.sum()))
    return table
