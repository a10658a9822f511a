# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Header cards that say what was done.
"""

import re

import numpy as np

from .. import __version__

__all__ = ['check_keywords', 'log_cards']


_NOISE_CARDS = {
    'DNNOISE': ('origin', 'origin of the noise map, or its kind'),
    'DNGAIN': ('gain', 'electron per unit of the frame'),
    'DNRDNOIS': ('read_noise', 'read noise in electron'),
    'DNSIGMA': ('level', 'noise of the blank sky'),
    'DNVERDCT': ('verdict', 'white, correlated, or cannot tell'),
    'DNCORR': ('correlation', 'lag-1 autocorrelation of the noise'),
    'DNFWHM': ('fwhm', 'PSF FWHM found, in pixels')}


def check_keywords(add_keyword):
    """Refuse what cannot go into a header before anything is computed."""
    if add_keyword is None or isinstance(add_keyword, bool | np.bool_):
        return
    if not isinstance(add_keyword, str | dict):
        msg = (f'add_keyword must be a bool, a keyword or a dict of cards, '
               f'got {add_keyword!r}')
        raise TypeError(msg)
    keywords = [add_keyword] if isinstance(add_keyword, str) else add_keyword
    for keyword in keywords:
        if not (isinstance(keyword, str)
                and re.fullmatch('[A-Za-z0-9_-]{1,8}', keyword)):
            msg = (f'add_keyword must name FITS keywords (1 to 8 letters, '
                   f'digits, - and _), got {keyword!r}')
            raise ValueError(msg)


def log_cards(add_keyword, model, noise):
    """
    Say in header cards what was done, as the user wants it.

    Parameters
    ----------
    add_keyword : bool, str or dict
        As for `astro_denoise.denoise`.

    model : `~astro_denoise.models.Model`
        The model.

    noise : dict
        What `~astro_denoise.noise.Measurement.describe` gives, or a part
        of it.

    Returns
    -------
    cards : dict
        Values, or values and comments, by keyword.
    """
    if not add_keyword:
        return {}
    if isinstance(add_keyword, dict):
        return add_keyword
    cards = {'DNMODEL': (model.name, 'astro_denoise model'),
             'DNVERS': (__version__, 'version of astro_denoise'),
             'DNHASH': model.hash}
    for keyword, (name, comment) in _NOISE_CARDS.items():
        value = noise.get(name)
        if value is not None:
            if not isinstance(value, str):
                value = float(f'{value:.6g}')
            cards[keyword] = (value, comment)
    if isinstance(add_keyword, str):
        cards[add_keyword] = (model.name, 'astro_denoise model')
    return cards
