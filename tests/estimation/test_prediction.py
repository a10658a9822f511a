# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the image that a posterior predicts.
"""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from astro_denoise.estimation import plot_predictive, predict_image
from astro_denoise.simulation.galactic_center import GalacticCenterSimulator


@pytest.fixture(scope='module')
def image():
    return GalacticCenterSimulator('legacy').sample(1, seed=4)[0][0]


@pytest.mark.parametrize(('model', 'options'), [
    ('galactic-center', {}), ('galactic-sky', {'exposure': 1.0})])
def test_predicted_image(image, model, options):
    predicted = predict_image(image, model, seed=1, n_images=40, **options)
    assert_array_equal(predicted.counts, image)
    assert predicted.valid.all()
    # Far from the plane, on which layers are drawn anew.
    far = np.abs(np.arange(64) - 31.5) > 12
    assert predicted.mean[far].sum() == pytest.approx(image[far].sum(),
                                                      rel=0.15)
    assert 0.7 < predicted.pull[far].std() < 1.5
    again = predict_image(image, model, seed=1, n_images=40, **options)
    assert_array_equal(predicted.mean, again.mean)


def test_masked_pixels(image):
    mask = np.zeros(image.shape, bool)
    mask[30:34] = True
    predicted = predict_image(image, mask=mask, seed=1, n_images=10)
    assert_array_equal(predicted.valid, ~mask)
    assert_array_equal(np.isnan(predicted.pull), mask)
    figure = plot_predictive(predicted)
    assert [ax.get_title() for ax in figure.axes[:4:2]] == [
        'counts', 'predicted mean']
    figure.savefig('/dev/null', format='png')


@pytest.mark.parametrize(('options', 'error', 'match'), [
    ({'n_images': 1}, ValueError, 'n_images must be at least 2, got 1'),
    ({'n_images': 2.5}, TypeError, r'n_images .* 2\.5'),
    ({'seed': 'x'}, TypeError, "seed .* 'x'"),
    ({'model': 'ccd'}, ValueError, "'denoise', not 'estimate'"),
])
def test_bad_options(image, options, error, match):
    with pytest.raises(error, match=match):
        predict_image(image, **options)


def test_several_images(image):
    with pytest.raises(ValueError, match='single one, got 2'):
        predict_image(np.stack([image, image]))
