# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the simulator of gamma-ray images.
"""

import itertools

import numpy as np
import pytest
import torch
from astropy.table import QTable
from numpy.testing import assert_allclose, assert_array_equal
from scipy.ndimage import convolve
from scipy.special import ndtri
from scipy.stats import kstest

from astro_denoise.simulation.galactic_center import GalacticCenterSimulator
from astro_denoise.simulation.nuisances import SkySettings
from astro_denoise.simulation.random_numbers import RandomNumbers
from astro_denoise.simulation.realistic_sky import (
    _alias_table,
    nfw_squared_profile,
)

TIERS = ['legacy', 'fixed', 'realistic']
COMPONENTS = ['dm', 'ic', 'pi0', 'bubbles', 'gc', 'disk']

# Degrees of the pixel centers.
LINE = (np.arange(64) - 31.5) * 0.46875
X, Y = np.meshgrid(LINE, LINE)


@pytest.fixture(scope='module')
def legacy():
    return GalacticCenterSimulator('legacy').sample(300, seed=1)


@pytest.fixture(scope='module')
def realistic():
    return GalacticCenterSimulator('realistic').sample(300, seed=1)


def components(tier, n=1, seed=1, **parameters):
    """
    What images of some parameters are made of; the others are 0.
    """
    given = dict.fromkeys(GalacticCenterSimulator.parameter_names, 0)
    return GalacticCenterSimulator(tier).sample(
        n, seed=seed, parameters={**given, **parameters}, components=True)[3]


def test_sanity_figures_of_legacy(legacy):
    images, parameters, sources = legacy
    means, maxima = images.mean((1, 2)), images.max((1, 2))
    assert 7 < means.min() < 13
    assert 48 < means.max() < 62
    assert 100 < maxima.min() < 200
    assert 1000 < maxima.max() < 4000
    flux = sources['gc'] + sources['disk']
    assert 0.29 < np.mean(flux > 0) < 0.33
    total = np.mean(parameters['n_ps_total'])
    assert 2900 < total < 3150
    # Mean and median of the lognormal fluxes.
    assert np.sum(flux) / (300 * total) == pytest.approx(5.58, rel=0.01)
    # Above the noise of all else under it, few sources are seen.
    kernel = np.exp(-(X**2 + Y**2) / (2 * (0.8 / 3)**2))
    share = np.sum((kernel / kernel.sum())**2)
    signal = 2.047 * flux
    noise = np.sqrt(np.maximum(images, 1) / share)
    assert 15 < np.mean(np.sum(signal > 5 * noise, (1, 2))) < 60


def test_priors(legacy):
    parameters = legacy[1]
    lower, upper = GalacticCenterSimulator('legacy').bounds
    for name, low, high in zip(GalacticCenterSimulator.parameter_names,
                               lower, upper, strict=True):
        column = np.asarray(parameters[name], float)
        assert column.min() >= low
        assert column.max() < high
        assert kstest((column - low) / (high - low), 'uniform').pvalue > 1e-3
    assert parameters['n_ps_gc'].dtype.kind == 'i'
    assert_array_equal(parameters['n_ps_total'],
                       parameters['n_ps_gc'] + parameters['n_ps_disk'])
    assert_array_equal(parameters['exposure'], 1.0)
    assert_array_equal(parameters['angle'].value, 0.0)
    assert parameters.meta == {'tier': 'legacy', 'seed': 1}


def test_legacy_kernel_is_not_normalized():
    simulator = GalacticCenterSimulator('legacy')
    point = torch.zeros(1, 1, 64, 64)
    point[0, 0, 20, 30] = 1.0
    blurred = (simulator.gain * simulator._sky.blur(point))[0, 0].numpy()
    distance = 0.46875 * np.arange(-2, 3)
    kernel = np.exp(-0.5 * (distance**2 + distance[:, np.newaxis]**2)
                    / (0.8 / 3)**2)
    assert kernel.sum() == pytest.approx(2.047, abs=5e-4)
    assert_allclose(blurred[18:23, 28:33], kernel, atol=5e-4)
    blurred[18:23, 28:33] = 0
    assert_array_equal(blurred, 0)


def test_fixed_has_the_sky_and_the_spectrum_of_legacy(legacy):
    images, parameters, sources = GalacticCenterSimulator('fixed').sample(
        300, seed=1)
    assert_array_equal(sources['gc'], legacy[2]['gc'])
    assert_array_equal(parameters['a_dm'], legacy[1]['a_dm'])
    assert images.mean() == pytest.approx(legacy[0].mean(), rel=1e-3)

    def differences(counts, axis):
        return np.abs(np.diff(np.sqrt(counts), axis=axis)).mean()

    for axis in (1, 2):
        assert differences(images, axis) == pytest.approx(
            differences(legacy[0], axis), rel=0.04)


def gaussian(x, y):
    """Compute the point-spread function of the fixed tier."""
    plane = np.exp(-0.5 * ((LINE - x)**2 + (LINE[:, None] - y)**2)
                   / (0.8 / 3)**2)
    return plane / plane.sum()


def king(x, y, steps=24):
    """Integrate the point-spread function of Fermi-LAT over pixels."""
    line = (np.arange(64 * steps) + 0.5) / steps * 0.46875 - 15
    radius = np.hypot(line - x, (line - y)[:, None]) / np.degrees(0.00456544)
    density = 0.0
    for share, sigma, gamma in ((0.748988, 0.428654, 7.82363),
                                (0.251012, 0.715963, 3.61884)):
        density = density + share * (1 - 1 / gamma) / (
            2 * np.pi * sigma**2) * (
                1 + radius**2 / (2 * gamma * sigma**2))**-gamma
    plane = density.reshape(64, steps, 64, steps).sum((1, 3))
    return plane / plane.sum()


@pytest.mark.parametrize(('tier', 'psf', 'atol'), [
    ('fixed', gaussian, 1e-5), ('realistic', king, 4e-3)])
@pytest.mark.parametrize('place', [
    (0.234, 0.234), (0.0, 0.0), (3.03, -7.31), (0.0, 5.5)])
def test_sources_are_where_they_are(tier, psf, atol, place):
    light = GalacticCenterSimulator(tier).expected_light(
        [place[0]], [place[1]], [1.0])
    assert_allclose(light, psf(*place), atol=atol)
    assert light.sum() == pytest.approx(1, abs=1e-4)


def test_legacy_sources_are_in_the_middle_of_pixels():
    light = GalacticCenterSimulator('legacy').expected_light(
        [0.01], [0.4], [1.0])
    assert_allclose(light, gaussian(0.234375, 0.234375), atol=1e-4)


def test_light_of_several_sources():
    simulator = GalacticCenterSimulator()
    light = simulator.expected_light([1.0, -20.0, 3.1], [0.1, 0.0, 2.0],
                                     [5.0, 1e6, 7.0])
    assert_allclose(light, 5 * gaussian(1.0, 0.1) + 7 * gaussian(3.1, 2.0),
                    atol=1e-4)


@pytest.mark.parametrize(('name', 'formula'), [
    ('a_ic', 25 * np.exp(-abs(Y) / 5)),
    ('a_bubbles', None),
    ('a_dm', 100 * np.exp(-np.hypot(X, Y) / 5)
     / np.sqrt(np.pi * 5 * np.hypot(X, Y))),
])
def test_smooth_components_of_legacy(name, formula):
    plane = components('legacy', **{name: 0.5})[name.removeprefix('a_')][0]
    inside = slice(2, -2)
    if formula is None:  # well within the lobes, and well outside
        assert_allclose(plane[55, 30], 1.5 * 2.047, rtol=0.01)
        assert_allclose(plane[8, 34], 1.5 * 2.047, rtol=0.01)
        assert_allclose(plane[32, 5], 0, atol=0.01)
        return
    kernel = np.exp(-0.5 * (0.46875 * np.arange(-2, 3) / (0.8 / 3))**2)
    for _ in range(2):
        formula = np.apply_along_axis(np.convolve, 0, formula, kernel,
                                      'same').T
    assert_allclose(plane[inside, inside], 0.5 * formula[inside, inside],
                    rtol=1e-3)


def test_gas_is_new_in_each_image():
    pi0 = components('legacy', 40, a_pi0=1.0)['pi0']
    logarithm = np.log(pi0[:, 3:-3, 3:-3])
    # Smoothed by the point-spread function, ripples are lower.
    assert 0.06 < logarithm.std(0).mean() < 0.132
    smooth = 50 * np.exp(-(X / 20)**2 - (Y / 5)**2) * 2.047
    assert_allclose(pi0.mean(0)[30:34, 10:54].mean(),
                    smooth[30:34, 10:54].mean(), rtol=0.03)


@pytest.mark.parametrize('tier', TIERS)
def test_components_add_up(tier):
    simulator = GalacticCenterSimulator(tier, exposure=(0.5, 2.0))
    images, parameters, _, parts = simulator.sample(40, seed=3,
                                                    components=True)
    assert list(parts) == COMPONENTS
    expected = sum(parts.values())
    assert_allclose(simulator.draw(40, [3, 0])['expected'], expected,
                    rtol=1e-4)
    # Poisson noise about their sum, and nothing else.
    pulls = (images - expected) / np.sqrt(expected)
    assert abs(pulls.mean()) < 0.01
    assert pulls.std() == pytest.approx(1, abs=0.01)
    assert_array_equal(images, np.rint(images))
    assert images.dtype == np.float32
    # A component is its parameter times one template.
    level = parts['ic'].sum((1, 2)) / (parameters['a_ic']
                                       * parameters['exposure'])
    assert_allclose(level, level[0], rtol=1e-4)


@pytest.mark.parametrize('tier', ['fixed', 'realistic'])
def test_nuisances(tier):
    real = GalacticCenterSimulator(tier, nuisances=True)
    images, table, _, others = real.sample(200, seed=4, components=True)
    assert list(others) == [*COMPONENTS[:4], 'extra', *COMPONENTS[4:]]
    # Nothing is put on dark matter, but another point-spread function.
    template = components(tier, a_dm=1.0)['dm'][0].sum()
    assert_allclose(others['dm'].sum((1, 2)) / table['a_dm'], template,
                    rtol=0.03)
    # A level everywhere, and layers that are brightest in the plane.
    extra = others['extra']
    assert (extra[:, 4:-4, 4:-4] >= 0).all()
    level = extra[:, abs(LINE) > 12].mean((1, 2))
    plane = extra[:, abs(LINE) < 1].mean((1, 2))
    assert 10 < level.max() < 40
    assert 0.35 < (plane > 1.5 * level).mean() < 0.7
    expected = sum(others.values())
    pulls = (images - expected) / np.sqrt(expected)
    assert pulls.std() == pytest.approx(1, abs=0.01)


def test_given_nuisances():
    simulator = GalacticCenterSimulator(nuisances=True)
    shares = torch.full((2, 6), 0.5)
    shares[1] = torch.tensor([0.9, 1.0, 0.2, 0.9, 0.95, 0.6])
    drawn = simulator.draw(2, 3, nuisances=shares, exposure=torch.tensor(
        [1.0, 2.0]), components=True, a_ic=np.ones(2), a_pi0=np.ones(2))
    assert_array_equal(drawn['nuisances'], shares)
    assert_array_equal(drawn['exposure'], [1.0, 2.0])
    settings = SkySettings.drawn(2, RandomNumbers.seeded(1), shares)
    assert settings.isotropic.flatten().tolist() == [6.25, 25.0]
    heights = [height.flatten().tolist() for height in settings.heights]
    assert heights[0][0] == pytest.approx(5)
    assert heights[1][1] == pytest.approx(5 * np.exp(0.4 * ndtri(0.2)))
    assert settings.flux[0] == pytest.approx(1)
    assert settings.flux[1] > 1.4
    # The share of emission far from the plane tells the scale height.
    ratio = [float(plane[abs(LINE) > 9].mean() / plane[abs(LINE) < 3].mean())
             for plane in drawn['components'][:, 1].numpy()]
    assert ratio[1] > 1.5 * ratio[0]


def test_no_nuisances_of_the_legacy_tier():
    with pytest.raises(ValueError, match='nuisances must be False'):
        GalacticCenterSimulator('legacy', nuisances=True)


def test_nuisances_are_rotated_with_the_sky():
    simulator = GalacticCenterSimulator(rotation=True, nuisances=True)
    *_, parameters, _, parts = simulator.sample(60, seed=4, components=True)
    angle = np.asarray(parameters['angle'].to_value('rad'))
    extra = parts['extra'] - parts['extra'].min((1, 2), keepdims=True)
    for plane, turn in zip(extra, angle, strict=True):
        if plane.sum() < 1e5:
            continue
        along = X * np.cos(turn) + Y * np.sin(turn)
        across = Y * np.cos(turn) - X * np.sin(turn)
        inside = np.hypot(X, Y) < 14
        assert ((plane * across**2)[inside].sum()
                < (plane * along**2)[inside].sum())


@pytest.mark.parametrize('tier', TIERS)
def test_sources_make_their_component(tier):
    simulator = GalacticCenterSimulator(tier, exposure=2.0)
    _, _, sources, parts = simulator.sample(2, seed=3, components=True)
    for name in ('gc', 'disk'):
        # Some light is blurred over the edges.
        light = 2.0 * simulator.gain * sources[name].sum((1, 2))
        assert_allclose(parts[name].sum((1, 2)), light, rtol=0.02)
        assert (parts[name].sum((1, 2)) < light).all()


def test_offsets_point_at_the_sources():
    drawn = GalacticCenterSimulator().draw(
        20, 5, n_ps_gc=np.full(20, 50.0), n_ps_disk=np.zeros(20))
    offsets = drawn['offsets'].numpy()
    present = drawn['sources'].sum(1).numpy() > 0
    assert abs(offsets).max() <= 0.5
    assert (offsets[:, 0][~present] == 0).all()
    # Anywhere within the pixel.
    assert offsets[:, 0][present].std() == pytest.approx(12**-0.5, rel=0.1)


def test_same_seed_same_images():
    simulator = GalacticCenterSimulator()
    first = simulator.sample(140, seed=7)[0]
    assert_array_equal(first, simulator.sample(140, seed=7)[0])
    # An image does not depend on how many are drawn in other chunks.
    assert_array_equal(first[:128], simulator.sample(128, seed=7)[0])
    assert not np.array_equal(first, simulator.sample(140, seed=8)[0])
    assert not np.array_equal(simulator.sample(1)[0],
                              simulator.sample(1)[0])


def test_no_global_random_state():
    before = torch.get_rng_state()
    GalacticCenterSimulator().sample(1, seed=1)
    assert_array_equal(torch.get_rng_state(), before)


def test_given_parameters():
    simulator = GalacticCenterSimulator()
    _, parameters, sources = simulator.sample(
        3, seed=1, parameters={'a_dm': [0.1, 0.2, 0.3], 'n_ps_gc': 0})
    assert_allclose(parameters['a_dm'], [0.1, 0.2, 0.3])
    assert_array_equal(sources['gc'], 0)
    assert len(set(parameters['a_ic'])) == 3
    # A table that was returned makes the same skies' parameters again.
    again = simulator.sample(3, seed=2, parameters=parameters)[1]
    for name in simulator.parameter_names:
        assert_array_equal(again[name], parameters[name])
    dark = simulator.sample(200, seed=1, parameters={'a_dm': 0.0})[0]
    bright = simulator.sample(200, seed=1, parameters={'a_dm': 1.0})[0]
    assert (bright - dark).mean() == pytest.approx(
        components('fixed', a_dm=1.0)['dm'].mean(), rel=0.02)


def test_exposure():
    simulator = GalacticCenterSimulator(exposure=(0.3, 3.0))
    images, parameters, _ = simulator.sample(300, seed=1)
    exposure = parameters['exposure']
    assert kstest(np.log(exposure / 0.3) / np.log(10),
                  'uniform').pvalue > 1e-3
    levels = images.mean((1, 2)) / exposure
    assert levels.mean() == pytest.approx(32.2, rel=0.1)
    twice = GalacticCenterSimulator(exposure=2.0).sample(50, seed=1)[0]
    once = GalacticCenterSimulator().sample(50, seed=1)[0]
    assert twice.mean() == pytest.approx(2 * once.mean(), rel=0.01)


def test_rotation():
    simulator = GalacticCenterSimulator(rotation=True)
    parameters = {'n_ps_gc': 0, 'a_dm': 0, 'a_bubbles': 0, 'a_pi0': 0,
                  'a_ic': 1}
    _, table, sources, parts = simulator.sample(
        60, seed=1, parameters=parameters, components=True)
    angles = table['angle']
    assert kstest(angles.to_value('deg') / 360, 'uniform').pvalue > 1e-3
    for angle, smooth, disk in zip(angles.to_value('rad'), parts['ic'],
                                   sources['disk'], strict=True):
        latitude = Y * np.cos(angle) - X * np.sin(angle)
        inner = np.hypot(X, Y) < 14
        # Emission and sources keep to the plane.
        assert np.corrcoef(np.exp(-abs(latitude) / 5)[inner],
                           smooth[inner])[0, 1] > 0.99
        inner &= disk > 0
        assert np.median(abs(latitude[inner])) < 3
    # Sources stay inside: none is lost.
    flux = sources['disk'].sum((1, 2)) / table['n_ps_disk']
    assert np.mean(flux) == pytest.approx(5.58, rel=0.02)


def test_dark_matter_and_sources_share_a_profile(realistic):
    for tier in TIERS:
        halo = components(tier, a_dm=1.0)['dm'][0]
        parts = components(tier, 400, n_ps_gc=799)['gc'].mean(0)
        radius = np.hypot(X, Y)
        edges = [0.5, 1, 2, 4, 7, 10, 14]
        for low, high in itertools.pairwise(edges):
            ring = (radius >= low) & (radius < high)
            assert (parts[ring].sum() / parts.sum() == pytest.approx(
                halo[ring].sum() / halo.sum(), rel=0.06))


def test_realistic_levels(legacy, realistic):
    for name in ('a_dm', 'a_ic', 'n_ps_gc'):
        assert_array_equal(realistic[1][name].dtype, legacy[1][name].dtype)
    assert realistic[0].mean() == pytest.approx(legacy[0].mean(), rel=0.05)
    for name in ('gc', 'disk'):
        flux = (realistic[2][name].sum((1, 2))
                / realistic[1][f'n_ps_{name}'])
        assert np.mean(flux) == pytest.approx(5.58, rel=0.02)
    # Without the brightest sources, unlike the lognormal.
    assert realistic[2]['gc'].max() < legacy[2]['gc'].max()


def test_realistic_profiles(realistic):
    # Between core and scale radius, the emission falls as 1 - 2 gamma.
    angle = np.array([0.2, 0.4])
    for gamma in (0.8, 1.0, 1.3):
        inner, outer = nfw_squared_profile(angle, gamma)
        assert np.log2(inner / outer) == pytest.approx(2 * gamma - 1,
                                                       abs=0.06)
    # An independent sum along the line of sight.
    s = np.linspace(0, 300, 400_001)
    r = np.sqrt(s**2 + 8.2**2 - 2 * 8.2 * s * np.cos(np.radians(10 * angle)
                                                     )[:, np.newaxis]) / 20
    emission = np.trapezoid((r**-1.2 * (1 + r)**-1.8)**2, s, axis=1)
    profile = nfw_squared_profile(10 * angle, 1.2)
    assert emission[0] / emission[1] == pytest.approx(
        profile[0] / profile[1], rel=1e-3)
    # The disk is flat, and denser towards the center.
    disk = realistic[2]['disk'].mean(0)
    assert disk[28:36].sum() > 4 * disk[40:48].sum()
    assert disk[:, 24:40].sum() > 1.05 * 2 * disk[:, :8].sum()


def test_gamma():
    steep = GalacticCenterSimulator('realistic', gamma=1.5)
    flat = GalacticCenterSimulator('realistic', gamma=0.5)
    parameters = {'a_dm': 1.0}
    centers = [simulator.sample(1, seed=1, parameters=parameters,
                                components=True)[3]['dm'][0]
               for simulator in (steep, flat)]
    assert centers[0][31:33, 31:33].sum() > 5 * centers[1][31:33, 31:33].sum()
    assert centers[0].sum() == pytest.approx(centers[1].sum(), rel=0.02)


def test_photons_fall_as_the_point_spread_function_of_fermi_says():
    # King functions have a closed quantile.
    rng = np.random.default_rng(1)
    n = 400_000
    core = rng.random(n) < 0.748988
    sigma = np.where(core, 0.428654, 0.715963)
    gamma = np.where(core, 7.82363, 3.61884)
    radius = (np.degrees(0.00456544)
              * np.sqrt(2 * gamma * sigma**2
                        * (rng.random(n)**(1 / (1 - gamma)) - 1)))
    azimuth = 2 * np.pi * rng.random(n)
    x, y = 0.17 + radius * [np.cos(azimuth), np.sin(azimuth)]
    edges = np.append(LINE - 0.234375, 15)
    drawn = np.histogram2d(y, x, bins=[edges] * 2)[0] / n
    light = GalacticCenterSimulator('realistic').expected_light(
        [0.17], [0.17], [1.0])
    assert_allclose(light, drawn, atol=0.004)


def test_wcs():
    wcs = GalacticCenterSimulator().wcs
    sky = wcs.pixel_to_world([31.5, 0, 63], [31.5, 0, 0])
    assert_allclose(sky.l.wrap_at('180d').deg, [0, -14.765625, 14.765625],
                    atol=1e-9)
    assert_allclose(sky.b.deg, [0, -14.765625, -14.765625], atol=1e-9)


@pytest.mark.parametrize('n', [0, -3])
def test_bad_number(n):
    with pytest.raises(ValueError, match=f'n must be at least 1, got {n}'):
        GalacticCenterSimulator().sample(n)


@pytest.mark.parametrize('n', [1.5, True, 'many'])
def test_number_of_wrong_type(n):
    with pytest.raises(TypeError, match=f'n must be an integer, got {n!r}'):
        GalacticCenterSimulator().sample(n)


@pytest.mark.parametrize('seed', ['x', 1.5, True, -1])
def test_bad_seed(seed):
    with pytest.raises(ValueError, match=f'seed must be an integer, not '
                       f'negative, got {seed!r}'):
        GalacticCenterSimulator().sample(1, seed=seed)


@pytest.mark.parametrize(('options', 'match'), [
    ({'tier': 'real'}, "tier must be .* got 'real'"),
    ({'exposure': 0.0}, 'exposure must be positive.*0.0'),
    ({'exposure': (2.0, 1.0)}, r'exposure.*\(2.0, 1.0\)'),
    ({'exposure': (1.0, np.inf)}, 'exposure'),
    ({'exposure': 'long'}, "exposure.*'long'"),
    ({'gamma': 1.0}, 'gamma is for the realistic tier, got 1.0'),
    ({'tier': 'realistic', 'gamma': 1.7}, 'gamma .* 1.7'),
])
def test_bad_options(options, match):
    with pytest.raises(ValueError, match=match):
        GalacticCenterSimulator(**options)


@pytest.mark.parametrize('parameters', [
    {'a_xy': 0.5}, {'a_dm': -0.1}, {'a_dm': [0.1, 0.2]},
    {'n_ps_gc': np.nan}, QTable({'b_dm': [0.1]})])
def test_bad_parameters(parameters):
    with pytest.raises(ValueError, match=r'parameters.*got'):
        GalacticCenterSimulator().sample(1, parameters=parameters)


@pytest.mark.parametrize('tier', TIERS)
def test_blur_is_a_convolution(tier):
    simulator = GalacticCenterSimulator(tier)
    kernel = simulator.expected_light(*[[-0.234375]] * 2, [1.0])
    plane = np.random.default_rng(1).random((64, 64), np.float32)
    plane[3, 60] = 1000.0
    expected = convolve(plane.astype(float), kernel[20:43, 20:43],
                        mode='constant')
    blurred = simulator._sky.blur(torch.from_numpy(plane)[None, None])
    assert_allclose(blurred[0, 0], expected, rtol=2e-3, atol=1e-3)


@pytest.mark.parametrize('options', [
    {}, {'nuisances': True}, {'tier': 'realistic', 'nuisances': True}])
def test_bright_sources(options):
    simulator = GalacticCenterSimulator(**options)
    none = {'n_ps_gc': np.zeros(30), 'n_ps_disk': np.zeros(30)}
    bright, plain = (simulator.draw(30, 3, components=True, bright=chosen,
                                    **none)
                     for chosen in ((6, 100.0, 1000.0), None))
    assert 'profile' not in plain
    flux = bright['sources'].sum(1) * simulator.gain
    assert not plain['sources'].any()
    added = flux[flux > 0]
    assert 60 < len(added) < 120  # of 90 that are expected
    assert 99.9 < added.min() < 150
    assert 500 < added.max() < 1500  # two may share a pixel
    light = bright['components'][:, -1].sum((1, 2))
    assert_allclose(light, flux.sum((1, 2)), rtol=0.2)
    assert (light <= flux.sum((1, 2)) * 1.001).all()
    profile = bright['profile'].numpy()
    assert profile.shape == (30, 11, 11)
    assert (profile.sum((1, 2)) > 0.9).all()
    assert_allclose(profile, profile[:, ::-1, ::-1], atol=1e-6)
    assert (profile.reshape(30, -1).argmax(1) == 60).all()


def test_no_bright_sources_of_the_legacy_tier():
    with pytest.raises(ValueError, match='bright must be None'):
        GalacticCenterSimulator('legacy').draw(1, 3, bright=(6, 9.0, 99.0))


def test_sources_in_the_middle_of_pixels():
    simulator = GalacticCenterSimulator(nuisances=True)
    exact, centered = (simulator.draw(8, 3, centered=centered)['expected']
                       for centered in (False, True))
    assert_allclose(centered.mean((1, 2)), exact.mean((1, 2)), rtol=0.01)
    assert not np.allclose(centered, exact, rtol=0.01)


def test_alias_table():
    shares = np.random.default_rng(1).random(50)**4
    shares /= shares.sum()
    own, other = _alias_table(shares)
    own = np.minimum(own, 1.0)
    chances = own.copy()
    np.add.at(chances, other, 1.0 - own)
    assert_allclose(chances / 50, shares, atol=1e-12)
