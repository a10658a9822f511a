# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Units and quantities as headers in the wild spell them.
"""

import re

import astropy.units as u

__all__ = ['parse_quantity', 'parse_unit']

# Words in use that are not those of the FITS standard. Headers of all
# capitals mean seconds by S.
_WORDS = {
    'adu': 'adu', 'adus': 'adu', 'dn': 'adu', 'dns': 'adu',
    'count': 'count', 'counts': 'count', 'ct': 'count', 'cts': 'count',
    'e': 'electron', 'e-': 'electron', 'electron': 'electron',
    'electrons': 'electron', 'elec': 'electron',
    'photon': 'photon', 'photons': 'photon', 'ph': 'photon',
    's': 's', 'sec': 's', 'secs': 's', 'second': 's', 'seconds': 's',
    'per': '/'}

_NUMBER = re.compile(r'([-+]?(?:\d+[.,]?\d*|[.,]\d+)(?:[eEdD][-+]?\d+)?)'
                     r'(?![\w.,])\s*(.*)')


def parse_unit(text):
    """
    Read a unit in any of the spellings that cameras and pipelines use.

    Parameters
    ----------
    text : str
        Such as ``'ELECTRONS/S'``, ``'counts/s'`` or ``'e-/DN'``.

    Returns
    -------
    unit : `~astropy.units.Unit`
        The unit.

    Raises
    ------
    ValueError
        If it is none.

    Examples
    --------
    >>> from astro_denoise.frames.units import parse_unit
    >>> print(parse_unit('ELECTRONS/S'), parse_unit('e-/ADU'))
    electron / s electron / adu
    """
    plain = re.sub(
        r'(?<![A-Za-z0-9_])(e-(?![\w-])|[A-Za-z]+)',
        lambda word: _WORDS.get(word[0].lower(), word[0]),
        text.strip().strip('[]()'))
    if plain.count('/') > 1 and '(' not in plain:
        # Read as astropy does, which warns of it.
        first, *others = plain.split('/')
        plain = f'{first}/({" ".join(others)})'
    for spelling in (plain, text.strip(), text.strip().lower()):
        try:
            return u.Unit(spelling)
        except (ValueError, TypeError):
            continue
    msg = f'{text!r} is not a unit'
    raise ValueError(msg)


def parse_quantity(text):
    """
    Read a number that may have a unit behind it.

    Parameters
    ----------
    text : str
        Such as ``'1.6 e-/ADU'`` or ``'1,6'``.

    Returns
    -------
    value : float or `~astropy.units.Quantity`
        The number, or the quantity.

    Raises
    ------
    ValueError
        If it is neither, or a comma may be one of thousands.

    Examples
    --------
    >>> from astro_denoise.frames.units import parse_quantity
    >>> print(parse_quantity('1,6'), parse_quantity('1.6 e-/ADU'))
    1.6 1.6 electron / adu
    """
    found = _NUMBER.fullmatch(text.strip())
    if not found:
        msg = f'{text!r} is not a number with or without a unit'
        raise ValueError(msg)
    number, unit = found.groups()
    if re.fullmatch(r'[-+]?[1-9]\d*,\d{3}', number):
        msg = (f'the comma in {text!r} may be one of decimals or of '
               f'thousands')
        raise ValueError(msg)
    value = float(number.replace(',', '.').lower().replace('d', 'e'))
    return value * parse_unit(unit) if unit.strip() else value
