# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the flux that is kept, measured without a truth.
"""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from astro_denoise.training.flux_kept import (
    flux_kept_text,
    measure_flux_kept,
)

FWHM = 3.0


class Filter(torch.nn.Module):
    """
    Something that stands for a denoiser.
    """

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x, log_sigma, valid, context):
        return x - self.function(x), torch.zeros_like(x)


def shrink(x):
    """
    Take for sky what is below three sigmas, as a network may.
    """
    return F.softshrink(x, 3.0 / np.hypot(1.0, 0.5))


def make_batch(flux=(1.5, 40.0), *, n_patches=40, seed=1, density=20):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:96, :96]
    truth = np.zeros((n_patches, 1, 96, 96), np.float32)
    for plane in truth[:, 0]:
        for row, column in rng.uniform(0, 96, (density, 2)):
            plane += np.exp(rng.uniform(*np.log(flux)) - 4 * np.log(2) * (
                (x - column)**2 + (y - row)**2) / FWHM**2)
    values = truth + rng.standard_normal(truth.shape)
    valid = rng.random(truth.shape) > 0.002
    return truth, {
        name: torch.from_numpy(plane.astype(np.float32))
        for name, plane in (
            ('x', values * valid), ('valid', valid),
            ('log_sigma', np.zeros_like(truth)),
            ('context', np.zeros((n_patches, 2))))}


@pytest.mark.parametrize('share', [0.0, 0.4, 1.0])
def test_a_share(share):
    _, batch = make_batch()
    rows = measure_flux_kept(Filter(lambda x: share * x), batch, FWHM)
    assert len(rows) == 4
    known = [row for row in rows if np.isfinite(row.kept)]
    assert len(known) >= 3
    for row in known:
        assert row.kept == pytest.approx(share, abs=1e-5)
        assert row.number >= 10
    snr = [row.snr for row in rows]
    assert snr == sorted(snr)


@pytest.mark.parametrize('seed', [1, 2, 3])
def test_as_with_truth(seed):
    truth, batch = make_batch(seed=seed)
    network = Filter(shrink)
    found = measure_flux_kept(network, batch, FWHM)
    pulls = [(one.kept - true.kept) / one.error
             for one, true in zip(found, measure_flux_kept(
                 network, batch, FWHM, truth=truth[:, 0]), strict=True)
             if np.isfinite(one.kept)]
    assert len(pulls) >= 3
    assert np.abs(pulls).max() < 2.0
    # What is shrunk by a threshold loses more where it is faint.
    kept = [row.kept for row in found if np.isfinite(row.kept)]
    assert kept[0] < kept[-1] < 1.0


def test_blank_sky_says_nothing():
    _, batch = make_batch(density=0)
    rows = measure_flux_kept(Filter(lambda x: x), batch, FWHM)
    assert not any(np.isfinite(row.kept) for row in rows)
    described = [row.describe() for row in rows]
    assert all(row['kept'] is None for row in described)
    assert flux_kept_text(described).startswith('flux kept: unknown')


def test_patches_smaller_than_a_sky():
    _, batch = make_batch(n_patches=4)
    small = {name: plane[..., :16, :16] if plane.ndim == 4 else plane
             for name, plane in batch.items()}
    rows = measure_flux_kept(Filter(lambda x: x), small, FWHM)
    assert [row.number for row in rows] == [0, 0, 0, 0]
