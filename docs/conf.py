# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Configuration of the documentation.
"""

import sys
from importlib.metadata import metadata
from pathlib import Path

from sphinx_astropy.conf.v2 import *  # noqa: F403
from sphinx_astropy.conf.v2 import exclude_patterns, extensions

project = 'astro_denoise'
author = metadata(project)['Author']
copyright = f'2026, {author}'  # noqa: A001
release = metadata(project)['Version']
version = '.'.join(release.split('.')[:2])

sys.path.append(str(Path(__file__).parent / '_extensions'))
extensions += ['sphinx_gallery.gen_gallery', 'benchmark_results', 'house',
               'model_cards', 'source_links']
exclude_patterns.append('_inventories')
nitpicky = True
highlight_language = 'python3'

# The second place is taken where the first cannot be reached: a build
# without a network is a full build. ``make inventories`` renews the files.
intersphinx_mapping = {
    name: (url, (None, f'_inventories/{name}.inv'))
    for name, url in (
        ('python', 'https://docs.python.org/3/'),
        ('numpy', 'https://numpy.org/doc/stable/'),
        ('scipy', 'https://docs.scipy.org/doc/scipy/'),
        ('matplotlib', 'https://matplotlib.org/stable/'),
        ('astropy', 'https://docs.astropy.org/en/stable/'),
        ('photutils', 'https://photutils.readthedocs.io/en/stable/'),
        ('torch', 'https://docs.pytorch.org/docs/stable/'),
        ('ccdproc', 'https://ccdproc.readthedocs.io/en/latest/'),
        ('dask', 'https://docs.dask.org/en/stable/'),
        ('reproject', 'https://reproject.readthedocs.io/en/stable/'),
    )
}

automodapi_inheritance_diagram = False

sphinx_gallery_conf = {
    'examples_dirs': '../examples',
    'gallery_dirs': 'generated/gallery',
    'within_subsection_order': 'FileNameSortKey',
    'abort_on_example_error': True,
    'download_all_examples': False,
    'show_memory': False,
    'remove_config_comments': True,
}

html_title = f'{project} {version}'
html_show_sourcelink = False
# Pages show those of their section beside them.
html_sidebars = {'index': [], '**': ['sidebar-nav-bs']}
html_static_path = ['_static']
html_css_files = ['astro_denoise.css']
html_theme_options = {
    # Wide tables need the room of the contents of the page.
    'secondary_sidebar_items': {
        '**': ['page-toc'], 'results': [], 'galactic_center_results': [],
        'flux': []},
}

plot_formats = [('png', 120)]
plot_html_show_formats = False
plot_html_show_source_link = False
