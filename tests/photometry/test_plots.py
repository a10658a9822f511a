# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the figures of fluxes.
"""

import numpy as np
import pytest
from astropy import units as u
from astropy.nddata import CCDData
from astropy.table import QTable
from astropy.wcs import WCS

from astro_denoise.photometry.plots import (
    plot_apertures,
    plot_differences,
    plot_response,
    plot_sigma68,
)
from astro_denoise.photometry.repeatability import check_repeatability


@pytest.fixture
def frame():
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ['RA---TAN', 'DEC--TAN']
    wcs.wcs.crval = [150, 2]
    wcs.wcs.crpix = [20, 15]
    wcs.wcs.cd = [[-1e-4, 0], [0, 1e-4]]
    return CCDData(np.random.default_rng(1).normal(100, 5, (30, 40)),
                   unit='adu', wcs=wcs)


def apertures(n_sources):
    rows = np.arange(n_sources)
    return QTable({
        'ref_id': rows, 'aperture_x': 3.0 * rows, 'aperture_y': 15.0 + rows,
        'aperture_a': np.full(n_sources, 4.0),
        'aperture_b': np.full(n_sources, 2.0),
        'aperture_theta': np.zeros(n_sources), 'flag': rows % 2,
        'flux': np.where(rows == 1, np.nan, rows) * u.adu,
        'flux_error': np.ones(n_sources) * u.adu})


@pytest.mark.parametrize(('n_sources', 'shown'), [(1, 1), (5, 4), (14, 9)])
def test_apertures(frame, n_sources, shown):
    figure = plot_apertures(frame, apertures(n_sources), r_in=5, r_out=8)
    figure.canvas.draw()
    axes, *panels = figure.axes
    assert f'{n_sources // 2} flagged' in axes.get_title()
    assert len(axes.collections[0].get_offsets()) == n_sources
    titles = [panel.get_title() for panel in panels if panel.images]
    assert len(titles) == shown
    assert titles[-1] == '0: S/N 0.0'
    assert [patch.get_radius() for patch in panels[0].patches] == [5, 8]


def test_apertures_off_the_sky(frame):
    """A position that the frame does not map has no place on it."""
    table = apertures(2)
    table['ra'], table['dec'] = [150.0, 330.0], [2.0, -2.0]
    table.remove_columns(['aperture_x', 'aperture_y'])
    plot_apertures(frame, table).canvas.draw()


def test_apertures_on_nothing():
    with pytest.raises(ValueError, match='data must have finite pixels'):
        plot_apertures(np.full((3, 4), np.nan), apertures(1))
    with pytest.raises(ValueError, match='at least one row'):
        plot_apertures(np.ones((3, 4)), apertures(0))


def fluxes(n_galaxies, sigma=1.0):
    rng = np.random.default_rng(1)
    return QTable({
        'ref_id': np.tile(np.arange(n_galaxies), 2),
        'image_id': np.repeat([1, 2], n_galaxies),
        'flux': rng.normal(10, sigma, 2 * n_galaxies),
        'flux_error': np.ones(2 * n_galaxies),
        'i_auto': np.tile(np.linspace(20, 22, n_galaxies), 2)})


@pytest.mark.parametrize('plot', [plot_sigma68, plot_response])
def test_few_pairs(plot):
    """No bin has enough pairs: no points, and no warning."""
    ax = plot(check_repeatability(fluxes(4), n_resamples=5, seed=1))
    assert not any(len(line.get_xdata()) for container in ax.containers
                   for line in container[:1])
    assert (ax.get_legend() is None) == (plot is plot_sigma68)
    ax.figure.canvas.draw()


def test_all_differences_outside():
    report = check_repeatability(fluxes(50, sigma=1e9), n_resamples=5, seed=1)
    ax = plot_differences(report)
    assert not ax.patches
    ax.figure.canvas.draw()
