# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Print how the package is laid out, and how far a frame travels in it.

For the repository of this file, or for any others::

    python docs/development/house_figures.py [TREE ...]

A tree is a folder with ``astro_denoise`` in it. Modules, imports and calls
are counted in a process of its own for each, which imports the package of
that tree.
"""

import argparse
import ast
import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / 'docs' / '_extensions'))

from house import read_storeys  # noqa: E402

PACKAGE = 'astro_denoise'

# Lines of code, without blanks, comments and the docstring, above which a
# function is counted as long.
_LONG = 60

_LABELS = {
    'root_modules': 'modules at the root of the package',
    'private_modules': 'modules with a private name',
    'circles': 'circles of imports',
    'upward_imports': 'imports from a room above',
    'lines': 'lines of the package',
    'long_functions': f'functions above {_LONG} lines of code',
    'files': 'denoise: files entered',
    'functions': 'denoise: functions entered',
    'rooms': 'denoise: rooms entered',
    'stays': 'denoise: stays in a room',
    'climbs': 'denoise: climbs to a room above',
}


def n_code_lines(function, lines):
    """Count the lines of a function without docstring, blanks, comments."""
    first = function.lineno - 1
    if ast.get_docstring(function, clean=False) is not None:
        first = function.body[0].end_lineno
    code = (line.strip() for line in lines[first:function.end_lineno])
    return sum(bool(line) and not line.startswith('#') for line in code)


def source_figures(package):
    """Count modules, lines and long functions."""
    paths = sorted(package.rglob('*.py'))
    n_lines, long = 0, []
    for path in paths:
        text = path.read_text(encoding='utf-8')
        lines = text.splitlines()
        n_lines += len(lines)
        long += [node.name for node in ast.walk(ast.parse(text))
                 if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
                 and n_code_lines(node, lines) > _LONG]
    return {'root_modules': sum(path.parent == package for path in paths),
            'private_modules': sum(
                path.name.startswith('_') and path.name != '__init__.py'
                for path in paths),
            'lines': n_lines, 'long_functions': len(long)}


def import_figures(layers):
    """Count circles of imports, and those that point up."""
    import grimp
    import numpy as np
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = grimp.build_graph(PACKAGE, cache_dir=None)
    modules = sorted(graph.modules)
    pairs = [(module, imported) for module in modules for imported in
             graph.find_modules_directly_imported_by(module)]
    places = {module: number for number, module in enumerate(modules)}
    ends = np.array([[places[name] for name in pair] for pair in pairs]).T
    _, circle = connected_components(
        coo_array((np.ones(len(pairs)), tuple(ends)), (len(modules),) * 2),
        connection='strong')
    storeys = storeys_of(layers)
    upward = sum(
        storeys[room_of(imported)] < storeys[room_of(module)]
        for module, imported in pairs
        if {room_of(module), room_of(imported)} <= set(storeys))
    return {'circles': int((np.bincount(circle) > 1).sum()),
            'upward_imports': upward if layers else None}


def room_of(module):
    """Name the room of a module: what follows the package in its name."""
    return module.split('.')[1] if '.' in module else ''


def storeys_of(layers):
    """Number the storeys of rooms from the top of the house down."""
    return {room: number for number, layer in enumerate(layers)
            for room in layer}


def call_figures(package, layers):
    """
    Count what a frame in memory goes through in ``denoise``.

    A second call is followed: all modules are imported then. Functions
    count in the order in which they are called.
    """
    import numpy as np

    from astro_denoise import denoise

    frame = 1000.0 + 30.0 * np.random.default_rng(1).normal(size=(480, 480))
    denoise(frame, 'ccd', device='cpu')
    calls = []

    def profile(current, event, _):
        if event == 'call':
            path = current.f_code.co_filename
            if path.startswith(str(package)):
                calls.append((path, current.f_code.co_qualname))

    sys.setprofile(profile)
    try:
        denoise(frame, 'ccd', device='cpu')
    finally:
        sys.setprofile(None)
    rooms = [Path(path).relative_to(package).parts[0].removesuffix('.py')
             for path, _ in calls]
    stays = [room for before, room in zip(['', *rooms], rooms, strict=False)
             if room != before]
    storeys = storeys_of(layers)
    climbs = sum(storeys[after] < storeys[before]
                 for before, after in pairwise(stays)
                 if {before, after} <= set(storeys))
    return {'files': len({path for path, _ in calls}),
            'functions': len(set(calls)), 'rooms': len(set(rooms)),
            'stays': len(stays), 'climbs': climbs if layers else None}


def measure(tree):
    """
    Measure the tree whose package is the one that Python finds.

    Parameters
    ----------
    tree : `~pathlib.Path`
        The tree.

    Returns
    -------
    figures : dict of int
        Those named in ``_LABELS``; `None` where the tree has no layers.
    """
    import astro_denoise

    package = Path(astro_denoise.__file__).parent
    if package != tree / PACKAGE:
        msg = f'{PACKAGE} of {tree} is wanted, Python finds {package}'
        raise RuntimeError(msg)
    layers = read_storeys(tree)
    return {**source_figures(package), **import_figures(layers),
            **call_figures(package, layers)}


def measure_apart(tree):
    """Measure a tree in a process of its own."""
    result = subprocess.run(
        [sys.executable, __file__, '--json', str(tree)],
        env={**os.environ, 'PYTHONPATH': str(tree)}, cwd=tree,
        stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(result.stdout)


def main(args=None):
    """
    Measure trees and print a table.

    Parameters
    ----------
    args : list of str, optional
        Arguments; by default those of the command line.
    """
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[1])
    parser.add_argument('trees', nargs='*', type=Path, metavar='TREE',
                        default=[ROOT])
    parser.add_argument('--json', action='store_true',
                        help='measure one tree in this process')
    options = parser.parse_args(args)
    trees = [tree.resolve() for tree in options.trees]
    if options.json:
        print(json.dumps(measure(trees[0])))
        return
    columns = [measure_apart(tree) for tree in trees]
    names = [tree.name[:14] for tree in trees]
    print(f'{"":42}' + ''.join(f'{name:>15}' for name in names))
    for key, label in _LABELS.items():
        cells = ('-' if column[key] is None else f'{column[key]:,}'
                 for column in columns)
        print(f'{label:42}' + ''.join(f'{cell:>15}' for cell in cells))


if __name__ == '__main__':
    main()
