# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of what the documentation says of the public names.

Public is what the documentation shows: the modules of its reference, and
whatever its pages name with autofunction or autoclass. That the examples
run is tested where they stand.
"""

import ast
import importlib
import inspect
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / 'docs'

_HEADING = re.compile(r'^(\w[\w ]*)\n-{3,}$', re.MULTILINE)


def public_names():
    """Names of all documented functions and classes."""
    pages = '\n'.join(path.read_text() for path in sorted(DOCS.glob('*.rst')))
    names = set(re.findall(r'^\.\. auto(?:function|class):: (\S+)$', pages,
                           re.MULTILINE))
    for module in re.findall(r'^\.\. automodapi:: (\S+)$', pages,
                             re.MULTILINE):
        names |= {f'{module}.{name}'
                  for name in importlib.import_module(module).__all__}
    return sorted(names)


def find(name):
    module, _, attribute = name.rpartition('.')
    return getattr(importlib.import_module(module), attribute)


def sections(documented):
    """The sections of a numpydoc docstring, by their headings."""
    text = inspect.getdoc(documented) or ''
    parts = _HEADING.split(text)
    return {'Summary': parts[0].strip(),
            **dict(zip(parts[1::2], parts[2::2], strict=True))}


def documented_parameters(found, *headings):
    """Names of a section, in order."""
    names = []
    for heading in headings:
        text = re.sub(r'\\\n\s*', '', found.get(heading, ''))
        for line in text.splitlines():
            if line and not line.startswith(' '):
                names += line.partition(' :')[0].split(', ')
    return names


def parameters(function):
    prefix = {inspect.Parameter.VAR_POSITIONAL: '*',
              inspect.Parameter.VAR_KEYWORD: '**'}
    return [prefix.get(parameter.kind, '') + name for name, parameter
            in inspect.signature(function).parameters.items()
            if name not in ('self', 'cls')]


CALLABLES = [name for name in public_names() if callable(find(name))]
FUNCTIONS = [name for name in CALLABLES if inspect.isfunction(find(name))]
CLASSES = [name for name in CALLABLES if inspect.isclass(find(name))]
EXCEPTIONS = [name for name in CLASSES
              if issubclass(find(name), Exception)]
ORDINARY = [name for name in CLASSES if name not in EXCEPTIONS
            and not hasattr(find(name), '__members__')]
METHODS = [f'{name}:{method}' for name in ORDINARY
           for method, value in vars(find(name)).items()
           if not method.startswith('_') and inspect.isfunction(value)]


def test_no_summary_is_a_question():
    wrong = []
    for path in (DOCS.parent / 'astro_denoise').rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text('utf-8'))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
                text = ast.get_docstring(node) or ''
                if re.match(r'(What|Whether|Where|How|When|Which|Who|Why)\b',
                            text):
                    wrong.append(f'{path}: {text[:60]}')
    assert not wrong


def test_there_are_names():
    assert {'astro_denoise.denoise', 'astro_denoise.models.Model'} <= set(
        CALLABLES)
    assert len(FUNCTIONS) > 40
    assert len(METHODS) > 5


@pytest.mark.parametrize('name', CALLABLES)
def test_summary(name):
    assert sections(find(name))['Summary'].split('\n\n')[0].endswith('.')


@pytest.mark.parametrize('name', FUNCTIONS)
def test_function(name):
    function = find(name)
    found = sections(function)
    assert documented_parameters(found, 'Parameters') == parameters(function)
    assert found.get('Returns', '').strip()
    source = inspect.getsource(function)
    assert 'Raises' in found or not re.search(r'^ +raise ', source, re.M)


@pytest.mark.parametrize('name', ORDINARY)
def test_class(name):
    class_ = find(name)
    found = sections(class_)
    shown = documented_parameters(found, 'Parameters') or (
        documented_parameters(found, 'Attributes'))
    assert shown == parameters(class_)
    for attribute, value in vars(class_).items():
        if not attribute.startswith('_') and isinstance(value, property):
            assert value.fget.__doc__, attribute


@pytest.mark.parametrize('name', METHODS)
def test_method(name):
    class_, _, method = name.partition(':')
    function = vars(find(class_))[method]
    found = sections(function)
    assert found['Summary'].endswith('.')
    assert documented_parameters(found, 'Parameters') == parameters(function)
    returns = re.search(r'^ +(return [^\n]|yield )',
                        inspect.getsource(function), re.M)
    assert bool(found.get('Returns', '').strip()) == bool(returns)


@pytest.mark.parametrize('name', [*FUNCTIONS, *ORDINARY])
def test_example(name):
    lines = re.findall('^ *>>> .*$', sections(find(name)).get('Examples', ''),
                       re.M)
    assert any('+SKIP' not in line for line in lines)
