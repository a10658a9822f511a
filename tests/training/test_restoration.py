# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the design of restoring kernels.
"""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from astro_denoise.simulation.profiles import moffat_image
from astro_denoise.training.restoration import (
    design_kernel,
    design_kernels,
    kernel_response,
)

WIDTHS = [1.2, 1.5, 2.0, 3.0, 4.5, 6.0, 8.0]


def gaussian(sigma):
    line = np.exp(-0.5 * (np.arange(-12, 13) / sigma)**2)
    return np.outer(line, line) / line.sum()**2


@pytest.fixture(scope='module')
def kernels():
    return dict(zip(WIDTHS, design_kernels(WIDTHS), strict=True))


def test_no_filter_changes_nothing():
    kernel = np.zeros((25, 25))
    kernel[12, 12] = 1.0
    for r50 in (0.0, 2.0):
        assert_allclose(kernel_response(kernel, 3.0, r50=r50), (1.0, 1.0),
                        rtol=1e-6)


def test_response_is_linear():
    response, scatter = kernel_response(gaussian(1.0), 3.0)
    doubled = kernel_response(2.0 * gaussian(1.0), 3.0)
    assert_allclose(doubled, (2.0 * response, 2.0 * scatter))


def test_smoothing_loses_flux_and_noise():
    responses, scatters = np.transpose([
        kernel_response(gaussian(sigma), 3.0) for sigma in (0.5, 1.0, 2.0)])
    assert 1.0 > responses[0] > responses[1] > responses[2] > 0.4
    assert 1.0 > scatters[0] > scatters[1] > scatters[2] > 0.2
    # Galaxies lose less than stars.
    assert kernel_response(gaussian(1.0), 3.0, r50=3.0)[0] > responses[1]


@pytest.mark.parametrize('fwhm', WIDTHS)
def test_sum_and_symmetry(kernels, fwhm):
    kernel = kernels[fwhm]
    assert kernel.shape == (25, 25)
    assert kernel.dtype == np.float32
    assert_allclose(kernel.sum(dtype=float), 1.0, rtol=1e-5)
    for other in (kernel.T, kernel[::-1], kernel[:, ::-1]):
        assert_allclose(other, kernel, atol=1e-6)


@pytest.mark.parametrize('fwhm', WIDTHS)
@pytest.mark.parametrize(('r50', 'share'), [(0.0, 0.625), (0.3, 0.625),
                                            (0.5, 0.8), (0.8, 0.625)])
def test_flux_comes_through(kernels, fwhm, r50, share):
    response, scatter = kernel_response(kernels[fwhm], fwhm, r50=r50 * fwhm,
                                        share=share)
    # Of stars, a part is left to the network: see design_kernel.
    assert_allclose(response, 1.0, atol=0.05 if r50 or fwhm >= 6.0 else 0.1)
    assert scatter / response < 1.03


@pytest.mark.parametrize('fwhm', WIDTHS)
@pytest.mark.parametrize('r50', [0.0, 0.3, 0.8])
def test_more_comes_through_than_a_gaussian_of_that_noise_lets(
        kernels, fwhm, r50):
    norm = np.sqrt((kernels[fwhm].astype(float)**2).sum())
    width = 0.5 / np.sqrt(np.pi) / norm
    lost, lost_by_gaussian = (
        abs(1.0 - kernel_response(kernel, fwhm, r50=r50 * fwhm)[0])
        for kernel in (kernels[fwhm], gaussian(width)))
    assert lost < 0.75 * lost_by_gaussian


@pytest.mark.parametrize('fwhm', WIDTHS)
def test_scatter_is_above_that_of_the_matched_filter(kernels, fwhm):
    response, scatter = kernel_response(kernels[fwhm], fwhm)
    image = moffat_image(75, fwhm, 3.5)
    # The aperture of the same share is not better than the whole profile.
    y, x = np.mgrid[:75, :75] - 37
    distance = np.hypot(y, x)
    order = np.argsort(distance, axis=None)
    light = np.cumsum(image.ravel()[order])
    radius = distance.ravel()[order][np.searchsorted(light, 0.625)]
    aperture = np.clip(radius + 0.5 - distance, 0.0, 1.0)
    floor = ((aperture * image).sum()
             / np.sqrt((image**2).sum() * (aperture**2).sum()))
    assert scatter / response > 0.999 * floor
    assert scatter / response < 1.1 * floor


def test_wider_kernels_leave_less_noise(kernels):
    noise = [np.sqrt((kernels[fwhm].astype(float)**2).sum())
             for fwhm in WIDTHS]
    assert np.all(np.diff(noise) < 0)
    assert noise[0] < 0.9
    assert noise[-1] < 0.25


def test_faithfulness():
    cheap, dear = (design_kernel(3.0, faithfulness=weight)
                   for weight in (1.0, 300.0))
    assert np.sum(cheap**2) < np.sum(dear**2)
    deviations = [abs(kernel_response(kernel, 3.0)[0] - 1.0)
                  for kernel in (cheap, dear)]
    assert deviations[1] < deviations[0]


@pytest.mark.parametrize('fwhm', WIDTHS)
def test_no_checkerboard(kernels, fwhm):
    power = np.abs(np.fft.fft2(kernels[fwhm], (64, 64)))**2
    for along in (power.sum(0), power.sum(1)):
        assert along[32] < 1.2 * along[26:30].mean()
        assert along[32] < 1e-4 * along[0]
