# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the files that build, install and check the package: what one of
them says of versions and names, the others say too.
"""

import ast
import configparser
import re
import sys
import tomllib
from itertools import chain
from pathlib import Path

import jinja2
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / 'astro_denoise'

SETTINGS = tomllib.loads((ROOT / 'pyproject.toml').read_text('utf-8'))
PROJECT = SETTINGS['project']
EXTRAS = PROJECT['optional-dependencies']

# Names on conda-forge that are not those of the package index.
_CONDA_NAMES = {'dask-core': 'dask', 'matplotlib-base': 'matplotlib',
                'pytorch': 'torch'}

# Modules that run only after dask was imported by who called them.
_WITH_DASK = ('denoising/dask_arrays.py', 'pipeline/cluster.py')


def requirements(lines):
    """Version specifiers by normalized names, without those of extras."""
    found = {}
    for line in lines:
        requirement = Requirement(line)
        if requirement.name != PROJECT['name']:
            found[canonicalize_name(requirement.name)] = requirement.specifier
    return found


def included(extra):
    """The extras that an extra brings along."""
    found = [Requirement(line) for line in EXTRAS[extra]]
    return set().union(*(requirement.extras for requirement in found
                         if requirement.name == PROJECT['name']))


REQUIRED = requirements(PROJECT['dependencies'])
# What users choose to have.
OPTIONAL = {extra: requirements(EXTRAS[extra])
            for extra in ('plot', 'galactic', 'dask', 'fast', 'parquet',
                          'onnx')}


@pytest.fixture(scope='module')
def recipe():
    text = (ROOT / 'conda-recipe' / 'meta.yaml').read_text('utf-8')
    rendered = jinja2.Environment(autoescape=True).from_string(text).render(
        environ={}, PYTHON='python')
    return yaml.safe_load(rendered)


@pytest.fixture(scope='module')
def tox():
    parser = configparser.ConfigParser()
    parser.read(ROOT / 'tox.ini', 'utf-8')
    return parser


@pytest.fixture(scope='module')
def constraints():
    lines = (ROOT / 'constraints.txt').read_text('utf-8').splitlines()
    return dict(line.split('==') for line in lines
                if not line.startswith('#'))


@pytest.fixture(scope='module')
def jobs():
    """All jobs of all workflows."""
    texts = [path.read_text('utf-8') for path in
             (ROOT / '.github' / 'workflows').glob('*.yml')]
    assert texts
    return [job for text in texts
            for job in yaml.safe_load(text)['jobs'].values()]


def environments(tox):
    return {'test'} | {name.partition(':')[2] for name in tox.sections()
                       if name.startswith('testenv:')}


def classified(prefix):
    return {line.removeprefix(prefix) for line in PROJECT['classifiers']
            if line.startswith(prefix)}


class TestExtras:
    def test_tests_have_all_they_use(self):
        assert included('test') == set(OPTIONAL)

    def test_all(self):
        assert included('all') == set(EXTRAS) - {'all'}

    def test_every_package_has_a_tested_version(self, constraints):
        wanted = REQUIRED | requirements(chain(*EXTRAS.values()))
        for name, specifier in wanted.items():
            assert constraints[name] in specifier, name

    @pytest.mark.parametrize('name', ['README.rst', 'CONTRIBUTING.rst',
                                      'docs/install.rst'])
    def test_commands_name_extras_that_exist(self, name):
        text = (ROOT / name).read_text('utf-8')
        named = re.findall(r"'(?:\.|astro_denoise)\[([\w,]+)\]'", text)
        assert named
        assert set(','.join(named).split(',')) <= set(EXTRAS)


class _Imports(ast.NodeVisitor):
    """
    Imports of other packages, with the extra that an error would name.
    """

    def __init__(self, path):
        self.found, self.extra = [], None
        self.visit(ast.parse(path.read_text('utf-8')))

    def visit_With(self, node):
        call, outer = node.items[0].context_expr, self.extra
        if getattr(getattr(call, 'func', None), 'id', '') == 'needs_extra':
            self.extra = call.args[0].value
        self.generic_visit(node)
        self.extra = outer

    def visit_Import(self, node):
        self._add(node, *(alias.name for alias in node.names))

    def visit_ImportFrom(self, node):
        if node.level == 0:
            self._add(node, node.module)

    def _add(self, node, *modules):
        for module in modules:
            name = module.partition('.')[0]
            if (name not in sys.stdlib_module_names
                    and name != PROJECT['name']):
                self.found.append(
                    (node.lineno, canonicalize_name(name), self.extra))


def test_imports_are_required_or_name_their_extra():
    """
    Where a package may be missing, the error must say what installs it.
    """
    wrong = []
    for path in PACKAGE.rglob('*.py'):
        place = path.relative_to(PACKAGE).as_posix()
        for line, name, extra in _Imports(path).found:
            if name in REQUIRED and extra is None:
                continue
            if place in _WITH_DASK and name in OPTIONAL['dask']:
                continue
            if name not in OPTIONAL.get(extra, ()):
                wrong.append(f'{place}:{line} {name}')
    assert not wrong


@pytest.mark.parametrize(('code', 'extra'), [
    ('import zuko', None),
    ("with needs_extra('galactic', 'x'):\n    import zuko", 'galactic'),
    ("with needs_extra('plot', 'x'):\n    pass\nimport zuko", None)])
def test_extra_of_an_import(tmp_path, code, extra):
    path = tmp_path / 'a.py'
    path.write_text(code)
    (_, name, found), = _Imports(path).found
    assert (name, found) == ('zuko', extra)


class TestCondaRecipe:
    @staticmethod
    def conda(lines):
        lines = [line.replace(' ', '') for line in lines]
        found = requirements(lines)
        return {_CONDA_NAMES.get(name, name): specifier
                for name, specifier in found.items()}

    def test_run(self, recipe):
        expected = REQUIRED | {
            'python': SpecifierSet(PROJECT['requires-python'])}
        assert self.conda(recipe['requirements']['run']) == expected

    def test_extras(self, recipe):
        expected = {name: specifier for extra in OPTIONAL.values()
                    for name, specifier in extra.items()}
        constrained = recipe['requirements']['run_constrained']
        assert self.conda(constrained) == expected

    def test_host(self, recipe):
        expected = requirements(SETTINGS['build-system']['requires']) | {
            'python': SpecifierSet(PROJECT['requires-python']),
            'pip': SpecifierSet()}
        assert self.conda(recipe['requirements']['host']) == expected

    def test_metadata(self, recipe):
        assert recipe['package']['name'] == PROJECT['name']
        assert recipe['about']['summary'] == PROJECT['description']
        assert recipe['about']['license'] == PROJECT['license']
        assert recipe['build']['entry_points'] == [
            f'{name} = {target}'
            for name, target in PROJECT['scripts'].items()]
        for name in recipe['about']['license_file']:
            assert (ROOT / name).is_file()

    def test_downloads_nothing(self, recipe):
        assert recipe['source']['url'].startswith('../dist/astro_denoise-')
        for option in ('--no-index', '--no-deps', '--no-build-isolation'):
            assert option in recipe['build']['script'].split()


class TestTox:
    def test_oldest_versions_are_the_lower_bounds(self, tox):
        lines = tox['testenv:oldestdeps']['deps'].split('\n')
        pinned = {}
        for line in lines:
            if line and not line.startswith('#'):
                name, _, version = line.partition('==')
                pinned[name] = version
        bounds = REQUIRED | requirements(
            chain(EXTRAS['test'], *(EXTRAS[extra] for extra in OPTIONAL)))
        # Neither computes anything.
        del bounds['jinja2'], bounds['packaging'], bounds['pyyaml']
        assert pinned.pop('pyparsing<3.3') == ''
        assert set(pinned) == set(bounds)
        for name, specifier in bounds.items():
            lowest, = (each.version for each in specifier
                       if each.operator == '>=')
            assert pinned[name].removesuffix('.*') in (
                lowest, f'{lowest}.0'), name

    def test_listed_environments_exist(self, tox):
        listed = re.split(r',\s*', tox['tox']['env_list'])
        assert set(listed) <= environments(tox)


class TestWorkflows:
    def test_steps_run_tox_and_nothing_else(self, jobs):
        commands = {step['run'] for job in jobs for step in job['steps']
                    if 'run' in step}
        assert commands == {'python -m pip install tox',
                            'python -m tox -e ${{ matrix.toxenv }}'}

    def test_environments(self, jobs, tox):
        used = {row['toxenv'] for job in jobs
                for row in job['strategy']['matrix']['include']}
        assert used == environments(tox)

    def test_tested_are_the_classified(self, jobs):
        rows = [row for job in jobs
                for row in job['strategy']['matrix']['include']
                if row['toxenv'] in {'test', 'coverage'}]
        pythons = classified('Programming Language :: Python :: 3.')
        assert {row['python'] for row in rows} == {
            f'3.{minor}' for minor in pythons}
        names = {'ubuntu-latest': 'POSIX :: Linux',
                 'macos-latest': 'MacOS',
                 'windows-latest': 'Microsoft :: Windows'}
        assert {names[row['os']] for row in rows} == classified(
            'Operating System :: ')


def test_lowest_classified_python_is_the_lowest_required():
    minors = classified('Programming Language :: Python :: 3.')
    specifier = SpecifierSet(PROJECT['requires-python'])
    lowest = min(map(int, minors))
    assert f'3.{lowest}' in specifier
    assert f'3.{lowest - 1}' not in specifier


def test_pre_commit_has_the_tested_tools(constraints):
    text = (ROOT / '.pre-commit-config.yaml').read_text('utf-8')
    revisions = {repository['repo'].rpartition('/')[2]: repository['rev']
                 for repository in yaml.safe_load(text)['repos']}
    for name, tool in (('ruff-pre-commit', 'ruff'),
                       ('codespell', 'codespell'), ('numpydoc', 'numpydoc')):
        assert revisions[name] == f'v{constraints[tool]}'


def test_documentation_is_built_by_tox():
    text = (ROOT / '.readthedocs.yaml').read_text('utf-8')
    settings = yaml.safe_load(text)
    assert (ROOT / settings['sphinx']['configuration']).is_file()
    build, *_ = settings['build']['jobs']['build']['html']
    assert build.endswith('python -m tox -e docs')
