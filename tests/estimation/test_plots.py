# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the figures of posteriors.
"""

import numpy as np
import pytest
from matplotlib.figure import Figure

from astro_denoise.estimation.core import PARAMETER_NAMES
from astro_denoise.estimation.plots import plot_posterior


@pytest.fixture
def samples():
    rng = np.random.default_rng(1)
    samples = rng.normal(0, 1, (2000, 7))
    samples[:, 4] -= 0.8 * samples[:, 0]
    return samples


def test_posterior(samples):
    figure = plot_posterior(samples, names=['a_dm', 'n_ps_gc', 'a_ic'],
                            truth={'a_dm': 0.5, 'n_ps_gc': -0.4})
    axes = np.reshape(figure.axes, (3, 3))
    assert [ax.get_xlabel() for ax in axes[-1]] == [
        'dark matter', 'sources, center', 'inverse Compton']
    assert axes[1, 0].get_ylabel() == 'sources, center'
    # Lines of the truth: one on the diagonal, both where both are known.
    assert [len(axes[where].lines) for where in ((0, 0), (1, 1), (2, 2))] == [
        1, 1, 0]
    vertical, horizontal = axes[1, 0].lines[:2]
    assert vertical.get_xdata()[0] == 0.5
    assert horizontal.get_ydata()[0] == -0.4
    # Of each parameter, the histogram holds its samples.
    for number, column in enumerate((0, 4, 1)):
        path = axes[number, number].patches[0].get_xy()
        assert path[:, 0].min() == pytest.approx(
            np.quantile(samples[:, column], 0.002), abs=0.5)
    figure.canvas.draw()
    assert len(plot_posterior(samples).axes) == 49


def test_contours_hold_what_they_say(samples):
    figure = plot_posterior(samples, names=['a_dm', 'n_ps_gc'])
    outer, inner = figure.axes[2].collections[-1].get_paths()
    points = samples[:, [0, 4]]
    assert outer.contains_points(points).mean() == pytest.approx(0.95,
                                                                 abs=0.02)
    assert inner.contains_points(points).mean() == pytest.approx(0.68,
                                                                 abs=0.05)


def test_posterior_of_one_value():
    samples = np.ones((50, 7))
    plot_posterior(samples, names=['a_dm', 'a_ic']).canvas.draw()


def test_posterior_of_one_parameter(samples):
    figure = plot_posterior(samples, names=['a_dm'], truth={'a_dm': 0.5})
    axes, = figure.axes
    assert axes.lines[0].get_xdata()[0] == 0.5
    figure.canvas.draw()


def test_layout_of_the_user_stays(samples):
    figure = Figure(layout='constrained')
    plot_posterior(samples, names=['a_dm', 'a_ic'], figure=figure)
    assert figure.get_layout_engine() is not None


@pytest.mark.parametrize(('shape', 'options', 'match'), [
    ((3, 50, 7), {}, r'samples .* got \(3, 50, 7\)'),
    ((50, 6), {}, r'samples .* got \(50, 6\)'),
    ((50, 7), {'names': ['a_xy']}, "names .* 'a_xy'"),
    ((50, 7), {'names': []}, 'names must hold at least one'),
    ((7, 7), {}, 'must be more than the 7 parameters, got 7'),
])
def test_bad_samples(shape, options, match):
    with pytest.raises(ValueError, match=match):
        plot_posterior(np.ones(shape), **options)


def test_samples_that_are_not_finite(samples):
    samples[3, 0], samples[5, 2] = np.nan, np.inf
    with pytest.raises(ValueError, match='finite, got 2 of 2000 that are not'):
        plot_posterior(samples)
    # Only what is shown has to be.
    plot_posterior(samples, names=['a_ic', 'n_ps_gc'])
    plot_posterior(samples[np.isfinite(samples).all(axis=1)])


def test_all_names_have_a_label():
    from astro_denoise.estimation.plots import _LABELS

    assert set(_LABELS) == set(PARAMETER_NAMES)
