# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the pictures of sources and posteriors.
"""

import numpy as np
import pytest
from astropy.nddata import CCDData
from astropy.table import QTable
from astropy.visualization.wcsaxes import WCSAxes

from astro_denoise.estimation.core import PARAMETER_NAMES
from astro_denoise.estimation.plots import plot_posterior
from astro_denoise.segmentation.core import PointSources
from astro_denoise.sky_maps.galactic_grid import grid_wcs


def sources(probability):
    catalog = QTable({
        'x_centroid': [5.0, 20.0, 30.0], 'y_centroid': [6.0, 7.0, 50.0],
        'flux': [30.0, 2.0, 90.0], 'flux_error': [3.0, 3.0, 3.0],
        'snr': [10.0, 0.7, 30.0]})
    return PointSources(probability, probability, None, catalog, 0.4)


@pytest.fixture
def probability():
    return np.random.default_rng(1).random((64, 64)).astype(np.float32)


@pytest.fixture
def samples():
    rng = np.random.default_rng(1)
    samples = rng.normal(0, 1, (2000, 7))
    samples[:, 4] -= 0.8 * samples[:, 0]
    return samples


def test_sources(probability):
    figure = sources(probability).plot()
    axes = figure.axes[0]
    assert axes.get_title() == '3 sources, 2 of them above 3.8 sigma'
    circles, = axes.collections
    np.testing.assert_array_equal(circles.get_offsets(), [[5, 6], [30, 50]])
    sizes = circles.get_sizes()
    assert sizes[1] > sizes[0]
    np.testing.assert_array_equal(axes.images[0].get_array(), probability)
    assert not isinstance(axes, WCSAxes)
    figure.canvas.draw()
    all_of_them = sources(probability).plot(smallest_snr=0)
    assert len(all_of_them.axes[0].collections[0].get_offsets()) == 3


def test_sources_on_the_sky(probability):
    mask = np.zeros((64, 64), bool)
    mask[3, 4] = True
    image = CCDData(probability, unit='', wcs=grid_wcs(), mask=mask)
    figure = sources(image).plot()
    axes = figure.axes[0]
    assert isinstance(axes, WCSAxes)
    assert axes.get_xlabel() == 'l'
    assert axes.images[0].get_array().mask[3, 4]
    figure.canvas.draw()


def test_no_sources(probability):
    nothing = sources(probability)
    nothing.catalog = nothing.catalog[:0]
    figure = nothing.plot()
    assert figure.axes[0].get_title().startswith('0 sources')
    figure.canvas.draw()


def test_posterior(samples):
    figure = plot_posterior(samples, names=['a_dm', 'n_ps_gc', 'a_ic'],
                            truth={'a_dm': 0.5, 'n_ps_gc': -0.4})
    assert len(figure.axes) == 6
    labels = [axes.get_xlabel() for axes in figure.axes]
    assert labels[-3:] == ['dark matter', 'sources, centre',
                           'inverse Compton']
    assert figure.axes[1].get_ylabel() == 'sources, centre'
    # Lines of the truth: one on the diagonal, both where both are known.
    assert [len(axes.lines) for axes in figure.axes] == [1, 2, 1, 1, 1, 0]
    figure.canvas.draw()
    assert len(plot_posterior(samples).axes) == 28


def test_contours_hold_what_they_say(samples):
    figure = plot_posterior(samples, names=['a_dm', 'n_ps_gc'])
    axes = figure.axes[1]
    outer, inner = axes.collections[1].get_paths()
    points = samples[:, [0, 4]]
    assert outer.contains_points(points).mean() == pytest.approx(0.95,
                                                                 abs=0.02)
    assert inner.contains_points(points).mean() == pytest.approx(0.68,
                                                                 abs=0.05)


def test_posterior_of_one_value():
    samples = np.ones((50, 7))
    plot_posterior(samples, names=['a_dm', 'a_ic']).canvas.draw()


@pytest.mark.parametrize(('shape', 'options', 'match'), [
    ((3, 50, 7), {}, r'samples .* got \(3, 50, 7\)'),
    ((50, 6), {}, r'samples .* got \(50, 6\)'),
    ((50, 7), {'names': ['a_xy']}, "names .* 'a_xy'"),
])
def test_bad_samples(shape, options, match):
    with pytest.raises(ValueError, match=match):
        plot_posterior(np.ones(shape), **options)


def test_all_names_have_a_label():
    from astro_denoise.estimation.plots import _LABELS

    assert set(_LABELS) == set(PARAMETER_NAMES)
