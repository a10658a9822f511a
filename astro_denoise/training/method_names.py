# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The names of the methods of training, without importing any of them.
"""

__all__ = ['METHOD_NAMES']

#: The names of all methods, the default first.
METHOD_NAMES = ('gr2r', 'r2r', 'noise2void', 'n2v2', 'pn2v', 'struct_n2v',
                'noise2noise', 'supervised')
