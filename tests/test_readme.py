# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of what the README and the pages state: figures are those that a
benchmark printed, and hashes those of the models.
"""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = ROOT / 'README.rst'
OUTPUT = ROOT / 'benchmarks' / 'results' / 'front_page.txt'
NAMES = {'``denoise(ccd, catalog=sources)``': 'blend',
         '``denoise(ccd)``': 'ccd',
         "``denoise(ccd, 'ccd-mmse')``": 'ccd-mmse',
         'the frame as it is': 'raw',
         'Gaussian filter, 1.1 pixels': 'Gaussian 1.1',
         'Gaussian filter, 4 pixels': 'Gaussian 4', 'BM3D': 'BM3D'}

pytestmark = pytest.mark.skipif(not OUTPUT.exists(),
                                reason='needs the repository')


@pytest.mark.parametrize('name', NAMES)
def test_table(name):
    row, = (line for line in README.read_text(encoding='utf-8').splitlines()
            if re.match(re.escape(name) + '  ', line))
    printed, = (line for line in OUTPUT.read_text(
        encoding='utf-8').splitlines() if line.startswith(f'{NAMES[name]} '))
    noise, first, _, _, last, covered = re.findall(
        r'\S+ ± \S+|\S+', printed[14:])
    covered = 'none' if covered == '-' else f'{covered} %'
    assert re.split(r'\s{2,}', row[len(name):].strip()) == [
        noise, first, last, covered]


def test_no_hash_is_stale():
    hashes = json.loads((ROOT / 'astro_denoise' / 'models' / 'weights'
                         / 'hashes.json').read_text()).values()
    pages = [README, *(ROOT / 'docs').glob('*.rst'),
             *(ROOT / 'docs' / 'development').glob('*.rst'),
             *(ROOT / 'examples').glob('*/*.py')]
    assert len(pages) > 30
    for page in pages:
        for found in re.findall(r'\b[0-9a-f]{7,64}\b', page.read_text(
                encoding='utf-8')):
            if re.search('[a-f]', found) and re.search('[0-9]', found):
                assert any(each.startswith(found) for each in hashes), page
