# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the layout: the contracts on imports hold, and would not hold with
an import from above, a circle or a network where none may be known.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_LINT = """
import sys
from importlinter.cli import lint_imports

sys.exit(lint_imports(no_cache=True))
"""

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / 'astro_denoise'


def lint(folder):
    """Check the contracts on the package in a folder."""
    return subprocess.run(
        [sys.executable, '-c', _LINT],
        cwd=folder, env={**os.environ, 'PYTHONPATH': str(folder)},
        capture_output=True, text=True, check=False)


def test_contracts():
    result = lint(ROOT)
    assert result.returncode == 0, result.stdout
    assert '4 kept, 0 broken' in result.stdout


@pytest.mark.parametrize(('module', 'planted', 'contract'), [
    ('frames/windows.py', 'from ..denoising import core',
     'Imports point down the house'),
    # Nor within a function, which is no way around it.
    ('noise/seeing.py', 'def _late():\n    import astro_denoise.cli.main',
     'Imports point down the house'),
    ('photometry/calibration.py', 'from .apertures import ApertureFlag',
     'No circles within a room'),
    ('photometry/tables.py', 'import astro_denoise.models.denoiser',
     'Simulation, photometry and evaluation know no network'),
    ('evaluation/posteriors.py', 'import torch',
     'Photometry and evaluation do without torch'),
])
def test_planted_import_is_found(tmp_path, module, planted, contract):
    copy = tmp_path / 'astro_denoise'
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns(
        '*.safetensors', '*.fits', '__pycache__'))
    shutil.copy(ROOT / 'pyproject.toml', tmp_path)
    path = copy / module
    path.write_text(f'{path.read_text()}\n\n{planted}\n')
    result = lint(tmp_path)
    assert result.returncode == 1
    assert f'{contract} BROKEN' in result.stdout


def test_root_holds_rooms():
    assert {path.name for path in PACKAGE.glob('*.py')} == {
        '__init__.py', 'demo.py', 'exceptions.py'}
    for room in PACKAGE.iterdir():
        if room.is_dir() and room.name != '__pycache__':
            assert (room / '__init__.py').exists(), room


def test_no_module_is_private_by_its_name():
    assert not [path for path in PACKAGE.rglob('*.py')
                if path.name.startswith('_') and path.stem != '__init__']
