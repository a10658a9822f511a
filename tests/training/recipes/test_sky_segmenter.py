# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the training of the segmenter for real skies.
"""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from astro_denoise.evaluation import ideal_snr
from astro_denoise.models.layers import box_sum
from astro_denoise.models.sky_segmenter import KNOTS, SkySegmenter
from astro_denoise.simulation import GalacticCenterSimulator
from astro_denoise.training.recipes.sky_segmenter import (
    RealSkySampler,
    calibrate_fluxes,
    standing_out,
)


def test_batches():
    sampler = RealSkySampler(batch_size=16)
    batch, again, other = (sampler.batch([1, step]) for step in (3, 3, 4))
    for name, plane in batch.items():
        assert_array_equal(plane, again[name])
    assert not np.array_equal(batch['image'], other['image'])
    present = batch['present'] > 0
    assert 0.001 < present.mean() < 0.3
    assert_array_equal(batch['flux'] > 0, present)
    # What is masked has no counts, and nothing stands out there.
    masked = batch['valid'] == 0
    assert masked.any()
    assert not batch['image'][masked].any()
    assert not present[masked].any()
    assert (batch['position'][:12, 2] == 1).all()
    assert (batch['position'][12:] == 0).all()  # rotated skies


def test_bad_batch_size():
    with pytest.raises(ValueError, match='batch_size must be a multiple of'):
        RealSkySampler(batch_size=8)


def test_what_stands_out():
    """As the ideal observer has it, with a profile for each image."""
    drawn = GalacticCenterSimulator(nuisances=True).draw(
        3, 8, bright=(4, 50.0, 500.0))
    flux = drawn['sources'].sum(1)
    valid = torch.ones_like(flux)
    snr = standing_out(flux, drawn['expected'], drawn['profile'], valid)
    for index in range(3):
        assert_allclose(snr[index], ideal_snr(
            *(drawn[name][index].numpy() if name in drawn else
              flux[index].numpy() for name in ('flux', 'expected',
                                               'profile'))), rtol=1e-4)
    # Without the pixels around it, a source does not stand out.
    row, column = np.unravel_index(int(snr[0].argmax()), (64, 64))
    valid[0, max(row - 5, 0):row + 6, max(column - 5, 0):column + 6] = 0
    assert standing_out(flux, drawn['expected'], drawn['profile'],
                        valid)[0, row, column] == 0


class Sampler:
    """
    Sources of fluxes from 1 to 100 on a grid.
    """

    def batch(self, seed):
        rng = np.random.default_rng(seed)
        flux = np.zeros((4, 1, 64, 64), np.float32)
        places = np.s_[:, :, 4:60:5, 4:60:5]
        flux[places] = 10.0**rng.uniform(0, 2, flux[places].shape)
        return {'image': flux, 'valid': np.ones_like(flux), 'flux': flux,
                'position': np.zeros((4, 3, 64, 64), np.float32)}


class Wrong(SkySegmenter):
    """
    Says half of the fluxes, and a third of their errors.
    """

    def forward(self, image, valid, position):
        noise = torch.randn(image.shape, generator=torch.Generator(
            ).manual_seed(int(1e6 * image.mean())))
        there = image > 0
        answer = {'flux': 0.5 * (image + noise) * there,
                  'logit': torch.where(there, 9.0, -9.0),
                  'log_variance': torch.zeros_like(image),
                  'near_log_variance': torch.full_like(
                      image, 2 * np.log(0.5 / 3))}
        self._calibrate(answer)
        return answer


def test_calibrated_fluxes():
    network = Wrong(widths=(2, 2)).eval()
    calibrate_fluxes(network, Sampler(), 40, 3)
    assert len(network.flux_factors) == len(KNOTS)
    # Fainter ones are also of sources that the noise made brighter.
    assert_allclose(network.flux_factors[4:], 2, rtol=0.05)
    assert_allclose(network.error_factors[4:], 3, rtol=0.1)
    batch = {name: torch.from_numpy(plane)
             for name, plane in Sampler().batch(9).items()}
    answer = network(batch['image'], batch['valid'], batch['position'])
    there = batch['flux'] > 3
    pulls = ((box_sum(answer['flux'], 3) - batch['flux'])
             / torch.exp(0.5 * answer['near_log_variance']))[there]
    assert abs(float(pulls.mean())) < 0.15
    assert 0.85 < float(pulls.std()) < 1.15
