# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests for the recalibration module.
"""

import numpy as np
import pytest
from astropy import units as u
from astropy.table import QTable
from numpy.testing import assert_allclose

from astro_denoise.photometry.recalibration import recalibrate_errors
from astro_denoise.photometry.repeatability import check_repeatability


def survey(n_galaxies, n_exposures=2, seed=1, **columns):
    """Fluxes whose errors are too large by a factor of 1.1 to 2."""
    rng = np.random.default_rng(seed)
    galaxy = np.tile(np.arange(n_galaxies), n_exposures)
    magnitude = rng.uniform(18, 23, n_galaxies)[galaxy]
    excess = 1.1 + 0.9 / (1 + np.exp(-2 * (magnitude - 21)))
    true = 10**(-0.4 * (magnitude - 22.5))
    return QTable({
        'ref_id': galaxy, 'i_auto': magnitude,
        'image_id': np.repeat(np.arange(n_exposures), n_galaxies),
        'flux': true + rng.normal(size=len(galaxy)),
        'flux_error': excess, 'excess': excess, **columns})


def test_errors_and_coverage_of_the_other_half():
    table = recalibrate_errors(survey(200_000), seed=1)
    assert_allclose(table['flux_error'], 1, atol=0.1)
    assert_allclose(table['error_scale'] * table['excess'],
                    table['flux_error'])
    other = table[~table['fitted']]
    assert len(other) == 200_000
    report = check_repeatability(other, seed=1, n_resamples=2).table
    assert len(report) == 5
    assert_allclose(report['sigma68'], 1, atol=0.03)
    assert_allclose(report['coverage68'], 0.683, atol=0.02)
    assert_allclose(report['coverage95'], 0.954, atol=0.01)
    before = check_repeatability(survey(200_000), seed=1, n_resamples=2).table
    assert np.all(before['sigma68'] < 0.95)


def test_few_galaxies():
    table = recalibrate_errors(survey(400), seed=1)
    assert_allclose(table['flux_error'], 1, atol=0.35)


def test_galaxies_stay_together():
    table = recalibrate_errors(survey(500, 3), seed=1)
    fitted = np.asarray(table['fitted']).reshape(3, 500)
    assert np.all(fitted == fitted[0])
    assert np.sum(fitted[0]) == 250


def test_signal_to_noise():
    table = recalibrate_errors(survey(20_000, 3), column='snr', seed=1)
    report = check_repeatability(table[~table['fitted']], bins=[18, 20, 22],
                                 seed=1, n_resamples=2).table
    assert_allclose(report['sigma68'], 1, atol=0.06)


def test_zero_points_are_scaled_too():
    rng = np.random.default_rng(2)
    exposures = survey(20_000)
    zp = rng.normal(5, 0.05, len(exposures))
    exposures['flux'] = 20 + exposures['flux']
    exposures['zp'] = np.full(len(zp), 5.0)
    exposures['flux'] *= zp / 5
    exposures['zp_error'] = 0.05 * exposures['excess']
    table = recalibrate_errors(exposures, seed=1)
    assert_allclose(table['zp_error'], 0.05, atol=0.005)
    report = check_repeatability(table[~table['fitted']], bins=[18, 23],
                                 seed=1, n_resamples=2).table
    assert_allclose(report['sigma68'], 1, atol=0.03)


def test_units_and_meta(tmp_path):
    exposures = survey(1000)
    exposures['flux'] *= u.adu
    exposures['flux_error'] *= u.adu
    exposures['i_auto'] *= u.mag
    copy = exposures.copy()
    table = recalibrate_errors(exposures, seed=1)
    assert table['flux_error'].unit == u.adu
    assert np.all(exposures['flux_error'] == copy['flux_error'])
    assert table.meta['recalibration']['n_pairs'] == 500
    table.write(tmp_path / 'table.ecsv')


def test_list_of_exposures():
    exposures = survey(1000)
    tables = [exposures[exposures['image_id'] == number]
              for number in (0, 1)]
    assert_allclose(recalibrate_errors(tables, seed=1)['flux_error'],
                    recalibrate_errors(exposures, seed=1)['flux_error'])


def test_constant_column():
    table = recalibrate_errors(survey(1000, filter=np.ones(2000)),
                               column='filter', seed=1)
    assert np.ptp(table['error_scale']) == 0


@pytest.mark.parametrize(('options', 'match'), [
    ({'train_fraction': 1}, 'train_fraction must lie'),
    ({'degree': -1}, 'degree must be'), ({'degree': 1.5}, 'degree must be'),
    ({'column': 'nothing'}, "no column 'nothing'")])
def test_bad_arguments(options, match):
    with pytest.raises(ValueError, match=match):
        recalibrate_errors(survey(300), **options)


def test_too_few_pairs():
    with pytest.raises(ValueError, match='at least 50 pairs to fit, got 20'):
        recalibrate_errors(survey(40))


def test_bad_column_value():
    exposures = survey(300)
    exposures['i_auto'][9] = np.nan
    with pytest.raises(ValueError, match="'i_auto' must be finite, got nan i"):
        recalibrate_errors(exposures)


def test_no_scatter():
    exposures = survey(300)
    exposures['flux'] = 1.0
    with pytest.raises(ValueError, match='exposures must scatter'):
        recalibrate_errors(exposures)
