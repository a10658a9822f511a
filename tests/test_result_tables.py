# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the tables that the documentation makes of what benchmarks print.
"""

import importlib.util
import re
from pathlib import Path

import pytest

pytest.importorskip('sphinx')

ROOT = Path(__file__).parents[1]
EXTENSIONS = ROOT / 'docs' / '_extensions'
if not EXTENSIONS.is_dir():
    pytest.skip('needs the documentation', allow_module_level=True)

OUTPUT = """\
12 sources in 2 exposures
              noise          S/N 3         S/N 10  covered
sources                          5              7
raw           1.000    1.00 ± 0.00    1.00 ± 0.00       71
# a note: 3 s
BM3D          0.037    0.16 ± 0.03    0.35 ± 0.02        -
our method    0.038    0.97 ± 0.01    1.00 ± 0.01       70

another table
raw           9.000
"""

PIVOT = """\
method            rms   S/N    ratio       R
plain           0.500    21    1.000   1.00 ± 0.01
                          7    0.900   0.95 ± 0.02
other           0.400    21    1.000   0.90 ± 0.01
                          7    0.800   0.45 ± 0.02
"""

TABLE = """\
.. results-table:: one.txt
   :command: python benchmarks/one.py
   :start: noise
   :stop: ^$
   :width: 14
   :heads: | noise | flux, S/N 3 | covered
   :columns: 0 1 3
   :ours: our
   :rename: our method: ours | BM3D: BM3D | raw: the frame

   Noise in units of that of the frame.
"""


@pytest.fixture(scope='module')
def extension():
    """
    The extension of Sphinx.
    """
    spec = importlib.util.spec_from_file_location(
        'benchmark_results', EXTENSIONS / 'benchmark_results.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def build(tmp_path, monkeypatch):
    """
    Build a page, and return its HTML and what Sphinx warned of.
    """
    from io import StringIO

    from sphinx.application import Sphinx
    from sphinx.util.docutils import docutils_namespace

    def run(text, **files):
        source, results = tmp_path / 'docs', (
            tmp_path / 'benchmarks' / 'results')
        source.mkdir()
        results.mkdir(parents=True)
        for name, content in files.items():
            (results / f'{name}.txt').write_text(content)
        (source / 'index.rst').write_text(f'Title\n=====\n\n{text}')
        (source / 'conf.py').write_text(
            f"import sys; sys.path.insert(0, {str(EXTENSIONS)!r})\n"
            f"extensions = ['benchmark_results']\n"
            f'import benchmark_results\n'
            f'from pathlib import Path\n'
            f'benchmark_results._RESULTS = Path({str(results)!r})\n')
        warned = StringIO()
        with docutils_namespace():
            Sphinx(source, source, tmp_path / 'html', tmp_path / 'trees',
                   'html', status=None, warning=warned).build()
        return (tmp_path / 'html' / 'index.html').read_text(), (
            warned.getvalue())

    return run


def cells(page):
    """
    The text of the cells of the first table, row by row.
    """
    table = re.search(r'<table.*?</table>', page, re.DOTALL)[0]
    return [[re.sub('<[^>]+>', '', cell).strip() for cell in re.findall(
        r'<t[dh][^>]*>(.*?)</t[dh]>', row, re.DOTALL)]
        for row in re.findall(r'<tr.*?</tr>', table, re.DOTALL)]


def test_table(build):
    page, warned = build(TABLE, one=OUTPUT)
    assert warned == ''
    assert cells(page) == [
        ['', 'noise', 'flux, S/N 3', 'covered'],
        ['ours', '0.038', '0.97 ± 0.01', '70'],
        ['BM3D', '0.037', '0.16 ± 0.03', '–'],
        ['the frame', '1.000', '1.00 ± 0.00', '71']]
    assert '<strong>ours</strong>' in page
    assert '<strong>BM3D</strong>' not in page
    assert 'Noise in units of that of the frame.' in page
    assert 'python benchmarks/one.py' in page.replace('</span>', '').replace(
        '<span class="pre">', '')


def test_output_is_a_download(build, tmp_path):
    page, _ = build(TABLE, one=OUTPUT)
    place = re.search(r'href="(_downloads/[^"]*one\.txt)"', page)[1]
    assert (tmp_path / 'html' / place).read_text() == OUTPUT


def test_rows_that_are_columns(build):
    page, warned = build("""\
.. results-table:: two.txt
   :command: x
   :start: ^method
   :width: 15
   :heads: method | error | R, S/N 21 | R, S/N 7
   :columns: 0
   :pivot: 2
   :shift: 1
""", two=PIVOT)
    assert warned == ''
    assert cells(page)[1:] == [
        ['plain', '0.500', '1.00 ± 0.01', '0.95 ± 0.02'],
        ['other', '0.400', '0.90 ± 0.01', '0.45 ± 0.02']]


def test_file_that_is_not_there(build):
    page, warned = build(TABLE)
    assert warned == ''
    assert 'not part of this build' in page


@pytest.mark.parametrize(('old', 'new', 'message'), [
    ('noise\n   :stop', 'nothing\n   :stop',
     r"no line of one\.txt matches 'nothing'"),
    ('columns: 0 1 3', 'columns: 0 1', r'4 heads for rows of \[3\] cells'),
    ('our method: ours | BM3D: BM3D | raw: the frame', 'no: x',
     r'one\.txt has no rows')])
def test_output_of_another_form(build, old, new, message):
    _, warned = build(TABLE.replace(old, new), one=OUTPUT)
    assert re.search(message, warned)


def test_output_as_it_is(build):
    page, warned = build("""\
.. results:: one.txt
   :command: python benchmarks/one.py
   :start: another
""", one=OUTPUT)
    assert warned == ''
    assert 'another table\nraw           9.000' in page
    assert 'our method' not in page
    assert 'one.txt' in page


@pytest.mark.parametrize(('line', 'label', 'found'), [
    ('a b   1.0   2.0 ± 0.1  -', 'a b', ['1.0', '2.0 ± 0.1', '-']),
    ('      7   0.1', '', ['7', '0.1']),
    ('x     cannot tell   3', 'x', ['cannot tell', '3'])])
def test_cells(extension, line, label, found):
    assert extension.split_row(line, 6) == (label, found)
