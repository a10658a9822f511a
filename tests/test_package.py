# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the package as it is installed.

Subprocesses run outside the source tree, so that what they import is
the installed package.
"""

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

import pytest

import astro_denoise

PACKAGE = Path(astro_denoise.__file__).parent


@pytest.fixture
def run_python(tmp_path):
    def run(code):
        result = subprocess.run(
            [sys.executable, '-W', 'error', '-c', code], cwd=tmp_path,
            capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)

    return run


def test_import_is_light(run_python):
    loaded = run_python('import astro_denoise, json, sys; '
                        'print(json.dumps(sorted(sys.modules)))')
    assert 'astro_denoise' in loaded
    assert not {'torch', 'matplotlib', 'photutils', 'scipy'} & set(loaded)


def test_import_changes_no_global_state(run_python):
    before, after = run_python(
        'import json, logging, warnings\n'
        'def state():\n'
        '    root = logging.getLogger()\n'
        '    return [root.level, len(root.handlers),\n'
        '            repr(warnings.filters)]\n'
        'before = state()\n'
        'import astro_denoise\n'
        'print(json.dumps([before, state()]))')
    assert after == before


def test_public_names():
    assert set(astro_denoise.__all__) == {
        'denoise', 'estimate_parameters', 'list_models', 'load_model',
        'segment_point_sources', 'train_denoiser'}
    assert set(dir(astro_denoise)) == set(astro_denoise.__all__)


@pytest.mark.parametrize('name', astro_denoise.__all__)
def test_public_name_loads(name):
    function = getattr(astro_denoise, name)
    assert callable(function)
    assert function.__doc__


def test_unknown_name():
    with pytest.raises(AttributeError, match='no_such_name'):
        astro_denoise.no_such_name  # noqa: B018


def test_metadata():
    metadata = importlib.metadata.metadata('astro_denoise')
    assert metadata['Version'] == astro_denoise.__version__
    assert metadata['License-Expression'] == 'BSD-3-Clause'
    assert set(metadata.get_all('Provides-Extra')) == {
        'all', 'dask', 'docs', 'fast', 'galactic', 'onnx', 'parquet', 'plot',
        'test'}


def test_console_script():
    script, = importlib.metadata.entry_points(
        group='console_scripts', name='astro-denoise')
    assert callable(script.load())


@pytest.mark.parametrize(('folder', 'suffix'), [
    ('data', '.fits'),
    ('models/weights', '.safetensors'),
    ('models/weights', '.json'),
    ('models/weights', '.md'),
    ('models/weights', '.ecsv'),
])
def test_package_data_is_installed(run_python, folder, suffix):
    expected = sorted(path.name
                      for path in (PACKAGE / folder).glob(f'*{suffix}'))
    assert expected
    installed = run_python(
        'import astro_denoise, json, pathlib\n'
        f'folder = pathlib.Path(astro_denoise.__file__).parent / {folder!r}\n'
        f'print(json.dumps(sorted(path.name for path in '
        f'folder.glob({"*" + suffix!r}))))')
    assert installed == expected
