# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the judgement of scores.
"""

import warnings

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from astro_denoise import train_denoiser
from astro_denoise.exceptions import TrainingScoreWarning
from astro_denoise.training.judgement import (
    GROUPS,
    judge,
    score_text,
    warn_of_score,
)


class Filter(torch.nn.Module):
    """
    Something that stands for a denoiser.
    """

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x, log_sigma, valid, context):
        return x - self.function(x), torch.zeros_like(x)


def mean_of_nine(x):
    return torch.nn.functional.avg_pool2d(x, 3, 1, 1)


def make_batch(kind='sure', *, seed=1, noise=1.0):
    rng = np.random.default_rng(seed)
    shape = (8, 1, 96, 96)
    truth = 300.0 * gaussian_filter(
        (rng.random(shape) < 0.002) * rng.exponential(1.0, shape),
        (0, 0, 1.6, 1.6))
    planes = {'x': truth + noise * rng.standard_normal(shape),
              'valid': np.ones(shape), 'log_sigma': np.zeros(shape),
              'context': np.tile([0.5, 0.5], (8, 1))}
    if kind == 'noise2noise':
        planes |= {'target': truth + rng.standard_normal(shape),
                   'target_variance': np.ones(shape),
                   'weight': np.ones(shape)}
    return truth, {name: torch.from_numpy(plane.astype(np.float32))
                   for name, plane in planes.items()}


@pytest.mark.parametrize('kind', ['sure', 'noise2noise'])
def test_errors_are_those_against_the_truth(kind):
    truth, batch = make_batch(kind)
    judged = judge(Filter(mean_of_nine), batch)
    assert list(judged) == ['trained', 'raw', 'sky', 'ccd', 'ccd-mmse']
    expected = np.square(mean_of_nine(batch['x']).numpy() - truth)
    # Single pixels count at most a hundred.
    expected = np.minimum(expected, 100.0).mean()
    found, error = (judged['trained'][name] for name in ('all', 'all_error'))
    assert abs(found - expected) < 4 * error + 0.02
    for group in GROUPS:
        error = judged['raw'][f'{group}_error']
        assert abs(judged['raw'][group] - 1.0) < 4 * error + 1e-6
    sky = judged['sky']
    assert sky['blank'] < 0.3 < 1.0 < sky['faint'] < sky['bright']
    assert judged['ccd']['all'] < 0.3


def shares(**changes):
    good = {f'{group}{ending}': value for group in GROUPS
            for ending, value in (('', 0.1), ('_error', 0.01))}
    judged = {name: dict(good) for name in ('trained', 'raw', 'sky', 'ccd',
                                            'ccd-mmse')}
    judged['trained'] = {name: 0.09 if value == 0.1 else value
                         for name, value in good.items()} | changes
    judged['raw'] |= dict.fromkeys(GROUPS, 1.0)
    return judged


@pytest.mark.parametrize(('changes', 'words'), [
    ({'all': 1.2, 'bright': 40.0},
     r'is 1\.2 for all pixels and 40 for signals above 5 sigmas, worse than'),
    ({'all': 1.2, 'bright': 40.0},
     r'likely the point-spread function \(1\.5 pixels\) is too narrow'),
    ({'all': 1.1, 'blank': 1.3}, 'trained too little'),
    ({'bright': 1.1}, 'worse than the frame itself'),
    ({'all': -0.06}, r'-0\.06 for all pixels, which no squared error can be'),
    ({'blank': -0.2}, 'noise is smaller than gain and read_noise'),
    ({'all': 0.1}, r"it is 0\.1, not better than 'sky' \(0\.1\)")])
def test_doubts(changes, words):
    with pytest.warns(TrainingScoreWarning, match=words):
        warn_of_score(shares(**changes), fwhm=1.5)


@pytest.mark.parametrize('changes', [
    {}, {'bright': 1.1, 'bright_error': 0.2}, {'bright': None},
    {'blank': -0.06, 'blank_error': 0.01}, {'all': -0.04}])
def test_no_doubt(changes):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        warn_of_score(shares(**changes))


def test_what_keeps_flux_is_compared_with_its_like():
    judged = shares()
    judged['ccd-mmse']['all'] = judged['sky']['all'] = 0.01
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        warn_of_score(judged, keeps_flux=True)
    with pytest.warns(TrainingScoreWarning, match="better than 'sky'"):
        warn_of_score(judged)
    judged['ccd']['all'] = 0.05
    with pytest.warns(TrainingScoreWarning, match="better than 'ccd' "):
        warn_of_score(judged, keeps_flux=True)


def test_noise_that_is_too_large():
    _, batch = make_batch(noise=0.8)
    judged = judge(Filter(lambda x: x), batch)
    assert judged['trained']['all'] == 1.0
    judged = judge(Filter(mean_of_nine), batch)
    assert judged['trained']['blank'] < -0.1


def test_too_few_pixels_of_a_group():
    _, batch = make_batch()
    blank = {**batch, 'x': torch.randn_like(batch['x'])}
    judged = judge(Filter(mean_of_nine), blank)
    assert judged['trained']['bright'] is None
    assert score_text(judged).splitlines()[1].split()[-1] == '-'


def test_undersampled_frames_are_warned_of():
    rng = np.random.default_rng(2)
    frame = rng.standard_normal((160, 160)) * 5.0 + 100.0
    frame[rng.random(frame.shape) < 0.03] += 300.0
    with pytest.warns(TrainingScoreWarning, match='worse than the frame'):
        train_denoiser(frame, 'noise2void', gain=None, epochs=1, patch=32,
                       n_patches=2, seed=1, progress_bar=False)
