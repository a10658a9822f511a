# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the demonstration.
"""

import numpy as np
import pytest
import torch
from astropy.nddata import CCDData
from matplotlib.image import imread

from astro_denoise.data.examples import load_example_pair
from astro_denoise.demo import run_demo
from astro_denoise.models.registry import Model

# The frames were aligned, the first one so that its noise is correlated.
pytestmark = pytest.mark.filterwarnings('ignore:the noise of neighboring')

FILES = ['eso085_030_004_denoised.fits', 'eso085_030_005_denoised.fits',
         'eso085_030_before_after.png']


class Share(torch.nn.Module):
    """
    A network that takes a share of the standardized frame for noise.
    """

    stride = 1
    reach = 0

    def __init__(self, share):
        super().__init__()
        self.share = torch.nn.Parameter(torch.tensor(share))

    def forward(self, x, log_sigma, valid, context, *, dtype):
        return self.share * x, torch.zeros_like(x)


def share_model(share):
    return Model(Share(share), {'name': 'share', 'task': 'denoise'})


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_figures_are_measured(tmp_path, capsys):
    # What a model does that takes a fifth of everything is known.
    report = run_demo(tmp_path / 'new', model=share_model(0.2))
    assert names(tmp_path / 'new') == FILES
    assert [path.name for path in report.paths] == FILES
    assert 60 < report.noise < 90
    methods = ['frame', 'Gaussian filter', 'denoise', 'with a catalog']
    assert list(report.table['method']) == [
        name for name in methods for _ in range(2)]
    frame, filtered, denoised, guided = (
        report.table[report.table['method'] == name] for name in methods)
    for row in frame:
        assert row['n'] > 40
        assert (row['noise'], row['flux_kept'], row['response']) == (1, 1, 1)
        # Errors of aligned frames without a gain are too small.
        assert 0.45 < row['covered'] < 0.75
    for row, raw in zip(denoised, frame, strict=True):
        assert row['noise'] == pytest.approx(0.8, rel=1e-3)
        assert row['flux_kept'] == pytest.approx(0.8, abs=0.02)
        assert row['response'] == pytest.approx(0.8, abs=0.02)
        assert row['scatter'] == pytest.approx(raw['scatter'], rel=0.1)
    # A filter of 1.2 pixels has this noise, and takes flux.
    assert filtered['noise'][0] == pytest.approx(
        1 / (2 * np.sqrt(np.pi) * 1.2), abs=0.1)
    assert np.all(filtered['flux_kept'] < 0.75)
    assert np.all(guided['noise'] < 0.2)
    assert report.seconds > 0

    text = capsys.readouterr().out
    assert text == f'{report}\n'
    for name in methods:
        assert text.count(f'  {name} ') == 2
    assert max(len(line) for line in text.splitlines()
               if not line.startswith('wrote')) < 80


def test_quiet(tmp_path, capsys):
    run_demo(tmp_path, model=share_model(0.0), quiet=True)
    assert capsys.readouterr().out == ''


def test_files(tmp_path):
    run_demo(tmp_path, model=share_model(0.0))
    for name, raw in zip(FILES, load_example_pair(), strict=False):
        ccd = CCDData.read(tmp_path / name)
        np.testing.assert_allclose(ccd.data, raw.data)
        assert ccd.header['DNMODEL'] == 'share'
    picture = imread(tmp_path / FILES[2])
    assert picture.shape[1] > 1500
    assert picture[..., :3].std() > 0.1


def test_existing_file(tmp_path):
    (tmp_path / FILES[2]).write_text('precious')
    with pytest.raises(FileExistsError) as raised:
        run_demo(tmp_path, model=share_model(0.0))
    assert raised.value.filename == str(tmp_path / FILES[2])
    assert names(tmp_path) == FILES[2:]
    run_demo(tmp_path, model=share_model(0.0), overwrite=True)
    assert names(tmp_path) == FILES
    assert imread(tmp_path / FILES[2]).ndim == 3


def test_unknown_model(tmp_path):
    with pytest.raises(ValueError, match='no-such-model'):
        run_demo(tmp_path / 'new', model='no-such-model')
    assert names(tmp_path) == []
