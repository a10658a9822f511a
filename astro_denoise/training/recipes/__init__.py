# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Recipes: one for each model that ships.
"""
