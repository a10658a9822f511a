# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of what happens where an optional package is not installed.

That every import of one names its extra is tested in
``test_packaging.py``; here some of them are made to fail.
"""

import json
import subprocess
import sys

import pytest

from astro_denoise.exceptions import needs_extra

# In a process of its own, where none of them was ever imported.
_BLOCK = """
import json
import sys

for name in ('astropy_healpix', 'corner', 'dask', 'dask_jobqueue',
             'distributed', 'matplotlib', 'mocpy', 'pandas', 'pyarrow',
             'reproject', 'zarr', 'zuko'):
    sys.modules[name] = None
"""

_WORK = _BLOCK + """
import numpy as np
import astro_denoise
from astro_denoise.data import load_example_pair, load_fermi_map
from astro_denoise.photometry import annulus_photometry

frame = load_example_pair()[1]
denoised = astro_denoise.denoise(frame)
sources = astro_denoise.segment_point_sources(load_fermi_map(), 'galactic-sky')
fluxes = annulus_photometry(denoised.data, {
    'aperture_x': [100.0], 'aperture_y': [120.0], 'aperture_a': [4.0],
    'aperture_b': [4.0], 'aperture_theta': [0.0]}, error=5.0)
print(json.dumps([
    type(denoised).__name__, str(denoised.unit), denoised.shape,
    bool(np.isfinite(denoised.uncertainty.array).all()),
    len(sources.catalog) > 0, len(fluxes),
    'ccd' in astro_denoise.list_models()]))
"""

_FAILURES = {
    'a profile': 'denoising.plot_profile(image, image)',
    'a picture': 'denoising.plot_denoised(image, image)',
    'a posterior': 'estimation.plot_posterior(np.ones((9, 7)))',
    'a reliability': 'evaluation.plot_reliability({})',
    'sigma68': 'photometry.plots.plot_sigma68(None)',
    'apertures': 'photometry.plots.plot_apertures(image, {})',
    'sources': (
        'segmentation.PointSources(image, None, None, None, 0.5).plot()'),
    'a demo': 'demo.run_demo()',
    'a plot file': "io.check_output('a.png')",
    'another grid': "sky_maps.regrid.onto_grid(image, wcs, 'image')",
    'a HEALPix map': 'sky_maps.healpix_to_image(np.ones(12 * 32**2))',
    'posteriors': "models.load_model('galactic-center', task='estimate')",
    'workers': "pipeline.denoise_files(['a.fits'], 'out', workers=2)",
    'a Parquet file': "photometry.read_table('a.parquet')",
}

_FAIL = _BLOCK + f"""
from pathlib import Path

import numpy as np
from astropy.wcs import WCS
from astro_denoise import (
    demo, denoising, estimation, evaluation, io, models, photometry,
    pipeline, segmentation, sky_maps,
)
import astro_denoise.photometry.plots
import astro_denoise.sky_maps.regrid

Path('a.parquet').touch()
Path('a.fits').touch()
image = np.random.default_rng(1).normal(size=(80, 80))
wcs = WCS(naxis=2)
wcs.wcs.ctype = ['GLON-CAR', 'GLAT-CAR']
wcs.wcs.cdelt = [-0.5, 0.5]
wcs.wcs.crpix = [40.5, 40.5]
messages = {{}}
for name, code in {_FAILURES!r}.items():
    try:
        eval(code)
    except Exception as error:
        messages[name] = [type(error).__name__, str(error)]
print(json.dumps(messages))
"""


def answer(code, folder):
    """What a process prints, as JSON."""
    result = subprocess.run(
        [sys.executable, '-W', 'error', '-c', code], cwd=folder,
        capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_main_jobs_need_no_extra(tmp_path):
    assert answer(_WORK, tmp_path) == [
        'CCDData', 'adu', [480, 480], True, True, 1, True]


@pytest.fixture(scope='module')
def messages(tmp_path_factory):
    return answer(_FAIL, tmp_path_factory.mktemp('blocked'))


@pytest.mark.parametrize(('name', 'package', 'extra'), [
    ('a profile', 'matplotlib', 'plot'), ('a picture', 'matplotlib', 'plot'),
    ('a posterior', 'corner', 'plot'),
    ('a reliability', 'matplotlib', 'plot'),
    ('sigma68', 'matplotlib', 'plot'), ('apertures', 'matplotlib', 'plot'),
    ('sources', 'matplotlib', 'plot'), ('a demo', 'matplotlib', 'plot'),
    ('a plot file', 'matplotlib', 'plot'),
    ('another grid', 'reproject', 'galactic'),
    ('a HEALPix map', 'astropy_healpix', 'galactic'),
    ('posteriors', 'zuko', 'galactic'), ('workers', 'distributed', 'dask'),
    ('a Parquet file', 'pandas', 'parquet')])
def test_package_and_extra_are_named(messages, name, package, extra):
    kind, message = messages[name]
    assert kind == 'ModuleNotFoundError'
    assert message.startswith(f'{package} is needed ')
    assert message.endswith(f": pip install 'astro_denoise[{extra}]'")


def test_message():
    with (pytest.raises(ModuleNotFoundError) as raised,
          needs_extra('galactic', "to put an image on the model's grid")):
        import no_such_package.part  # noqa: F401
    assert str(raised.value) == (
        "no_such_package is needed to put an image on the model's grid: pip "
        "install 'astro_denoise[galactic]'")
    assert raised.value.name == 'no_such_package'


def test_other_errors_stay_as_they_are():
    with (pytest.raises(ValueError, match='broken'),
          needs_extra('plot', 'to draw figures')):
        raise ValueError('broken')  # noqa: EM101
