# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Training of denoisers: scenes, losses, the loop, and the recipes of the
shipped models.
"""
