# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Right the links from pages of source code to the documentation.

``sphinx.ext.viewcode`` takes one package for all that a module defines,
though names of a module may be documented in two: ``segment_point_sources``
in the package itself, ``PointSources`` in a room. The name of the page says
which it is.
"""

import re

_LINK = re.compile(r'(href="[^"]*api/([\w.]+)\.html)#([\w.]+)"')


def _anchored(match):
    link, page, anchor = match.groups()
    name = page.rpartition('.')[2]
    parts = anchor.split('.')
    if name not in parts or anchor.startswith(page):
        return match[0]
    rest = parts[parts.index(name) + 1:]
    return f'{link}#{".".join([page, *rest])}"'


def _right(app, pagename, templatename, context, doctree):
    if pagename.startswith('_modules/'):
        context['body'] = _LINK.sub(_anchored, context['body'])


def setup(app):
    """Called by Sphinx."""
    app.connect('html-page-context', _right)
    return {'version': '1', 'parallel_read_safe': True,
            'parallel_write_safe': True}
