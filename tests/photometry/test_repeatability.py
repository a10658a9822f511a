# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests for the repeatability and exposures modules.
"""

import numpy as np
import pytest
from astropy import units as u
from astropy.table import QTable, Table
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from astro_denoise.photometry.calibration import sigma68
from astro_denoise.photometry.exposures import make_pairs
from astro_denoise.photometry.repeatability import (
    RepeatabilityReport,
    check_repeatability,
)
from astro_denoise.photometry.verdict import verdict


def survey(n_galaxies=3000, n_exposures=2, *, seed=1, zero_points=True):
    """Fluxes with right errors; S/N from about 30 at 18.5 to 1 at 22.5."""
    rng = np.random.default_rng(seed)
    magnitude = rng.uniform(18, 23, n_galaxies)
    flux = 10**(-0.4 * (magnitude - 22.5) + rng.normal(0, 0.3, n_galaxies))
    galaxy = np.tile(np.arange(n_galaxies), n_exposures)
    table = QTable({'ref_id': galaxy,
                    'image_id': np.repeat(np.arange(n_exposures), n_galaxies),
                    'i_auto': magnitude[galaxy]})
    true = flux[galaxy]
    table['flux'] = true + rng.normal(size=len(galaxy))
    table['flux_error'] = np.ones(len(galaxy))
    if zero_points:
        zp = np.linspace(4.5, 5.3, n_exposures)[table['image_id']]
        table['flux'] /= zp
        table['flux_error'] /= zp
        table['zp'] = zp
        table['zp_error'] = np.full(len(zp), 1e-4)
    return table


@pytest.fixture(scope='module')
def raw():
    """3000 galaxies in two exposures."""
    return survey()


def changed(table, flux=None, error=1.0):
    """A copy with other fluxes and errors."""
    table = table.copy()
    if flux is not None:
        table['flux'] = flux(table['flux'])
    table['flux_error'] = table['flux_error'] * error
    return table


class TestIdentity:
    def test_response_is_one_exactly(self, raw):
        report = check_repeatability(raw, raw, seed=1)
        table = report.table
        assert list(table['low']) == [18, 19, 20, 21, 22]
        for name in ('response', 'flux_ratio'):
            assert np.all(table[name] == 1)
            assert np.all(table[f'{name}_error'] == 0)
        assert np.all(table['sigma68'] == table['raw_sigma68'])
        assert np.all(table['sigma68'] == table['sigma68_over_response'])
        assert set(table['verdict']) == {'flux kept, errors right'}

    def test_figures(self, raw):
        table = check_repeatability(raw, raw, seed=1).table
        assert np.sum(table['n']) == 3000
        assert_allclose(table['sigma68'], 1, atol=0.12)
        assert np.all(np.abs(table['sigma68'] - 1)
                      < 4 * table['sigma68_error'])
        assert np.all(np.abs(table['mean_df']) < 4 * table['mean_df_error'])
        assert_allclose(table['coverage68'], 0.683, atol=0.06)
        assert_allclose(table['coverage95'], 0.954, atol=0.03)


class TestVerdicts:
    def test_shrinking_denoiser_is_called_out(self, raw):
        level = np.mean(raw['flux'] * raw['zp']) / raw['zp']
        denoised = changed(raw, lambda flux: 0.5 * flux + 0.5 * level)
        floor = raw.copy()
        floor['floor_error'] = 0.88 * floor['flux_error']
        table = check_repeatability(denoised, floor, seed=1).table
        assert_allclose(table['sigma68'], 0.5, atol=0.06)
        assert_allclose(table['response'], 0.5, atol=2e-3)
        assert_allclose(table['sigma68_over_response'],
                        table['raw_sigma68'], rtol=0.02)
        assert_allclose(table['floor'], 0.88, atol=1e-3)
        for words in table['verdict']:
            assert words.startswith('scatter below the floor: prior-driven')
            assert 'response 0.50' in words
        table = check_repeatability(denoised, raw, seed=1).table
        for words in table['verdict']:
            assert words.startswith('flux differences shrunk: response 0.50')

    def test_slight_shrinking(self):
        raw = survey(20_000)
        denoised = changed(raw, lambda flux: 0.95 * flux)
        report = check_repeatability(denoised, raw, bins=[18, 21], seed=1)
        assert 'shrunk: response 0.95' in report.table['verdict'][0]

    def test_stretched(self, raw):
        denoised = changed(raw, lambda flux: 1.2 * flux)
        report = check_repeatability(denoised, raw, bins=[18, 23], seed=1)
        assert 'stretched: response 1.20' in report.table['verdict'][0]

    @pytest.mark.parametrize(('factor', 'words'), [
        (1.12, 'flux kept, errors 1. % too large'),
        (0.7, 'flux kept, errors 3. % too small')])
    def test_errors(self, raw, factor, words):
        report = check_repeatability(changed(raw, error=factor), raw,
                                     bins=[18, 23], seed=1)
        pattern = words.split('.')
        assert report.table['verdict'][0].startswith(pattern[0])
        assert report.table['verdict'][0].endswith(pattern[1][1:])

    def test_loud_denoiser_is_not_decided(self, raw):
        rng = np.random.default_rng(2)
        few = raw[raw['ref_id'] < 100]
        denoised = changed(few)
        denoised['flux'] += rng.normal(0, 5, len(few))
        report = check_repeatability(denoised, few, bins=[21, 23], seed=1)
        assert 'flux not decided (response' in report.table['verdict'][0]

    def test_without_raw(self, raw):
        report = check_repeatability(raw, bins=[18, 23], seed=1)
        assert report.table['verdict'][0] == 'flux not tested, errors right'
        assert np.isnan(report.table['response'][0])

    def test_few_pairs(self, raw):
        report = check_repeatability(raw[raw['ref_id'] < 10],
                                     raw, bins=[18, 23])
        assert report.table['verdict'][0] == 'too few pairs (10)'

    def test_empty_bin(self, raw):
        report = check_repeatability(raw, raw, bins=[18, 23, 24], seed=1)
        assert report.table['n'][1] == 0
        assert report.table['verdict'][1] == 'too few pairs (0)'

    def test_flux_lost_without_response(self, raw):
        # what happens to a galaxy that is faint for its bin
        denoised = changed(raw)
        denoised['flux'] -= 0.3 * np.mean(raw['flux'] * raw['zp']) / raw['zp']
        table = check_repeatability(denoised, raw, bins=[18, 23], seed=1).table
        assert table['verdict'][0].startswith(
            'flux lost: response 1.00, flux ratio 0.7')

    def test_floor_is_compared_with_raw(self):
        # where raw errors are too large the denoised ones may be so too
        row = {'n': 500, 'sigma68': 0.8, 'sigma68_error': 0.02,
               'response': 1.01, 'response_error': 0.01, 'floor': 0.88,
               'flux_ratio': 1.0, 'flux_ratio_error': 0.01,
               'sigma68_over_raw': 0.95, 'sigma68_over_raw_error': 0.01}
        assert verdict(row) == 'flux kept, errors 25 % too large'
        row['sigma68_over_raw'] = 0.85
        assert verdict(row).startswith('scatter below the floor')


class TestProfile:
    def test_rival_and_floor(self, raw):
        rng = np.random.default_rng(3)
        profile = raw['ref_id', 'image_id', 'zp', 'zp_error']
        true = np.tile(0.5 * (raw['flux'] * raw['zp'])[:3000]
                       + 0.5 * (raw['flux'] * raw['zp'])[3000:], 2)
        profile['flux'] = (true + 0.88 * rng.normal(size=6000)) / 0.62 / raw[
            'zp']
        profile['flux_error'] = 0.88 / 0.62 / raw['zp']
        profile['aperture_fraction'] = np.full(6000, 0.62)
        profile['floor_error'] = 0.88 / raw['zp']
        table = check_repeatability(raw, raw, profile=profile,
                                    bins=[18, 23], seed=1).table
        assert_allclose(table['profile_sigma68'], 0.88, atol=0.04)
        assert_allclose(table['floor'], 0.88, atol=1e-3)


class TestPairs:
    @settings(max_examples=25)
    @given(st.lists(st.integers(0, 5), min_size=2, max_size=30))
    def test_each_pair_once(self, galaxy):
        galaxy = np.array(galaxy)
        expected = {frozenset((i, j)) for i in range(len(galaxy))
                    for j in range(i) if galaxy[i] == galaxy[j]}
        if not expected:
            return
        pairs = make_pairs(galaxy, np.ones(len(galaxy), dtype=bool),
                           np.random.default_rng(1), 'ref_id')
        found = [frozenset(pair) for pair in zip(
            pairs.first.tolist(), pairs.second.tolist(), strict=True)]
        assert len(found) == len(expected)
        assert set(found) == expected

    def test_random_order(self):
        pairs = make_pairs(np.tile(np.arange(1000), 2),
                           np.ones(2000, dtype=bool),
                           np.random.default_rng(1), 'ref_id')
        assert 400 < np.sum(pairs.first < pairs.second) < 600

    def test_drift_does_not_shift_the_mean(self):
        # the second exposure is brighter by four errors
        raw = survey(4000, zero_points=False)
        raw['flux'] += 4.0 * raw['image_id']
        table = check_repeatability(raw, bins=[18, 23], seed=1).table
        assert abs(table['mean_df'][0]) < 0.2
        assert table['sigma68'][0] > 2

    def test_three_exposures(self):
        raw = survey(1000, 3)
        raw['flux'][5] = np.nan
        report = check_repeatability(raw, raw, bins=[18, 23], seed=1)
        assert report.table['n'][0] == 2998
        assert report.table['n_galaxies'][0] == 1000

    def test_list_of_exposures(self, raw):
        tables = [raw[raw['image_id'] == number] for number in (0, 1)]
        for table in tables:
            table.remove_column('image_id')
        first = check_repeatability(tables, tables, seed=1)
        second = check_repeatability(raw, raw, seed=1)
        assert_allclose(first.table['sigma68'], second.table['sigma68'])

    def test_rows_in_another_order(self, raw):
        order = np.random.default_rng(1).permutation(len(raw))
        report = check_repeatability(raw, raw[order], seed=1)
        assert np.all(report.table['response'] == 1)

    def test_raw_has_fewer_rows(self, raw):
        report = check_repeatability(raw, raw[raw['ref_id'] < 2000],
                                     bins=[18, 23], seed=1)
        assert report.table['n'][0] == 2000

    def test_units(self, raw):
        jansky = raw.copy()
        jansky['zp'] *= u.mJy / u.adu
        jansky['zp_error'] *= u.mJy / u.adu
        for name in ('flux', 'flux_error'):
            jansky[name] *= u.adu
        denoised = jansky.copy()
        for name in ('zp', 'zp_error'):
            denoised[name] = denoised[name].to(u.Jy / u.adu)
        report = check_repeatability(denoised, jansky, bins=[18, 23], seed=1)
        assert_allclose(report.table['response'], 1)
        assert_allclose(report.table['flux_ratio'], 1)

    def test_seed(self, raw):
        reports = [check_repeatability(raw, raw, seed=3) for _ in range(2)]
        assert np.all(reports[0].table['sigma68_error']
                      == reports[1].table['sigma68_error'])

    def test_input_is_unchanged(self, raw):
        copy = raw.copy()
        check_repeatability(raw, raw, bins=[18, 23])
        assert all(np.array_equal(raw[name], copy[name])
                   for name in copy.colnames)


class TestBins:
    def test_signal_to_noise_column(self, raw):
        table = raw.copy()
        table['snr'] = 10**(-0.4 * (raw['i_auto'] - 22.5))
        report = check_repeatability(table, table, column='snr',
                                     bins=[1, 3, 10, 30], seed=1)
        assert np.all(report.table['n'] > 0)

    def test_computed_signal_to_noise(self):
        # bins chosen by the fluxes of the pair would bias the response
        raw = survey(6000, 4)
        rng = np.random.default_rng(2)
        denoised = changed(raw)
        denoised['flux'] += 0.3 * rng.normal(size=len(raw)) * raw[
            'flux_error']
        report = check_repeatability(denoised, raw, column='snr',
                                     bins=[-1, 2, 5, 20], seed=1)
        table = report.table
        assert np.all(table['n'] > 1000)
        assert np.all(np.abs(table['response'] - 1)
                      < 4 * table['response_error'] + 0.01)

    def test_not_enough_exposures_for_signal_to_noise(self, raw):
        with pytest.raises(ValueError, match='fewer than three exposures'):
            check_repeatability(raw, raw, column='snr')

    def test_number_of_bins(self, raw):
        report = check_repeatability(raw, raw, bins=4, seed=1)
        assert list(report.table['n']) == [750] * 4

    @pytest.mark.parametrize('bins', [0, 2.5, [1], [3, 2], [1, np.nan]])
    def test_bad_bins(self, raw, bins):
        with pytest.raises(ValueError, match='bins must be'):
            check_repeatability(raw, raw, bins=bins)


class TestReport:
    def test_text(self, raw):
        report = check_repeatability(raw, raw, seed=1)
        text = str(report)
        assert isinstance(report, RepeatabilityReport)
        assert 'in bins of i_auto: 3000 pairs' in text
        assert text.count('flux kept, errors right') == 5
        for name in ('low', 's68', 'R', 's68/R', 'ratio', '95%'):
            assert name in text
        assert max(map(len, text.splitlines())) <= 120

    def test_table_can_be_written(self, raw, tmp_path):
        report = check_repeatability(raw, raw, seed=1)
        report.table.write(tmp_path / 'report.ecsv')
        again = Table.read(tmp_path / 'report.ecsv')
        assert_allclose(again['sigma68'], report.table['sigma68'])

    @pytest.mark.parametrize('row', [None, 2])
    def test_plot(self, raw, row):
        report = check_repeatability(raw, raw, seed=1)
        figure = report.plot(row=row)
        left, middle, right = figure.axes
        labels = [text.get_text() for text in left.get_legend().texts]
        low = 18 if row is None else 20
        high = 23 if row is None else 21
        df = report.pairs['df'][(report.pairs['i_auto'] >= low)
                                & (report.pairs['i_auto'] < high)]
        assert any(f'{sigma68(df):.2f}' in label for label in labels)
        assert 'unit normal' in labels
        assert middle.get_xlabel() == right.get_xlabel() == 'i_auto'

    def test_plot_without_raw(self, raw):
        from matplotlib.figure import Figure

        figure = Figure()
        report = check_repeatability(raw, bins=[18, 23], seed=1)
        assert report.plot(figure=figure) is figure


class TestBadInput:
    @pytest.mark.parametrize('name', ['ref_id', 'image_id', 'flux',
                                      'flux_error', 'i_auto'])
    def test_missing_column(self, raw, name):
        table = raw.copy()
        table.remove_column(name)
        with pytest.raises(ValueError,
                           match=f"exposures has no column '{name}'"):
            check_repeatability(table)

    @pytest.mark.parametrize(('name', 'value', 'rule'), [
        ('flux_error', -1.0, 'positive and finite'),
        ('flux_error', np.nan, 'positive and finite'),
        ('zp', 0.0, 'positive'), ('zp', np.nan, 'finite'),
        ('zp_error', -0.1, 'at least 0')])
    def test_bad_value(self, raw, name, value, rule):
        table = raw.copy()
        table[name][17] = value
        with pytest.raises(ValueError, match=(
                f"'{name}' must be {rule}, got {value} in row 17 "
                r'\(ref_id 17\)')):
            check_repeatability(table)

    def test_mixed_units(self, raw):
        table = raw.copy()
        table['flux'] = table['flux'] * u.adu
        with pytest.raises(ValueError, match="'flux_error' must have"):
            check_repeatability(table)
        table['flux_error'] = table['flux_error'] * u.adu
        with pytest.raises(ValueError, match="'flux' of raw must have"):
            check_repeatability(table, raw)
        first, second = table[:3000], raw[3000:]
        with pytest.raises(ValueError, match=r'exposures\[1\] .* mixed'):
            check_repeatability([first, second])

    def test_one_exposure(self, raw):
        with pytest.raises(ValueError, match='at least two exposures, got im'):
            check_repeatability(raw[:3000])
        with pytest.raises(ValueError, match='got a list of 1'):
            check_repeatability([raw])

    def test_no_pairs(self, raw):
        table = raw.copy()
        table['ref_id'] = np.arange(len(table))
        with pytest.raises(ValueError, match='hold no pairs'):
            check_repeatability(table)

    def test_nothing_in_common(self, raw):
        other = raw.copy()
        other['ref_id'] += 10_000
        with pytest.raises(ValueError, match='raw has no galaxy'):
            check_repeatability(raw, other)

    def test_twice_the_same_row(self, raw):
        table = raw.copy()
        table['ref_id'][7] = 3
        with pytest.raises(ValueError, match='in rows 3 and 7'):
            check_repeatability(table)

    def test_column_of_nan(self, raw):
        table = raw.copy()
        table['i_auto'] = np.nan
        with pytest.raises(ValueError, match='has no finite value'):
            check_repeatability(table)


class TestForced:
    def test_another_rival(self, raw):
        rng = np.random.default_rng(8)
        forced = changed(raw, lambda flux: flux)
        noise = rng.normal(size=len(raw)) * raw['flux_error']
        forced['flux'] = raw['flux'] + 0.5 * noise
        table = check_repeatability(raw, raw, forced=forced, bins=[18, 23],
                                    seed=1).table
        assert_allclose(table['forced_sigma68'], np.sqrt(1.25), rtol=0.05)
        assert_allclose(table['forced_response'], 1, atol=0.02)
        assert np.isnan(table['profile_sigma68'][0])

    def test_all_the_light(self, raw):
        # where apertures have a part of it, errors and floor are larger too
        rng = np.random.default_rng(8)
        forced = raw.copy()
        forced['flux'] = raw['flux'] + 0.3 * rng.normal(
            size=len(raw)) * raw['flux_error']
        forced['floor_error'] = 0.5 * raw['flux_error']
        options = {'bins': [18, 23], 'seed': 1}
        expected = check_repeatability(raw, raw, forced=forced,
                                       **options).table
        assert_allclose(expected['floor'], 0.5, rtol=0.03)
        for name in ('flux', 'flux_error', 'floor_error'):
            forced[name] *= 1.6
        found = check_repeatability(raw, raw, forced=forced, **options).table
        for name in ('floor', 'forced_sigma68'):
            assert_allclose(found[name], expected[name], rtol=0.02)
        assert found['verdict'][0].endswith('errors right')
        assert_allclose(found['forced_response'], 1.6, rtol=0.02)
        # what is in the apertures is not known without raw fluxes
        found = check_repeatability(raw, forced=forced, **options).table
        assert np.isnan(found['floor'][0])
        # or is said
        forced['aperture_fraction'] = np.full(len(raw), 1 / 1.6)
        found = check_repeatability(raw, raw, forced=forced, **options).table
        assert_allclose(found['floor'], expected['floor'], rtol=0.02)


class TestNames:
    def test_columns_of_other_names(self, raw):
        other = raw.copy()
        for name, new in (('image_id', 'exposure'), ('flux', 'counts'),
                          ('flux_error', 'sigma')):
            other.rename_column(name, new)
        other['flux'] = np.full(len(other), -99.0)  # is not what is meant
        before = other.copy()
        names = {'image_id': 'exposure', 'flux': 'counts',
                 'flux_error': 'sigma'}
        expected = check_repeatability(raw, raw, bins=[18, 23], seed=1)
        found = check_repeatability(other, other, bins=[18, 23], seed=1,
                                    **names)
        assert list(found.table[0].values())[:8] == (
            list(expected.table[0].values())[:8])
        assert np.all(other == before)
        with pytest.raises(ValueError, match="no column 'sigma'"):
            check_repeatability(raw, bins=[18, 23], flux_error='sigma')

    def test_dataframes(self, raw):
        frame = raw.to_pandas()
        expected = check_repeatability(raw, bins=[18, 23], seed=1)
        for tables in (frame, [part for _, part in
                               frame.groupby('image_id')]):
            found = check_repeatability(tables, bins=[18, 23], seed=1)
            assert found.table['n'][0] == expected.table['n'][0]
            assert_allclose(found.table['sigma68'],
                            expected.table['sigma68'], rtol=1e-12)


class TestSparseBins:
    @pytest.mark.parametrize('fewest', [1, 300, 700, 5000])
    def test_merged_until_there_are_enough(self, raw, fewest):
        few = raw[(raw['i_auto'] < 20) | (raw['ref_id'] % 7 == 0)]
        table = check_repeatability(few, min_pairs=fewest, seed=1).table
        assert table['n'].sum() == len(few) / 2
        assert np.all(table['n'] >= min(fewest, len(few) / 2))
        assert np.all(table['low'][1:] == table['high'][:-1])
        assert (table['low'][0], table['high'][-1]) == (18, 23)

    def test_bins_that_are_given_stay(self, raw):
        few = raw[raw['i_auto'] < 19]
        table = check_repeatability(few, bins=[18, 18.1, 18.2, 19], seed=1,
                                    min_pairs=10_000).table
        assert list(table['low']) == [18, 18.1, 18.2]

    def test_fewest(self, raw):
        with pytest.raises(ValueError, match='min_pairs must be at least 1'):
            check_repeatability(raw, min_pairs=0)


class TestErrors:
    def test_errors_are_the_scatter_of_surveys(self):
        values, errors = [], []
        for seed in range(60):
            table = check_repeatability(
                survey(400, 3, seed=seed), survey(400, 3, seed=seed),
                bins=[18, 23], seed=1, n_resamples=100).table[0]
            values.append(table['sigma68'])
            errors.append(table['sigma68_error'])
        assert_allclose(np.median(errors), np.std(values), rtol=0.25)
