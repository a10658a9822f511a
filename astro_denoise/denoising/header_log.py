# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Header cards that say what was done.
"""

import re
import sys
import warnings
from collections import namedtuple
from collections.abc import Mapping

import astropy.units as u
import numpy as np
from astropy.io import fits

from .. import __version__
from ..frames.kernel_card import KERNEL_CARD, kernel_to_text

__all__ = ['log_cards', 'read_cards']


_NOISE_CARDS = {
    'DNNOISE': ('origin', 'origin of the noise map, or its kind'),
    'DNAVERAG': ('average', 'turned and shifted versions averaged'),
    'DNGAIN': ('gain', 'electron per unit of the frame'),
    'DNRDNOIS': ('read_noise', 'read noise in electron'),
    'DNSIGMA': ('level', 'noise of the blank sky'),
    'DNSKY': ('sky', 'value of the sky with that noise'),
    'DNVERDCT': ('verdict', 'white, correlated, or cannot tell'),
    'DNCORR': ('correlation', 'lag-1 autocorrelation of the noise'),
    'DNFWHM': ('fwhm', 'PSF FWHM found, in pixels'),
    'DNGUIDE': ('guide', 'what was made of a catalog of sources'),
    'DNCATMOD': ('outside', 'model outside the footprints of sources'),
    'DNCATUSE': ('n_sources', 'sources of the catalog used'),
    'DNCATOFF': ('n_off', 'sources of the catalog not on the frame')}


# What a file says of itself, which is not for others to write.
_STRUCTURE = re.compile(
    'SIMPLE|XTENSION|BITPIX|NAXIS[0-9]*|EXTEND|PCOUNT|GCOUNT|GROUPS|TFIELDS|'
    'THEAP|BSCALE|BZERO|BLANK|CHECKSUM|DATASUM|CONTINUE|END|HIERARCH')
_HIERARCH = re.compile('HIERARCH +([A-Z0-9_-]+(?: +[A-Z0-9_-]+)*)')

_LONGEST_NAME = 40  # of a model

_Card = namedtuple('_Card', ['value', 'comment'])


def read_cards(add_keyword, *, name='add_keyword'):
    """
    Read what the user wants in the header, and refuse what cannot be.

    Parameters
    ----------
    add_keyword : bool, str, dict or ``ccdproc.Keyword``
        As for `astro_denoise.denoise`.

    name : str, optional
        Name of the parameter, for messages.

    Returns
    -------
    usual : bool
        Whether the usual cards are wanted.

    cards : dict
        Others, values and comments by keyword; without a value where that
        is to be the name of the model.

    Raises
    ------
    TypeError, ValueError
        If a FITS header cannot hold them; the message names the parameter.

    Examples
    --------
    >>> from astro_denoise.denoising.header_log import read_cards
    >>> usual, cards = read_cards({'HIERARCH ESO PRO STEP': (2, 'of 3')})
    >>> print(usual, cards['HIERARCH ESO PRO STEP'].value)
    False 2
    """
    if add_keyword is None or isinstance(add_keyword, bool | np.bool_):
        return bool(add_keyword), {}
    # Who has a Keyword has imported its package, which is slow to import.
    ccdproc = sys.modules.get('ccdproc')
    if isinstance(add_keyword, str):
        given, usual = {add_keyword: None}, True
    elif isinstance(add_keyword, Mapping):
        given, usual = add_keyword, False
    elif ccdproc is not None and isinstance(add_keyword, ccdproc.Keyword):
        given, usual = {add_keyword.name: add_keyword.value}, True
    else:
        msg = (f'{name} must be a bool, a keyword or a dict of cards, '
               f'got {add_keyword!r}')
        raise TypeError(msg)
    cards = {}
    for keyword, value in given.items():
        _check_keyword(name, keyword)
        # Only a dict says that a value is not defined.
        if usual and value is None:
            cards[keyword] = _Card(None, 'astro_denoise model')
            _check_card(name, keyword, _Card(_LONGEST_NAME * 'x', ''))
            continue
        cards[keyword] = _as_card(name, keyword, value)
        _check_card(name, keyword, cards[keyword])
    return usual, cards


def _check_keyword(name, keyword):
    """Refuse what is no keyword, or one that others write."""
    if not isinstance(keyword, str) or not (
            re.fullmatch('[A-Za-z0-9_-]{1,8}', keyword)
            or _HIERARCH.fullmatch(keyword.upper())):
        msg = (f'{name} must name FITS keywords (1 to 8 letters, digits, - '
               f'and _, or HIERARCH and such words), got {keyword!r}')
        raise ValueError(msg)
    if _STRUCTURE.fullmatch(keyword.upper()):
        msg = (f'{name} must not name {keyword!r}, by which a FITS file says '
               f'how it is to be read')
        raise ValueError(msg)


def _as_card(name, keyword, value):
    """Value and comment of a card, as plain Python types."""
    comment = ''
    if isinstance(value, tuple):
        if len(value) != 2 or not isinstance(value[1], str):
            msg = (f'{name} must give a value, or a tuple of a value and a '
                   f'comment, got {value!r:.100} for {keyword!r}')
            raise ValueError(msg)
        value, comment = value
    if isinstance(value, u.Quantity) and value.isscalar:
        value, comment = value.value, comment or str(value.unit)
    if isinstance(value, np.generic):
        value = value.item()
    return _Card(value, comment)


def _check_card(name, keyword, card):
    """Refuse a card that cannot be written, or not be read again."""
    with warnings.catch_warnings():
        # Names that are not upper case; comments that are cut; and what is
        # refused below.
        warnings.simplefilter('ignore')
        try:
            header = fits.Header()
            header[keyword] = tuple(card)
            found = fits.Header.fromstring(header.tostring())[keyword]
        except (ValueError, TypeError, OverflowError, AttributeError,
                LookupError, fits.VerifyError) as error:
            msg = (f'{name} must give what a FITS header can hold, got '
                   f'{card.value!r:.100} for {keyword!r}: {error}')
            raise ValueError(msg) from error
    if not _same(found, card.value):
        msg = (f'{name} must give what fits a card of a FITS header, got '
               f'{card.value!r:.100} for {keyword!r}')
        raise ValueError(msg)


def _same(found, value):
    """Tell whether a value came back from a header as it was."""
    if isinstance(value, float | complex):
        return np.isclose(found, value, rtol=1e-12, atol=0.0)
    if isinstance(value, str):
        # Blanks at the end do not count, and text may have lines.
        return str(found).rstrip() == value.rstrip()
    if value is None or isinstance(value, fits.card.Undefined):
        return found is None or isinstance(found, fits.card.Undefined)
    return found == value


def log_cards(add_keyword, model, noise):
    """
    Say in header cards what was done, as the user wants it.

    Parameters
    ----------
    add_keyword : bool, str, dict or ``ccdproc.Keyword``
        As for `astro_denoise.denoise`.

    model : `~astro_denoise.models.Model`
        The model.

    noise : dict
        What `~astro_denoise.noise.Measurement.describe` gives, or a part
        of it, and the restoring ``kernel`` if there is one.

    Returns
    -------
    cards : dict
        Values, or values and comments, by keyword.
    """
    usual, wanted = read_cards(add_keyword)
    if not usual:
        return wanted
    cards = {'DNMODEL': (model.name, 'astro_denoise model'),
             'DNVERS': (__version__, 'version of astro_denoise'),
             'DNHASH': model.hash}
    for keyword, (name, comment) in _NOISE_CARDS.items():
        value = noise.get(name)
        if value is not None:
            if not isinstance(value, str | int):
                value = float(f'{value:.6g}')
            cards[keyword] = (value, comment)
    if noise.get('kernel') is not None:
        cards[KERNEL_CARD] = (kernel_to_text(noise['kernel']),
                              'octant of the restoring kernel')
    for keyword, card in wanted.items():
        cards[keyword] = _Card(
            model.name if card.value is None else card.value, card.comment)
    return cards
