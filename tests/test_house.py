# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the layout: the contracts on imports hold, and would not hold with
an import from above, a circle or a network where none may be known.
"""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

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


def script(path):
    """Load a script of the documentation."""
    path = ROOT / 'docs' / path
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_drawing_is_of_the_imports():
    drawing = script('_extensions/house.py')
    house = drawing.read_house(ROOT)
    rooms = {path.stem for path in PACKAGE.iterdir()
             if path.name not in ('__init__.py', '__pycache__')}
    assert set(house.rooms) == rooms
    assert house.imports['models', 'exceptions'] >= 1
    assert ('exceptions', 'models') not in house.imports
    storeys = {room: number for number, storey in enumerate(house.storeys)
               for room in storey}
    for importer, imported in house.imports:
        assert storeys[importer] < storeys[imported]
    for room in rooms - {'demo', 'exceptions'}:
        assert house.modules[room] == len(list(
            (PACKAGE / room).rglob('*.py')))
    # It is XML, with a box for each room and an arrow for each pair.
    svg = ET.fromstring(drawing.draw_house(house))
    name = '{http://www.w3.org/2000/svg}'
    texts = [text.text for text in svg.iter(f'{name}text')]
    assert texts[::2] == house.rooms
    titles = [path[0].text for path in svg.iter(f'{name}path')]
    assert sorted(titles) == sorted(
        f'{importer} imports {imported}: {n}'
        for (importer, imported), n in house.imports.items())


def test_figures_of_the_house():
    figures = script('development/house_figures.py').measure_apart(ROOT)
    assert figures['root_modules'] == 3
    assert figures['private_modules'] == 0
    assert figures['circles'] == 0
    assert figures['upward_imports'] == 0
    assert 0 < figures['files'] <= figures['functions']
    assert 0 < figures['rooms'] <= figures['stays']


def test_figures_of_a_crooked_house(tmp_path):
    # Two circles, an import from above, a private module, a long function.
    figures = script('development/house_figures.py')
    package = tmp_path / 'astro_denoise'
    for name, text in {
            '__init__.py': '', '_a.py': 'from . import b, upper\n',
            'b.py': 'def late():\n    from . import _a\n',
            'upper.py': 'from .room import c\n', 'room/__init__.py': '',
            'room/c.py': 'from . import d\n', 'room/d.py': 'from . import c\n',
            'long.py': 'def long():\n    """Text."""\n' + '    x = 1\n\n' * 61,
            'short.py': 'def short():\n' + '    # x\n    x = 1\n' * 59,
            }.items():
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / 'pyproject.toml').write_text(
        '[[tool.importlinter.contracts]]\ntype = "layers"\n'
        'layers = ["upper", "_a | b", "room"]\n')
    found = figures.source_figures(package)
    assert found == {'root_modules': 6, 'private_modules': 1, 'lines': 249,
                     'long_functions': 1}
    code = ('import json, runpy, sys, pathlib\n'
            f'script = runpy.run_path({figures.__file__!r})\n'
            f'layers = script["read_storeys"](pathlib.Path({str(tmp_path)!r}))'
            '\nprint(json.dumps(script["import_figures"](layers)))')
    result = subprocess.run(
        [sys.executable, '-c', code], cwd=tmp_path, check=True, text=True,
        env={**os.environ, 'PYTHONPATH': str(tmp_path)}, capture_output=True)
    assert json.loads(result.stdout) == {'circles': 2, 'upward_imports': 1}
