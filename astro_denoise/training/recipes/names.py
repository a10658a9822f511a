# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The names of all recipes, without importing any of them.
"""

__all__ = ['RECIPE_MODULES', 'RECIPE_NAMES']

#: Modules of this package, and the recipes that each holds.
RECIPE_MODULES = {
    'ccd': ('ccd', 'ccd-mmse', 'ccd.small'),
    'ccd_sources': ('ccd-sources',),
    'galactic_center': ('galactic-center', 'galactic-center.estimate',
                        'galactic-center.segment'),
    'galactic_sky': ('galactic-sky',),
    'sky_segmenter': ('galactic-sky.segment',),
    'gc_counts': ('gc-counts',),
    'gc_mixed': ('gc-mixed',),
    'paper': ('cnn-dm', 'cnn-dm-total', 'cnn-dm-disk-gc', 'unet-paper',
              'gc-gaussian', 'gc-poisson', 'gc-masked', 'gc-saltpepper'),
}

#: The names of all recipes.
RECIPE_NAMES = tuple(sorted(
    name for names in RECIPE_MODULES.values() for name in names))
