# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Running networks: device and precision, tiles, the engine.
"""
