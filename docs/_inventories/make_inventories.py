# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Write the inventories that a build without a network falls back on.

They list the public names of the modules below, as the installed
packages have them, with the address that each project's documentation
gives them. A module whose names the documentation starts to refer to is
added to ``MODULES``. Run as ``make -C docs inventories``.
"""

import builtins
import importlib
import inspect
import zlib
from pathlib import Path

FOLDER = Path(__file__).parent

# Project -> modules, and the page of a name of theirs.
MODULES = {
    'python': (
        'library/{module}.html',
        ['argparse', 'collections', 'collections.abc', 'dataclasses',
         'enum', 'functools', 'logging', 'os', 'pathlib', 'typing',
         'warnings']),
    'numpy': (
        'reference/generated/{full}.html',
        ['numpy', 'numpy.fft', 'numpy.linalg', 'numpy.ma', 'numpy.random']),
    'scipy': (
        'reference/generated/{full}.html',
        ['scipy.fft', 'scipy.interpolate', 'scipy.ndimage',
         'scipy.optimize', 'scipy.signal', 'scipy.special',
         'scipy.stats']),
    'matplotlib': (
        'api/_as_gen/{full}.html',
        ['matplotlib.axes', 'matplotlib.colors', 'matplotlib.figure',
         'matplotlib.pyplot']),
    'astropy': (
        'api/{full}.html',
        ['astropy.convolution', 'astropy.coordinates', 'astropy.io.fits',
         'astropy.modeling', 'astropy.modeling.models', 'astropy.nddata',
         'astropy.stats', 'astropy.table', 'astropy.time',
         'astropy.units', 'astropy.utils.exceptions',
         'astropy.visualization', 'astropy.wcs']),
    'photutils': (
        'api/{full}.html',
        ['photutils.aperture', 'photutils.background',
         'photutils.centroids', 'photutils.datasets',
         'photutils.detection', 'photutils.profiles', 'photutils.psf',
         'photutils.segmentation', 'photutils.utils']),
    'torch': (
        'generated/{full}.html',
        ['torch', 'torch.nn', 'torch.nn.functional', 'torch.optim']),
    'ccdproc': ('api/{full}.html', ['ccdproc']),
    'dask': ('generated/{full}.html', ['dask', 'dask.array']),
    'reproject': (
        'api/{full}.html', ['reproject', 'reproject.mosaicking']),
}

ROLES = ((inspect.isclass, 'class'), (callable, 'function'))


def builtin_entries():
    """
    Yield the entries of Python's built-in names.

    Yields
    ------
    name, role, page : str
    """
    for name, value in vars(builtins).items():
        if name in {'None', 'True', 'False', 'NotImplemented'}:
            yield name, 'data', 'library/constants.html'
        elif name.startswith('_'):
            continue
        elif inspect.isclass(value):
            if issubclass(value, BaseException):
                yield name, 'exception', 'library/exceptions.html'
            elif name in {'bytearray', 'bytes', 'dict', 'frozenset', 'list',
                          'memoryview', 'range', 'set', 'str', 'tuple'}:
                yield name, 'class', 'library/stdtypes.html'
            else:
                yield name, 'class', 'library/functions.html'
        elif callable(value):
            yield name, 'function', 'library/functions.html'


def module_entries(module_name, page):
    """
    Yield the entries of the public names of a module.

    Parameters
    ----------
    module_name : str
        The module.
    page : str
        The page of one of its names, with ``{module}`` or ``{full}``.

    Yields
    ------
    name, role, page : str
    """
    module = importlib.import_module(module_name)
    for name in sorted(getattr(module, '__all__', dir(module))):
        value = getattr(module, name, None)
        if name.startswith('_') or inspect.ismodule(value):
            continue
        full = f'{module_name}.{name}'
        target = page.format(module=module_name, full=full)
        role = next((role for test, role in ROLES if test(value)), 'data')
        if role == 'class' and issubclass(value, BaseException):
            role = 'exception'
        yield full, role, target
        if role == 'class':
            for member, attribute in sorted(vars(value).items()):
                if not member.startswith('_'):
                    kind = 'method' if callable(attribute) else 'attribute'
                    yield f'{full}.{member}', kind, target
    yield module_name, 'module', page.format(module=module_name,
                                             full=module_name)


def main():
    """Write every inventory."""
    for project, (page, modules) in MODULES.items():
        entries = list(builtin_entries()) if project == 'python' else []
        for module_name in modules:
            entries.extend(module_entries(module_name, page))
        lines = [f'{name} py:{role} 1 {target}#$ -'
                 for name, role, target in entries]
        head = ('# Sphinx inventory version 2\n'
                f'# Project: {project}\n'
                '# Version: fallback\n'
                '# The remainder of this file is compressed using zlib.\n')
        body = zlib.compress('\n'.join([*lines, '']).encode(), 9)
        (FOLDER / f'{project}.inv').write_bytes(head.encode() + body)
        print(f'{project}: {len(entries)} names')


if __name__ == '__main__':
    main()
