# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Draw the rooms of the package and the imports between them.

The picture is made of the code's own imports each time the documentation
is built, as ``docs/generated/house.svg``. To look at it alone::

    python docs/_extensions/house.py house.svg
"""

import sys
import tomllib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

ROOT = Path(__file__).parents[2]

# Sizes in pixels.
_WIDTH, _LEFT, _BOX = 690, 10, 330
_ROW, _GAP, _TOP = 30, 12, 10

# Arrows of a room have the color of its tab. All are readable on white and
# on black.
_COLORS = ('#4487c4', '#c9742a', '#4b9a5b', '#a566b4', '#b08a1e', '#c65a6a',
           '#3f9c9c')

_STYLE = """
.room { fill: #eef3f9; stroke: #7f8ea3; }
.name { font: bold 14px Helvetica, Arial, sans-serif; fill: #111111; }
.size { font: 12px Helvetica, Arial, sans-serif; fill: #3c4856; }
path { fill: none; stroke-opacity: 0.8; }
path:hover { stroke-opacity: 1; }
"""


@dataclass
class House:
    """
    Rooms of the package and the imports between them.

    Attributes
    ----------
    storeys : list of list of str
        Names of the rooms, the top storey first.

    modules, lines : dict
        Number of modules, and of lines, of each room.

    imports : dict
        Number of imports for each pair of rooms: the one that imports
        and the one imported.
    """

    storeys: list
    modules: dict
    lines: dict
    imports: dict

    @property
    def rooms(self):
        """Names of the rooms, from the top of the house down."""
        return [room for storey in self.storeys for room in storey]


def read_storeys(root):
    """
    Read the rooms from the layers contract in ``pyproject.toml``.

    Returns an empty list where there is none.
    """
    path = Path(root) / 'pyproject.toml'
    if not path.exists():
        return []
    tool = tomllib.loads(path.read_text(encoding='utf-8')).get('tool', {})
    for contract in tool.get('importlinter', {}).get('contracts', []):
        if contract['type'] == 'layers':
            return [[room.strip() for room in layer.split('|')]
                    for layer in contract['layers']]
    return []


def read_house(root=ROOT):
    """
    Read the house from the source code of the package.

    Parameters
    ----------
    root : path-like, optional
        The repository. Its package must be the one that Python finds.

    Returns
    -------
    house : `House`
        What there is to draw.
    """
    import grimp

    graph = grimp.build_graph('astro_denoise', cache_dir=None)

    def room_of(module):
        return module.split('.')[1] if '.' in module else None

    storeys = read_storeys(root)
    rooms = {room for storey in storeys for room in storey}
    modules = Counter(map(room_of, graph.modules))
    imports = Counter()
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            pair = room_of(module), room_of(imported)
            if pair[0] != pair[1] and rooms.issuperset(pair):
                imports[pair] += 1
    lines = Counter()
    package = Path(root) / 'astro_denoise'
    for path in package.rglob('*.py'):
        lines[path.relative_to(package).parts[0].removesuffix('.py')] += len(
            path.read_text(encoding='utf-8').splitlines())
    return House(storeys, modules, lines, dict(imports))


def _places(house):
    """Find the vertical position of each room, and the height of all."""
    places, y = {}, _TOP
    for storey in house.storeys:
        for room in storey:
            places[room] = y
            y += _ROW
        y += _GAP
    return places, y - _GAP + _TOP


def _ports(house, places):
    """
    Find where on a box arrows begin and end.

    They leave in the lower half of a box and arrive in the upper one, the
    longest nearest to the middle, so that they cross as little as can be.
    """
    ports = {}
    for room in house.rooms:
        for end, sign in ((0, 1), (1, -1)):
            pairs = sorted((pair for pair in house.imports
                            if pair[end] == room),
                           key=lambda pair: -abs(places[pair[1]]
                                                 - places[pair[0]]))
            step = min(3.0, 0.42 * _ROW / max(len(pairs), 1))
            for number, pair in enumerate(pairs):
                ports[pair, end] = (places[room] + _ROW / 2
                                    + sign * step * (number + 0.5))
    return ports


def _add(parent, tag, text=None, **attributes):
    """Add an element; numbers are written to a tenth of a pixel."""
    element = ET.SubElement(parent, tag, {
        name.rstrip('_').replace('_', '-'): (
            f'{value:.1f}' if isinstance(value, float) else str(value))
        for name, value in attributes.items()})
    element.text = text
    return element


def _add_room(svg, house, room, y, color):
    """Draw a room."""
    n = house.modules[room]
    size = f'{n} module{"s"[:n != 1]}, {house.lines[room]:,} lines'
    _add(svg, 'rect', class_='room', x=_LEFT, y=y, width=_BOX, height=_ROW)
    _add(svg, 'rect', x=_LEFT + _BOX - 6, y=y, width=6, height=_ROW,
         fill=color)
    _add(svg, 'text', room, class_='name', x=_LEFT + 12, y=y + 20)
    _add(svg, 'text', size, class_='size', x=_LEFT + _BOX - 16, y=y + 20,
         text_anchor='end')


def _add_arrow(svg, pair, n, start, stop, color):
    """Draw the imports of one room by another."""
    x = _LEFT + _BOX
    reach = x + 26 + 0.62 * abs(stop - start)
    width = 0.6 + 1.1 * n**0.5
    tip = 3.5 + width
    path = _add(svg, 'path', stroke=color, stroke_width=width,
                d=f'M{x} {start:.1f} C{reach:.0f} {start:.1f} {reach:.0f} '
                  f'{stop:.1f} {x + tip:.1f} {stop:.1f}')
    _add(path, 'title', f'{pair[0]} imports {pair[1]}: {n}')
    back, half = x + tip + 1, 0.5 * tip
    _add(svg, 'polygon', fill=color,
         points=f'{x},{stop:.1f} {back:.1f},{stop - half:.1f} '
                f'{back:.1f},{stop + half:.1f}')


def draw_house(house):
    """
    Draw the rooms as storeys, with arrows from importer to imported.

    Parameters
    ----------
    house : `House`
        What there is to draw.

    Returns
    -------
    svg : str
        The picture. Arrows are the thicker the more imports there are;
        their numbers show under the mouse.
    """
    places, height = _places(house)
    ports = _ports(house, places)
    colors = {room: _COLORS[number % len(_COLORS)]
              for number, room in enumerate(house.rooms)}
    svg = ET.Element('svg', {'xmlns': 'http://www.w3.org/2000/svg',
                             'viewBox': f'0 0 {_WIDTH} {height}',
                             'role': 'img'})
    _add(svg, 'title', 'The rooms of astro_denoise and the imports between '
                       'them')
    _add(svg, 'style', _STYLE)
    # Thin ones on top.
    for pair, n in sorted(house.imports.items(),
                          key=lambda item: (-item[1], item[0])):
        _add_arrow(svg, pair, n, ports[pair, 0], ports[pair, 1],
                   colors[pair[0]])
    for room, y in places.items():
        _add_room(svg, house, room, y, colors[room])
    ET.indent(svg)
    return ET.tostring(svg, encoding='unicode')


def _draw(app):
    folder = Path(app.srcdir) / 'generated'
    folder.mkdir(exist_ok=True)
    (folder / 'house.svg').write_text(draw_house(read_house()),
                                      encoding='utf-8')


def setup(app):
    """
    Draw the house before the pages are read.
    """
    app.connect('builder-inited', _draw)
    return {'parallel_read_safe': True, 'parallel_write_safe': True}


if __name__ == '__main__':
    sys.path.insert(0, str(ROOT))
    Path(sys.argv[1]).write_text(draw_house(read_house()), encoding='utf-8')
