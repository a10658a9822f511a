# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the figures of sources.
"""

import astropy.units as u
import numpy as np
import pytest
from astropy.nddata import CCDData
from astropy.table import QTable
from astropy.visualization.wcsaxes import WCSAxes
from astropy.wcs import WCS
from matplotlib.figure import Figure

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


def test_sources(probability):
    axes = sources(probability).plot()
    assert axes.get_title() == '3 sources, 2 of them above 3.8 sigma'
    circles, = axes.collections
    np.testing.assert_array_equal(circles.get_offsets(), [[5, 6], [30, 50]])
    sizes = circles.get_sizes()
    assert sizes[1] > sizes[0]
    np.testing.assert_array_equal(axes.images[0].get_array(), probability)
    assert not isinstance(axes, WCSAxes)
    axes.figure.canvas.draw()
    all_of_them = sources(probability).plot(smallest_snr=0)
    assert len(all_of_them.collections[0].get_offsets()) == 3


def test_sources_on_the_image(probability):
    image = 100.0 + probability
    axes = sources(probability).plot(image=image * u.adu)
    np.testing.assert_array_equal(axes.images[0].get_array(), image)
    assert axes.images[0].colorbar.ax.get_ylabel() == 'adu'
    assert len(axes.collections[0].get_offsets()) == 2
    axes.figure.canvas.draw()
    with pytest.raises(ValueError, match=r'image must have the shape of the '
                                         r'probability \(64, 64\), got '):
        sources(probability).plot(image=image[1:])


def test_sources_on_the_sky(probability):
    mask = np.zeros((64, 64), bool)
    mask[3, 4] = True
    image = CCDData(probability, unit='', wcs=grid_wcs(), mask=mask)
    axes = sources(image).plot()
    assert isinstance(axes, WCSAxes)
    assert axes.get_xlabel() == 'l'
    assert axes.images[0].get_array().mask[3, 4]
    axes.figure.canvas.draw()


@pytest.mark.parametrize(('projection', 'label'), [
    (None, 'x [pixel]'), ('rectilinear', 'x [pixel]'), (grid_wcs(), 'l'),
    ('astropy', 'pixel')])
def test_axes_of_the_user(probability, projection, label):
    """Plain axes show pixels though the image has a WCS, and so on."""
    image = CCDData(probability, unit='', wcs=grid_wcs())
    if projection == 'astropy':  # with a WCS that knows no sky
        image, projection = probability, WCS(naxis=2)
    axes = Figure(layout='constrained').add_subplot(projection=projection)
    assert sources(image).plot(ax=axes) is axes
    assert axes.get_xlabel() == label
    axes.figure.canvas.draw()


def test_no_sources(probability):
    nothing = sources(probability)
    nothing.catalog = nothing.catalog[:0]
    axes = nothing.plot()
    assert axes.get_title().startswith('0 sources')
    axes.figure.canvas.draw()


def test_one_source(probability):
    one = sources(probability)
    one.catalog = one.catalog[:1]
    assert one.plot().get_title() == '1 source, 1 of them above 3.8 sigma'
