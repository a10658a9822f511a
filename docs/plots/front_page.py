# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
A real frame, a Gaussian filter, and two ways to denoise it.

It is the picture that ``astro-denoise demo`` makes.
"""

import warnings

import matplotlib.pyplot as plt

from astro_denoise import denoise, load_model
from astro_denoise.data.examples import load_example_pair
from astro_denoise.demo import compare_methods

with warnings.catch_warnings():
    warnings.simplefilter('ignore')  # the frames were aligned
    found = compare_methods(load_model('ccd'),
                            [denoise(frame) for frame in load_example_pair()])
found.plot(figure=plt.figure(figsize=(10.4, 5.5), layout='compressed'))
