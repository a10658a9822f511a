# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the figures of denoised frames.
"""

import io

import numpy as np
import pytest
from astropy import units as u
from astropy.nddata import CCDData, InverseVariance, StdDevUncertainty
from astropy.visualization.wcsaxes import WCSAxes
from astropy.wcs import WCS

from astro_denoise.denoising.plots import plot_denoised, plot_profile


def celestial_wcs(matrix=((-1e-4, 0), (0, 1e-4))):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ['RA---TAN', 'DEC--TAN']
    wcs.wcs.crval = [150, 2]
    wcs.wcs.crpix = [20, 15]
    wcs.wcs.cd = matrix
    return wcs


@pytest.fixture
def pair():
    rng = np.random.default_rng(1)
    truth = np.full((30, 40), 100.0)
    truth[10:13, 20:23] += 500
    before = CCDData(rng.normal(truth, 5.0), unit='adu', wcs=celestial_wcs(),
                     mask=truth < 0)
    before.mask[4, 5] = True
    before.data[6, 7] = np.nan
    after = before.copy()
    after.data = np.where(np.isnan(before.data), np.nan, truth)
    after.uncertainty = StdDevUncertainty(np.full(truth.shape, 2.0))
    return before, after


def drawn(figure):
    """
    The picture as pixels; drawing it must raise no warning.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format='rgba', dpi=50)
    pixels = np.frombuffer(buffer.getvalue(), np.uint8)
    assert pixels.std() > 0
    return pixels


def panels(figure):
    return [axes.images[0].get_array() for axes in figure.axes[:3]]


def test_panels(pair):
    figure = plot_denoised(*pair)
    before, after, residual = figure.axes[:3]
    assert all(isinstance(axes, WCSAxes) for axes in figure.axes[:3])
    # One object: the stretch cannot differ.
    assert before.images[0].norm is after.images[0].norm
    images = panels(figure)
    np.testing.assert_array_equal(images[0][8:], pair[0].data[8:])
    np.testing.assert_array_equal(images[1][8:], pair[1].data[8:])
    assert images[0].mask[4, 5]
    assert images[0].mask[6, 7]
    # In units of the noise, estimated from the residual.
    assert np.std(images[2]) == pytest.approx(1.0, abs=0.1)
    assert residual.images[0].get_clim() == (-3, 3)
    drawn(figure)


def test_labels_of_a_rotated_sky(pair):
    pair[0].wcs = celestial_wcs([[0, 1e-4], [1e-4, 0]])
    figure = plot_denoised(*pair)
    drawn(figure)
    for axes in figure.axes[:3]:
        ra, dec = axes.coords
        assert (ra.get_axislabel(), dec.get_axislabel()) == ('RA', 'Dec')
        # On the left of the first panel is RA, and nothing on the others;
        # astropy 6 does not tell.
        if hasattr(ra, 'get_ticklabel_position'):
            assert ('l' in ra.get_ticklabel_position()) is (
                axes is figure.axes[0])


def test_without_wcs():
    noisy = np.random.default_rng(1).normal(0, 1, (20, 30))
    figure = plot_denoised(noisy, np.zeros((20, 30)))
    assert figure.axes[0].get_xlabel() == 'x [pixel]'
    drawn(figure)


@pytest.mark.parametrize('uncertainty', [
    2.0, np.full((30, 40), 2.0), 2.0 * u.adu,
    InverseVariance(np.full((30, 40), 0.25))])
def test_uncertainty(pair, uncertainty):
    image = panels(plot_denoised(*pair, uncertainty=uncertainty))[2]
    assert image[8, 8] == pytest.approx(
        (pair[0].data[8, 8] - pair[1].data[8, 8]) / 2)


def test_own_uncertainty(pair):
    pair[0].uncertainty = StdDevUncertainty(np.full((30, 40), 4.0))
    image = panels(plot_denoised(*pair))[2]
    assert image[8, 8] == pytest.approx(
        (pair[0].data[8, 8] - pair[1].data[8, 8]) / 4)


@pytest.mark.parametrize('values', [
    np.full((20, 30), 7), np.full((20, 30), 7.0) * u.Jy,
    np.arange(600, dtype='>i2').reshape(20, 30)])
def test_nothing_removed(values):
    figure = plot_denoised(values, values)
    assert np.all(panels(figure)[2] == 0)
    drawn(figure)


@pytest.mark.parametrize('uncertainty', [0.0, np.nan])
def test_uncertainty_without_meaning(pair, uncertainty):
    """The stretch is that of the scatter, and no pixel has a residual."""
    figure = plot_denoised(*pair, uncertainty=uncertainty)
    expected = plot_denoised(*pair).axes[0].images[0].get_clim()
    assert figure.axes[0].images[0].get_clim() == pytest.approx(expected)
    assert not np.isfinite(panels(figure)[2].filled(np.nan)).any()
    drawn(figure)


def test_infinite_pixels(pair):
    expected = plot_denoised(*pair).axes[0].images[0].get_clim()
    pair[0].data[20] = np.inf
    figure = plot_denoised(*pair)
    assert panels(figure)[0].mask[20].all()
    assert figure.axes[0].images[0].get_clim() == pytest.approx(expected,
                                                                rel=0.05)
    drawn(figure)


def test_inputs_are_not_changed(pair):
    copies = [ccd.data.copy() for ccd in pair]
    plot_denoised(*pair)
    plot_profile(*pair)
    for ccd, copy in zip(pair, copies, strict=True):
        np.testing.assert_array_equal(ccd.data, copy)


def test_profile(pair):
    axes = plot_profile(*pair, row=11, sigma=2)
    before, after = axes.lines
    np.testing.assert_array_equal(before.get_ydata(), pair[0].data[11])
    np.testing.assert_array_equal(after.get_ydata(), pair[1].data[11])
    band = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert band.max() == 604
    assert axes.get_ylabel() == 'value [adu]'
    drawn(axes.figure)


def test_profile_of_a_column(pair):
    axes = plot_profile(*pair, column=21)
    assert axes.get_title() == 'column 21'
    assert axes.get_xlabel() == 'y [pixel]'
    np.testing.assert_array_equal(axes.lines[1].get_ydata(),
                                  pair[1].data[:, 21])


def test_profile_of_the_middle(pair):
    assert plot_profile(*pair).get_title() == 'row 15'


@pytest.mark.parametrize('plot', [plot_denoised, plot_profile])
def test_bad_frames(plot):
    with pytest.raises(ValueError, match=r'before must.*\(2, 3, 4\)'):
        plot(np.ones((2, 3, 4)), np.ones((3, 4)))
    with pytest.raises(ValueError, match=r'after must.*\(0, 4\)'):
        plot(np.ones((3, 4)), np.ones((0, 4)))
    with pytest.raises(ValueError, match=r'\(3, 4\) and \(4, 3\)'):
        plot(np.ones((3, 4)), np.ones((4, 3)))


def test_nothing_finite():
    with pytest.raises(ValueError, match='finite in both'):
        plot_denoised(np.full((3, 4), np.nan), np.ones((3, 4)))


@pytest.mark.parametrize(('options', 'message'), [
    ({'row': 1, 'column': 2}, 'not both, got 1 and 2'),
    ({'row': 30}, 'row must lie within 0-29, got 30'),
    ({'column': -1}, 'column must lie within 0-39, got -1')])
def test_bad_line(pair, options, message):
    with pytest.raises(ValueError, match=message):
        plot_profile(*pair, **options)
