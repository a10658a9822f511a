# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the figures of the evaluation.
"""

import numpy as np
import pytest
from astropy.table import Table
from matplotlib.figure import Figure
from numpy.testing import assert_allclose, assert_array_equal

from astro_denoise import evaluation as ev

RNG = np.random.default_rng(1)
SCORE = RNG.random((5, 8, 8))
FLUX = np.where(RNG.random((5, 8, 8)) < SCORE, 3.0, 0.0)


def drawn(figure):
    """
    The figure rendered, so that nothing fails late.
    """
    assert isinstance(figure, Figure)
    figure.canvas.draw()
    return figure


def drawn_axes(ax):
    """
    The axes, their figure rendered.
    """
    drawn(ax.figure)
    return ax


def test_auc_histogram():
    scores = [ev.score_segmentation(SCORE, FLUX),
              ev.score_segmentation(SCORE, FLUX, approach='B',
                                    n_brightest=5)]
    figure = drawn(ev.plot_auc_histogram(*scores))
    assert len(figure.axes) == 2
    auc = scores[0].table['auc']
    assert f'{auc.mean():.2f}' in figure.axes[0].get_title()
    assert sum(patch.get_height()
               for patch in figure.axes[0].patches) == len(auc)


def test_thresholds_and_reliability():
    scan = ev.scan_thresholds(SCORE, FLUX, [0.2, 0.5, 0.8])
    ax = drawn_axes(ev.plot_thresholds(scan))
    lines = {line.get_label(): line for line in ax.lines}
    assert_allclose(lines['F1'].get_ydata(), scan['f1'])
    table = ev.reliability(SCORE, FLUX > 0)
    figure = drawn(ev.plot_reliability(table))
    assert_allclose(figure.axes[1].lines[0].get_ydata(), table['n'])


def test_parameters():
    truth = {'a_dm': RNG.random(9), 'n_ps_gc': RNG.integers(200, 800, 9)}
    estimated = {'a_dm': truth['a_dm'] + 0.1, 'n_ps_gc': truth['n_ps_gc']}
    figure = drawn(ev.plot_parameters(estimated, truth,
                                      errors={'a_dm': np.full(9, 0.1)}))
    assert [axes.get_title() for axes in figure.axes] == [
        'a_dm: MAE 0.1000', 'n_ps_gc: MAE 0.0000']


def test_posteriors():
    samples, truth = RNG.random((40, 50, 2)), RNG.random((40, 2))
    ranks = ev.rank_statistics(samples, truth, names=['a', 'b'])
    figure = drawn(ev.plot_ranks(ranks))
    assert [ax.get_title() for ax in figure.axes] == ['a', 'b']
    assert sum(patch.get_height() for patch in figure.axes[0].patches
               if patch.get_width() < 0.1) == 40
    coverage = ev.expected_coverage(samples, truth, names=['a', 'b'])
    ax = drawn_axes(ev.plot_coverage(coverage))
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ['a', 'b']
    tarp = ev.tarp_coverage(samples, truth)
    ax = drawn_axes(ev.plot_tarp(tarp))
    assert f'{tarp.meta["deviation"]:.3f}' in ax.get_title()


def test_training_log():
    log = Table({'epoch': [1, 2, 3], 'train_mse': [3.0, 2.0, 1.0],
                 'validation_mse': [4.0, 2.5, 2.6],
                 'kept': [False, True, False]})
    ax = drawn_axes(ev.plot_training_log(log))
    assert ax.lines[-1].get_xdata()[0] == 2
    log['kept'] = False
    assert len(drawn_axes(ev.plot_training_log(log)).lines) == 2
    with pytest.raises(ValueError, match="no column 'train_accuracy'"):
        ev.plot_training_log(log, name='accuracy')


@pytest.mark.parametrize('n', [1, 4])
def test_image_panels(n):
    image = np.zeros((8, 8))
    image[5, 2] = 9.0
    figure = drawn(ev.plot_image_panels(
        image, image + 1, {f'number {index}': image for index in range(n)}))
    assert len(figure.axes) == n + 3
    assert figure.axes[-1].get_title() == 'row 5'
    assert_allclose(figure.axes[-1].lines[0].get_ydata(), image[5])


def test_image_panels_of_one():
    image = np.eye(8)
    figure = ev.plot_image_panels(image, image, image, row=3)
    assert [axes.get_title() for axes in figure.axes] == [
        'original', 'noisy', 'denoised', 'row 3']
    with pytest.raises(ValueError, match='one shape'):
        ev.plot_image_panels(image, image[:4], image)


def test_image_panels_with_bad_pixels():
    image = np.ma.masked_less(np.arange(64.0).reshape(8, 8), 10)
    noisy = np.where(image.mask, np.inf, image.data)
    figure = drawn(ev.plot_image_panels(image, noisy, image))
    for ax in figure.axes[:3]:
        assert_array_equal(ax.images[0].get_array().mask, image.mask)
    drawn(ev.plot_image_panels(0 * noisy.clip(0, 1), image, image))
    with pytest.raises(ValueError, match='original must have finite pixels'):
        ev.plot_image_panels(np.full((8, 8), np.nan), image, image)


def test_nothing_to_draw():
    """No image has an AUC, no bin is left: empty panels and no warning."""
    scores = ev.score_segmentation(SCORE, 0 * FLUX)
    figure = drawn(ev.plot_auc_histogram(scores))
    assert figure.axes[0].get_title() == 'approach A: not defined'
    drawn(ev.plot_reliability(ev.reliability(SCORE, FLUX > 0)[:0]))
    with pytest.raises(ValueError, match='scores must be at least one'):
        ev.plot_auc_histogram()


@pytest.mark.parametrize(('function', 'key', 'origin'), [
    (ev.plot_ranks, 'n_samples', 'rank_statistics'),
    (ev.plot_tarp, 'deviation', 'tarp_coverage'),
    (ev.plot_reliability, 'calibration_error', 'reliability'),
    (ev.plot_thresholds, 'best_f1', 'scan_thresholds')])
def test_meta_is_lost(function, key, origin):
    samples, truth = RNG.random((40, 50, 2)), RNG.random((40, 2))
    data = (SCORE, FLUX > 0) if origin in ('reliability',
                                           'scan_thresholds') else (
        samples, truth)
    table = getattr(ev, origin)(*data)
    del table.meta[key]
    with pytest.raises(ValueError, match=f"must have '{key}' in its meta, as "
                       f'the result of {origin}'):
        function(table)
