# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Recipes: one for each model that ships.

`names` lists them, `shipped` trains them. There is a module for each
shipped model or family: `ccd`, `ccd_sources`, `galactic_center`,
`galactic_sky`, `gc_counts`, `gc_mixed`, `paper` and `sky_segmenter`. The
others hold what several recipes share.
"""
