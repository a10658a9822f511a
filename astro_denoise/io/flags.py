# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Bits of masks: their names, and which of them do not say that a pixel is bad.
"""

import warnings
from dataclasses import dataclass, field

import numpy as np
from astropy.nddata.bitmask import extend_bit_flag_map, interpret_bit_flags

from ..exceptions import CompanionWarning

__all__ = ['FlagNames', 'as_bits', 'good_bits_of', 'holds_flags',
           'names_of_flags', 'warn_of_flags']

# Of the documentation of the JWST calibration pipeline.
_JWST = dict(zip(
    ('DO_NOT_USE', 'SATURATED', 'JUMP_DET', 'DROPOUT', 'OUTLIER',
     'PERSISTENCE', 'AD_FLOOR', 'CHARGELOSS', 'UNRELIABLE_ERROR',
     'NON_SCIENCE', 'DEAD', 'HOT', 'WARM', 'LOW_QE', 'RC', 'TELEGRAPH',
     'NONLINEAR', 'BAD_REF_PIXEL', 'NO_FLAT_FIELD', 'NO_GAIN_VALUE',
     'NO_LIN_CORR', 'NO_SAT_CHECK', 'UNRELIABLE_BIAS', 'UNRELIABLE_DARK',
     'UNRELIABLE_SLOPE', 'UNRELIABLE_FLAT', 'OPEN', 'ADJ_OPEN',
     'FLUX_ESTIMATED', 'MSA_FAILED_OPEN', 'OTHER_BAD_PIXEL',
     'REFERENCE_PIXEL'), (1 << bit for bit in range(32)), strict=True))

# Its steps take all others for good (``good_bits = ~DO_NOT_USE``): what made
# a pixel useless set this bit too.
_JWST_BAD = _JWST['DO_NOT_USE'] | _JWST['NON_SCIENCE']

# Of the handbooks of ACS and WFC3.
_HST = {'HOT': 16, 'WARM': 64}
_HST_CAMERAS = ('ACS', 'WFC3')

# Planes of LSST that say what is there, not that it is bad.
_LSST_GOOD = ('DETECTED', 'DETECTED_NEGATIVE')

# Parts of a plane that is looked at, for speed.
_SIDE = 1024

# Pixels that must stand out for a word on what covers them.
_LEAST_PIXELS = 50

# Share of them that what marks sources covers; saturated stars and cosmic rays
# of a sparse field may be two thirds.
_COVERED = 0.75
_SHARE = 0.05       # of the pixels with a flag, from which on it is looked at
_ALIKE = 1.25       # factor between the scatters of pixels that are alike


@dataclass(frozen=True)
class FlagNames:
    """
    Names of the bits of a mask.

    Parameters
    ----------
    values : dict of str to int
        The flags by their names.

    good : int
        Those that do not say that a pixel is bad.

    documented : bool
        Whether the documentation of the instrument says so of each.
    """

    values: dict = field(default_factory=dict)
    good: int = 0
    documented: bool = False

    def describe(self, bit):
        """
        A flag as messages call it.
        """
        names = [name for name, value in self.values.items() if value == bit]
        return f'{names[0]} ({bit})' if names else str(bit)


def names_of_flags(header, card):
    """
    The names of the bits of a mask.

    Parameters
    ----------
    header : mapping
        Of the mask; cards ``MP_BAD`` and so on give the numbers of bits.

    card : callable
        Gives the value of a keyword of the image, or `None`.

    Returns
    -------
    names : `FlagNames`
        Names, and which flags are information by default.

    Examples
    --------
    >>> from astro_denoise.io.flags import names_of_flags
    >>> names = names_of_flags({'MP_BAD': 0, 'MP_DETECTED': 5}, {}.get)
    >>> print(names.values, names.good)
    {'BAD': 1, 'DETECTED': 32} 32
    """
    values = {keyword[3:]: 1 << header[keyword] for keyword in header
              if keyword.startswith('MP_')
              and type(header[keyword]) is int and 0 <= header[keyword] < 63}
    if values:
        return FlagNames(values, sum(values.get(name, 0)
                                     for name in _LSST_GOOD))
    telescope = str(card('TELESCOP') or '').strip().upper()
    if telescope == 'JWST':
        return FlagNames(_JWST, ~_JWST_BAD, documented=True)
    if telescope == 'HST' and str(card('INSTRUME') or '').strip().upper() in (
            _HST_CAMERAS):
        return FlagNames(_HST, _HST['WARM'], documented=True)
    return FlagNames()


def good_bits_of(good_bits, names):
    """
    The flags that do not say that a pixel is bad, as one number.

    Parameters
    ----------
    good_bits : int, str, list or `None`
        As for `astro_denoise.pipeline.denoise_file`, but for ``'auto'``.

    names : `FlagNames`
        Of the mask.

    Returns
    -------
    good : int
        The sum of the flags.

    Raises
    ------
    ValueError
        If ``good_bits`` is none, or has a name that is not known.

    Examples
    --------
    >>> from astro_denoise.io.flags import FlagNames, good_bits_of
    >>> good_bits_of('4,8', FlagNames())
    12
    """
    if isinstance(good_bits, list | tuple):
        good_bits = list(good_bits)
    elif isinstance(good_bits, np.integer):
        good_bits = int(good_bits)
    known = extend_bit_flag_map('Flags', **names.values)
    try:
        good = interpret_bit_flags(good_bits, flag_name_map=known)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        has = ', '.join(names.values) or 'no names'
        msg = (f"good_bits must be 'auto', None, or flags as numbers or "
               f'names, got {good_bits!r} ({error}; the mask has {has})')
        raise ValueError(msg) from error
    return -1 if good is None else good


def holds_flags(mask):
    """
    Tell if numbers may be those of a mask.

    Parameters
    ----------
    mask : `~numpy.ndarray`
        Of any real type.

    Returns
    -------
    good : bool
        `False` for floats with a fraction, but for shares of a pixel as
        in masks that were resampled.
    """
    if mask.dtype.kind in 'biu':
        return True
    with np.errstate(invalid='ignore'):
        fractions = (mask != np.rint(mask)) & (np.abs(mask) > 1)
    return not (fractions & np.isfinite(mask)).any()


def as_bits(mask):
    """
    A mask as 64-bit integers; what holds no integers is 0 or 1.

    Parameters
    ----------
    mask : `~numpy.ndarray`
        Of any real type.

    Returns
    -------
    bits : `~numpy.ndarray`
        The highest bit of shorter integers is no sign.
    """
    if mask.dtype.kind not in 'iu':
        return (mask != 0).astype(np.int64)
    bits = mask.astype(np.int64)
    if mask.dtype.kind == 'i' and mask.dtype.itemsize < 8:
        bits &= (1 << (8 * mask.dtype.itemsize)) - 1
    return bits


def warn_of_flags(values, bits, names, source):
    """
    Warn of flags that may not say that a pixel is bad.

    Parameters
    ----------
    values : `~numpy.ndarray`
        The image, or a stack of which the first is looked at.

    bits : `~numpy.ndarray`
        Of its mask, without those that are known to be good.

    names : `FlagNames`
        Of the mask.

    source : str
        Of the mask, for messages.

    Warns
    -----
    CompanionWarning
        If most pixels that stand out above the sky are flagged, or many
        pixels with a flag look like those without.
    """
    middle = tuple(slice(max(0, (n - _SIDE) // 2), (n + _SIDE) // 2)
                   for n in values.shape[-2:])
    part = (0,) * (values.ndim - 2) + middle
    values, bits = np.asarray(values[part], float), bits[part]
    usable = np.isfinite(values)
    if not (usable & (bits != 0)).any() or not (usable & (bits == 0)).any():
        return
    reason = (_covers_sources(values, bits, usable, names)
              or _looks_good(values, bits, usable, names))
    if reason:
        flag, reason = reason
        msg = (f'{source}: {reason}; if that does not say that a pixel is '
               f'bad, give good_bits={flag} (--ignore-flags {flag})')
        warnings.warn(msg, CompanionWarning, stacklevel=2)


def _scatter(values):
    middle = np.median(values)
    return middle, 1.4826 * np.median(np.abs(values - middle))


def _covers_sources(values, bits, usable, names):
    """
    The flag that most pixels of sources have, and a word on it.
    """
    from scipy.ndimage import median_filter

    sky, scatter = _scatter(values[usable])
    # A single hot pixel or column is gone.
    smooth = median_filter(np.where(usable, values, sky), 3)
    sources = usable & (smooth > sky + 3 * scatter)
    n_sources = np.count_nonzero(sources)
    flagged = np.count_nonzero(sources & (bits != 0))
    others = np.count_nonzero(usable & (bits != 0)) / values.size
    if n_sources < _LEAST_PIXELS or flagged < _COVERED * n_sources or (
            flagged < 2 * others * n_sources):
        return None
    flag = max(_flags(bits[sources]),
               key=lambda one: np.count_nonzero(bits[sources] & one))
    return flag, (f'{100 * flagged / n_sources:.0f} % of the pixels that '
                  f'stand out above the sky are left out, most of them for '
                  f'the flag {names.describe(flag)}')


def _looks_good(values, bits, usable, names):
    """
    A flag that pixels like all others have, and a word on it.
    """
    rest = usable & (bits == 0)
    sky, scatter = _scatter(values[rest])
    # A mask of 0 and 1 has no flags.
    for flag in _flags(bits) if bits.max() > 1 else ():
        pixels = usable & (bits & flag != 0)
        share = np.count_nonzero(pixels) / values.size
        if share < _SHARE or not scatter > 0:
            continue
        level, own = _scatter(values[pixels])
        if abs(level - sky) < scatter / 2 and (
                1 / _ALIKE < own / scatter < _ALIKE):
            return flag, (f'{100 * share:.0f} % of the pixels are left out '
                          f'for the flag {names.describe(flag)}, and look '
                          f'like those without')
    return None


def _flags(bits):
    """
    Each flag that some pixel has.
    """
    together = int(np.bitwise_or.reduce(bits, axis=None))
    return [1 << bit for bit in range(63) if together & 1 << bit]
