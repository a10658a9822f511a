# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the rule of all plotting functions: ``ax`` for one panel, ``figure``
for several, new ones unknown to pyplot without.
"""

import inspect
import pkgutil
from importlib import import_module

import matplotlib as mpl
import numpy as np
import pytest
from astropy.table import QTable, Table
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import astro_denoise
from astro_denoise import evaluation
from astro_denoise.denoising import plot_denoised, plot_profile
from astro_denoise.estimation import (
    PredictedImage,
    plot_posterior,
    plot_predictive,
)
from astro_denoise.photometry import check_repeatability
from astro_denoise.photometry.plots import (
    plot_apertures,
    plot_differences,
    plot_repeatability,
    plot_response,
    plot_sigma68,
)
from astro_denoise.segmentation import PointSources, plot_sources

RNG = np.random.default_rng(1)
IMAGE = RNG.normal(100, 5, (20, 30))
NOTHING = QTable({name: np.zeros(0) for name in (
    'x_centroid', 'y_centroid', 'snr')})
SCORE = RNG.random((5, 8, 8))
FLUX = np.where(RNG.random((5, 8, 8)) < SCORE, 3.0, 0.0)
SAMPLES, TRUTH = RNG.normal(size=(50, 30, 7)), RNG.normal(size=(50, 7))
PARAMETERS = {'a_dm': RNG.random(9), 'n_ps_gc': RNG.integers(200, 800, 9)}


def report():
    raw = QTable({'ref_id': np.tile(np.arange(100), 2),
                  'image_id': np.repeat([1, 2], 100),
                  'flux': RNG.normal(10, 1, 200), 'flux_error': np.ones(200),
                  'i_auto': np.tile(np.linspace(20, 22, 100), 2)})
    return check_repeatability(raw, raw, n_resamples=10, seed=1)


def apertures():
    return QTable({'ref_id': [1], 'aperture_x': [9.0], 'aperture_y': [8.0],
                   'aperture_a': [4.0], 'aperture_b': [3.0],
                   'aperture_theta': [0.0], 'flag': [0], 'flux': [10.0],
                   'flux_error': [2.0]})


def log():
    return Table({'epoch': [1, 2], 'train_mse': [3.0, 2.0],
                  'validation_mse': [4.0, 2.5], 'kept': [False, True]})


def predicted():
    counts = RNG.poisson(9.0, (64, 64)).astype(float)
    return PredictedImage(counts, np.ones((64, 64), bool),
                          np.full((64, 64), 9.0), np.full((64, 64), 3.0))


# Of each function: arguments to call it with.
ONE_PANEL = {
    plot_profile: lambda: (IMAGE, IMAGE),
    plot_sources: lambda: (PointSources(SCORE[0], SCORE[0], None, NOTHING,
                                        0.5),),
    plot_differences: lambda: (report(),),
    plot_sigma68: lambda: (report(),),
    plot_response: lambda: (report(),),
    evaluation.plot_thresholds: lambda: (
        evaluation.scan_thresholds(SCORE, FLUX),),
    evaluation.plot_coverage: lambda: (
        evaluation.expected_coverage(SAMPLES, TRUTH),),
    evaluation.plot_tarp: lambda: (evaluation.tarp_coverage(SAMPLES, TRUTH),),
    evaluation.plot_training_log: lambda: (log(),),
}
SEVERAL_PANELS = {
    plot_denoised: lambda: (IMAGE, IMAGE + RNG.normal(size=IMAGE.shape)),
    plot_apertures: lambda: (IMAGE, apertures()),
    plot_repeatability: lambda: (report(),),
    plot_posterior: lambda: (SAMPLES[0],),
    plot_predictive: lambda: (predicted(),),
    evaluation.plot_auc_histogram: lambda: (
        evaluation.score_segmentation(SCORE, FLUX),),
    evaluation.plot_reliability: lambda: (
        evaluation.reliability(SCORE, FLUX > 0),),
    evaluation.plot_parameters: lambda: (PARAMETERS, PARAMETERS),
    evaluation.plot_ranks: lambda: (
        evaluation.rank_statistics(SAMPLES, TRUTH),),
    evaluation.plot_image_panels: lambda: (IMAGE, IMAGE, IMAGE),
}
ALL = {**ONE_PANEL, **SEVERAL_PANELS}


def named(functions):
    return [pytest.param(function, id=function.__name__)
            for function in functions]


def test_no_function_is_forgotten():
    found = set()
    for _, name, _ in pkgutil.walk_packages(astro_denoise.__path__,
                                            'astro_denoise.'):
        if name.endswith('.plots'):
            module = import_module(name)
            found |= {getattr(module, function)
                      for function in module.__all__}
    assert len(found) > 15
    assert found == set(ALL)


@pytest.mark.parametrize('function', named(ALL))
def test_signature(function):
    parameters = inspect.signature(function).parameters
    expected = 'ax' if function in ONE_PANEL else 'figure'
    assert {'ax', 'figure'} & set(parameters) == {expected}
    parameter = parameters[expected]
    assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
    assert parameter.default is None


@pytest.mark.parametrize('function', named(ALL))
def test_new_figure(function):
    settings = dict(mpl.rcParams)
    result = function(*ALL[function]())
    assert isinstance(result, Axes if function in ONE_PANEL else Figure)
    result.figure.canvas.draw()
    assert plt.get_fignums() == []
    assert dict(mpl.rcParams) == settings


@pytest.mark.parametrize('layout', [None, 'constrained'])
@pytest.mark.parametrize('function', named(ONE_PANEL))
def test_given_axes(function, layout):
    figure = Figure(layout=layout)
    left, right = figure.subplots(1, 2)
    assert function(*ONE_PANEL[function](), ax=right) is right
    assert right.has_data()
    assert not left.has_data()
    figure.canvas.draw()


@pytest.mark.parametrize('layout', [None, 'constrained'])
@pytest.mark.parametrize('function', named(SEVERAL_PANELS))
def test_given_figure(function, layout):
    figure = Figure(figsize=(12, 10), layout=layout)
    assert function(*SEVERAL_PANELS[function](), figure=figure) is figure
    assert any(ax.has_data() for ax in figure.axes)
    figure.canvas.draw()


@pytest.mark.parametrize('function', named(ONE_PANEL))
def test_not_axes(function):
    axes = Figure().subplots(1, 2)
    with pytest.raises(TypeError, match=r'ax must be .* Axes, got ndarray'):
        function(*ONE_PANEL[function](), ax=axes)


@pytest.mark.parametrize('function', named(SEVERAL_PANELS))
def test_not_a_figure(function):
    with pytest.raises(TypeError, match=r'figure must be .* got Axes'):
        function(*SEVERAL_PANELS[function](), figure=Figure().subplots())
