# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the errors of parameters.
"""

import numpy as np
import pytest
from astropy.table import MaskedColumn, QTable
from numpy.testing import assert_allclose

from astro_denoise.evaluation.parameters import (
    parameter_errors,
    scale_parameters,
)


def test_scale():
    assert_allclose(scale_parameters([1000, 4000], 'n_ps_disk'), [0, 1])
    assert_allclose(scale_parameters(1200, 'n_ps_total'), 0)
    with pytest.raises(ValueError, match='n_ps'):
        scale_parameters(1.0, 'n_ps')


def test_errors():
    truth = QTable({'a_dm': [0.1, 0.5, 0.9], 'n_ps_gc': [300, 500, 700],
                    'angle': [1, 2, 3]})
    estimated = QTable({'n_ps_gc': [330.0, 500.0, 760.0],
                        'a_dm': [0.2, 0.4, 0.9], 'a_dm_std': [1, 1, 1]})
    table = parameter_errors(estimated, truth)
    assert list(table['parameter']) == ['a_dm', 'n_ps_gc']
    assert_allclose(table['mae'], [0.2 / 3, 90 / 600 / 3])
    assert_allclose(table['bias'], [0, 90 / 600 / 3], atol=1e-12)
    assert_allclose(table['rmse'][0], np.sqrt(0.02 / 3))
    assert_allclose(table['mae_of_maximum'], [0.2 / 3, 90 / 800 / 3])
    assert (table['correlation'] > 0.9).all()
    assert_allclose(table['mae_error'][0],
                    np.std([0.1, 0.1, 0.0], ddof=1) / np.sqrt(3))
    assert table.meta['n_images'] == 3
    assert {'version', 'date'} <= set(table.meta)


def test_errors_of_one_image():
    table = parameter_errors({'a_dm': [0.5]}, {'a_dm': [0.75]})
    assert_allclose(table['mae'], 0.25)
    assert np.isnan(table['mae_error'][0])
    assert np.isnan(table['correlation'][0])


def test_constant_has_no_correlation():
    table = parameter_errors({'a_dm': [0.5, 0.5]}, {'a_dm': [0.0, 1.0]})
    assert np.isnan(table['correlation'][0])
    assert_allclose(table['mae'], 0.5)


def test_bad_tables():
    with pytest.raises(ValueError, match='no parameter in common'):
        parameter_errors({'a_dm': [0.5]}, {'a_ic': [0.5]})
    with pytest.raises(ValueError, match="'a_dm' must be as long"):
        parameter_errors({'a_dm': [0.5]}, {'a_dm': [0.5, 0.6]})


@pytest.mark.parametrize(('values', 'match'), [
    ([], "'a_dm' of {} must hold at least one value"),
    ([0.5, np.nan], "'a_dm' of {} must be finite, got nan at index"),
    (MaskedColumn([0.5, 0.6], mask=[False, True]),
     "'a_dm' of {} must not be masked, got 1 masked")])
def test_values_without_meaning(values, match):
    good = {'a_dm': [0.5, 0.6]}
    with pytest.raises(ValueError, match=match.format('estimated')):
        parameter_errors({'a_dm': values}, good)
    with pytest.raises(ValueError, match=match.format('truth')):
        parameter_errors(good, {'a_dm': values})
