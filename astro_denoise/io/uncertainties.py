# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Uncertainties of files: what kind they are, and whether they fit the noise.
"""

import math
import warnings
from dataclasses import dataclass, replace

import numpy as np
from astropy.nddata import (
    InverseVariance,
    StdDevUncertainty,
    VarianceUncertainty,
)

from ..exceptions import NoiseEstimateWarning

__all__ = ['UNCERTAINTY_TYPES', 'UTYPES', 'FileNoise', 'fit_to_image',
           'in_kind', 'kind_of_utype']

UNCERTAINTY_TYPES = ('auto', 'std', 'var', 'ivar')

_CLASSES = {'std': StdDevUncertainty, 'var': VarianceUncertainty,
            'ivar': InverseVariance}
_WORDS = {'std': 'standard deviations', 'var': 'variances',
          'ivar': 'inverse variances', 'weight': 'weights'}
_POWERS = {'std': 1.0, 'var': 0.5, 'ivar': -0.5, 'weight': -0.5}
# What astropy calls them in the keyword of a file.
UTYPES = {kind: each.__name__ for kind, each in _CLASSES.items()}

# How far a noise may be from that of the sky before it is scaled, and how
# near another kind must come to be taken instead.
_LARGEST_FACTOR = 1.5
_SAME = 1.2

_SIDE = 1024     # of the part of an image that is compared
_LEAST = 1000    # pixels that a comparison needs


@dataclass(frozen=True)
class FileNoise:
    """
    An uncertainty as it was read from a file.

    Parameters
    ----------
    values : `~numpy.ndarray`
        Its numbers, NaN where there is none.

    kind : {'std', 'var', 'ivar', 'weight'}
        What they are; weights are inverse variances or proportional to
        them.

    source : str
        Where they come from, for messages.

    from_companion : bool
        Whether it was found by itself, and not named by the user.

    stated : bool, optional
        Whether the user, a keyword or a name says which kind it is.

    index : int, optional
        Number of the HDU, if it is one of the image's file.

    scaled : bool, optional
        Whether they were scaled to the noise of the image.
    """

    values: np.ndarray
    kind: str
    source: str
    from_companion: bool
    stated: bool = True
    index: int | None = None
    scaled: bool = False

    def sigma(self, part=()):
        """
        Standard deviations, not finite where there are none.
        """
        return in_kind(self.values[part], self.kind, 'std')

    def uncertainty(self):
        """
        As an object of astropy.
        """
        kind = 'ivar' if self.kind == 'weight' else self.kind
        return _CLASSES[kind](self.values)

    def describe(self):
        """
        Describe the interpretation of the numbers in words.
        """
        kind = 'ivar' if self.kind == 'weight' else self.kind
        return _WORDS[kind] + ', scaled' * self.scaled


def in_kind(values, kind, wanted):
    """
    Numbers of one kind of uncertainty as those of another.

    Parameters
    ----------
    values : `~numpy.ndarray`
        The numbers.

    kind, wanted : {'std', 'var', 'ivar', 'weight'}
        What they are, and what is wanted.

    Returns
    -------
    values : `~numpy.ndarray`
        As double precision.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.io.uncertainties import in_kind
    >>> print(in_kind(np.array([4.0, 9.0]), 'var', 'std'))
    [2. 3.]
    """
    power = _POWERS[kind] / _POWERS[wanted]
    with np.errstate(divide='ignore', invalid='ignore', over='ignore',
                     under='ignore'):
        return np.asarray(values, float)**power


def kind_of_utype(utype, source):
    """
    Find the kind of a plane from the keyword ``UTYPE``.

    Parameters
    ----------
    utype : str or `None`
        Its value.

    source : str
        Where it stands, for the message.

    Returns
    -------
    kind : {'std', 'var', 'ivar'} or `None`
        `None` without the keyword.

    Raises
    ------
    ValueError
        If it is something else.

    Examples
    --------
    >>> from astro_denoise.io.uncertainties import kind_of_utype
    >>> kind_of_utype('VarianceUncertainty', 'noise.fits')
    'var'
    """
    if utype is None:
        return None
    kind = {name: kind for kind, name in UTYPES.items()}.get(utype, utype)
    if kind not in _CLASSES:
        msg = f'{source}: UTYPE={utype!r} is not a kind of uncertainty'
        raise ValueError(msg)
    return kind


def fit_to_image(noise, image, valid):
    """
    Compare an uncertainty with the noise of its image, and make it fit.

    Parameters
    ----------
    noise : `FileNoise`
        The uncertainty.

    image : `~numpy.ndarray`
        The image, or a stack of which the first is looked at.

    valid : bool `~numpy.ndarray`
        `False` where a pixel must not be used.

    Returns
    -------
    noise : `FileNoise` or `None`
        As it was if it is within a factor of 1.5 of the noise of the blank
        sky, or that cannot be told so well. Else of another kind if that
        fits. Else scaled if it was found by itself; `None` if it is then
        the same everywhere, and says nothing.

    Warns
    -----
    NoiseEstimateWarning
        Unless it is as it was.
    """
    usual, factor, limit = _compare(noise, image, valid)
    if math.isnan(factor) or 1 / limit <= factor <= limit:
        return noise
    if noise.kind != 'weight' and (other := _other_kind(noise, image, valid)):
        msg = (f'{noise.source}: as {_WORDS[noise.kind]} the numbers are '
               f'{factor:.3g} times the noise of the blank sky; they fit as '
               f'{_WORDS[other.kind]}, and are taken for these: '
               f'uncertainty_type (--uncertainty-type) says what they are')
        warnings.warn(msg, NoiseEstimateWarning, stacklevel=2)
        return other
    if noise.from_companion:
        return _scaled(noise, usual, factor)
    msg = (f'{noise.source}: the numbers fit neither as standard deviations '
           f'nor as variances or inverse variances; as standard deviations '
           f'they are {factor:.3g} times the noise of the blank sky: '
           f'uncertainty_type (--uncertainty-type) says what they are')
    warnings.warn(msg, NoiseEstimateWarning, stacklevel=2)
    return noise


def _scaled(noise, usual, factor):
    """
    An uncertainty that is only right in its ratios, with a word.
    """
    taken = 'ivar' if noise.kind == 'weight' else noise.kind
    reason = (f'{noise.source}: the {_WORDS[noise.kind]} make the noise of '
              f'the blank sky {usual:.4g}, but it is {usual / factor:.4g}')
    at_their_word = (f"uncertainty_type='{taken}' (--uncertainty-type "
                     f'{taken}) takes them at their word')
    numbers = noise.values[np.isfinite(noise.values) & (noise.values > 0)]
    if numbers.min() == numbers.max():
        msg = (f'{reason}; as they are the same everywhere, the noise is '
               f'estimated from the image; {at_their_word}')
        warnings.warn(msg, NoiseEstimateWarning, stacklevel=3)
        return None
    msg = (f'{reason}; they are taken as relative, and the noise is scaled '
           f'by {1 / factor:.4g}; {at_their_word}')
    warnings.warn(msg, NoiseEstimateWarning, stacklevel=3)
    scale = factor**(-1 / _POWERS[noise.kind])
    return replace(noise, values=noise.values.astype(float) * scale,
                   scaled=True)


def _other_kind(noise, image, valid):
    """
    The uncertainty as the kind that fits, or `None`.
    """
    fitting = []
    for kind in ('std', 'var', 'ivar'):
        other = replace(noise, kind=kind)
        if kind != noise.kind:
            _, factor, _ = _compare(other, image, valid)
            if 1 / _SAME < factor < _SAME:
                fitting.append((abs(math.log(factor)), kind, other))
    return min(fitting, default=(0, '', None), key=lambda one: one[:2])[2]


def _compare(noise, image, valid):
    """
    Usual noise, its factor over that of the image, and a factor that is far.

    The image is divided by the noise before that is measured: what is
    right has the noise 1 wherever it is more or less.
    """
    import torch

    from ..noise.findings import measure_noise
    from ..noise.supplied import compare_supplied

    middle = tuple(slice(max(0, (n - _SIDE) // 2), (n + _SIDE) // 2)
                   for n in image.shape[-2:])
    part = (0,) * (image.ndim - 2) + middle
    sigma, image = noise.sigma(part), np.asarray(image[part], float)
    use = valid[part] & np.isfinite(image) & np.isfinite(sigma) & (sigma > 0)
    if np.count_nonzero(use) < _LEAST:
        return math.nan, math.nan, math.inf
    usual, sky = np.median(sigma[use]), np.median(image[use])
    away = np.abs(image[use] - sky)
    # Most pixels of coarse values are alike.
    scatter = np.median(away) or np.mean(away)
    if not 0 < scatter < np.inf:
        return usual, math.nan, math.inf
    with np.errstate(all='ignore'):
        even = (image - sky) / scatter * (usual / sigma)
        use &= np.abs(even) < 1e10
    values = torch.from_numpy(np.where(use, even, 0).astype(np.float32))
    use = torch.from_numpy(use)
    supplied = compare_supplied(measure_noise(values, use), usual / scatter,
                                use)
    return (float(usual), supplied.factor,
            max(_LARGEST_FACTOR, supplied.tolerance))
