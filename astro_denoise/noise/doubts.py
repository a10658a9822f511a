# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Put findings that the user has to know into words.
"""

import math
from dataclasses import dataclass

from ..exceptions import (
    CorrelatedNoiseWarning,
    NoDataWarning,
    NoiseEstimateWarning,
    UnusualImageWarning,
)

__all__ = ['Doubt', 'doubts_of']

# In electrons; detectors for images have less.
_LARGEST_READ_NOISE = 300.0

# A gain farther from the growth of the noise with the light than this factor
# is none, or the light is no photons.
_LARGEST_GAIN = 3.0

# Noise of bright pixels that may be larger than it is taken by this factor.
_LARGEST_BRIGHT = 1.2

# Share of pixels of ten sigma and more of a frame that is full of structure.
_TRAILED = 0.25  # ellipticity that the sources have in common
_FULL = 0.02

# Cards that say that neighboring pixels have filters of their own.
_MOSAIC_CARDS = ('BAYERPAT', 'COLORTYP', 'CFA', 'CFAPAT', 'FILTER')

# Cards that may hold the gain of a frame: the user has to know if it is that
# of the pixels as they are.
_GAIN_CARDS = ('GAIN', 'EGAIN', 'CCDGAIN', 'ATODGAIN', 'GAINEFF', 'GAINA')


@dataclass(frozen=True)
class Doubt:
    """
    Something to be warned of.

    Attributes
    ----------
    kind : str
        One word for what it is, the same in all planes of a stack.

    category : type
        The class of the warning.

    message : str
        Its text.
    """

    kind: str
    category: type
    message: str


def doubts_of(model, *, exponent=0, header=None):
    """
    Put into words what was found that a user has to know.

    Parameters
    ----------
    model : `~astro_denoise.noise.NoiseModel` or \
            `~astro_denoise.noise.Measurement`
        Of the plane.

    exponent : int, optional
        The power of two by which its pixels were divided.

    header : mapping, optional
        The header of the frame.

    Returns
    -------
    doubts : list of `Doubt`
        Empty for a frame as there should be.
    """
    found = model.found
    if found is None:
        return []

    def in_unit(value):
        return f'{math.ldexp(value, exponent):.4g}'

    doubts = [Doubt('no data', NoDataWarning, (
        f'{in_unit(one.value + found.pedestal)} is no measurement in '
        f'{_percent(one.share)} of the pixels ('
        + ('areas of this value' if one.kind == 'area' else
           'an extreme value that many have')
        + '): they are left out and come back as they were'))
        for one in found.defects]
    if not found.level > 0:
        if model.origin == 'estimated':
            doubts.append(Doubt('no noise', NoiseEstimateWarning, (
                'the noise cannot be estimated: all valid pixels have the '
                f'value {in_unit(found.sky + found.pedestal)}')))
        return doubts
    if found.phases.found:
        doubts.append(_mosaic(found, header or {}))
    else:
        doubts += _correlation(found)
    if found.verdict == 'cannot tell' and model.origin == 'estimated':
        low, high = found.level_range
        doubts.append(Doubt('cannot tell', NoiseEstimateWarning, (
            f'noise and structure of the frame cannot be told apart: its '
            f'noise may be {in_unit(low)} to {in_unit(high)}, and is taken '
            f'as {in_unit(found.level)}; give an uncertainty, or gain and '
            f'read_noise, if you know better')))
    if 'DNMODEL' not in (header or {}):
        # What is left of noise in a denoised frame is not its error.
        doubts += (_supplied(model, in_unit) + _bright(model, header or {})
                   + (_structure(found) or _trailed(found)))
    return doubts + _gain(model)


def _percent(share):
    return f'{100 * share:.2g} %'


def _mosaic(found, header):
    named = [f'{key} = {header[key]!r}' for key in _MOSAIC_CARDS
             if key in header]
    contrast = max(found.phases.contrasts, key=abs)
    named = f' ({", ".join(named)})' if named else ''
    return Doubt('mosaic', UnusualImageWarning, (
        f'the pixels of each 2 x 2 have levels of their own, up to '
        f'{abs(contrast) / found.level:.2g} sigma apart, as behind a mosaic '
        f'of filters{named}: they are worked on as four planes where that is '
        f'possible; give the planes one by one, or a frame of one color, '
        f'where it is not'))


def _correlation(found):
    doubts = []
    if found.line_axis is not None:
        lines = ('rows', 'columns')[found.line_axis]
        doubts.append(Doubt('lines', CorrelatedNoiseWarning, (
            f'the pixels of {lines} have noise in common '
            f'({found.line_level / found.level:.2g} of that of a pixel): it '
            f'is correlated, which the models take for independent, and '
            f'stays in the frame; subtract the median of blank pixels from '
            f'each of the {lines} before')))
        return doubts
    if found.verdict == 'correlated':
        rho = found.largest_correlation
        cause = ('as in resampled frames' if rho > 0 else
                 'as after sharpening or differences of neighbors')
        doubts.append(Doubt('correlated', CorrelatedNoiseWarning, (
            f'the noise of neighboring pixels is correlated (lag-1 '
            f'autocorrelation {rho:.2f}), {cause}: the models take it for '
            f'independent, and the uncertainty returned is too small')))
    return doubts


def _supplied(model, in_unit):
    supplied = model.supplied
    if supplied is None or not supplied.differs:
        return []
    measured = in_unit(model.found.pixel_level)
    if model.origin == 'gain':
        text = (f'the noise of the blank sky is {measured}, but gain and '
                f'read_noise make it {supplied.factor:.2g} times that; was '
                f'the sky subtracted, or were exposures averaged? Leave out '
                f'one of them to have it estimated')
    else:
        text = (f'uncertainty is {supplied.factor:.3g} times the noise of '
                f'the blank sky, which is {measured}')
        text += (f'; it would fit as {_ARTICLES[supplied.fits_as]}'
                 if supplied.fits_as in _ARTICLES else
                 '; leave it out to have the noise estimated')
    return [Doubt('supplied', NoiseEstimateWarning, text)]


def _bright(model, header):
    found = model.found
    seen = model.gain is None or math.isclose(
        model.gain * found.photon_slope, 1)
    if model.origin != 'estimated' or not seen or (
            found.bright_factor < _LARGEST_BRIGHT):
        return []
    largest = '' if math.isinf(found.bright_factor) else (
        f' by a factor of up to {found.bright_factor:.2g}')
    cards = [f'{key} = {header[key]!r}' for key in _GAIN_CARDS
             if key in header]
    named = f' (the header has {", ".join(cards)})' if cards else ''
    return [Doubt('bright', NoiseEstimateWarning, (
        f'the frame does not tell how its noise grows with its light: the '
        f'uncertainty of bright pixels may be wrong{largest}; give gain'
        f'{named}'))]


def _structure(found):
    if found.seeing.verdict == 'locus' or found.bright_share < _FULL:
        return []
    return [Doubt('structure', UnusualImageWarning, (
        f'{_percent(found.bright_share)} of the pixels are ten sigma above '
        f'the sky, and there are too few stars that tell the seeing: where '
        f'structure is sharp, the uncertainty of the result may be too '
        f'small by a factor of up to 1.5'))]


def _trailed(found):
    elongation = found.seeing.elongation
    if elongation < _TRAILED:
        return []
    ratio = math.sqrt((1 + elongation) / (1 - min(elongation, 0.98)))
    return [Doubt('trailed', UnusualImageWarning, (
        f'the sources are {ratio:.2g} times longer than wide, all along one '
        f'direction: were they trailed? The models know none that are more '
        f'than 1.5 times longer, and the uncertainty of bright pixels may be '
        f'too small by a factor of up to 1.5'))]


_ARTICLES = {
    'variance': 'a variance: give a VarianceUncertainty',
    'inverse variance': 'an inverse variance: give an InverseVariance'}


def _gain(model):
    found = model.found
    if model.rest is not None and model.gain != 1 and (
            model.rest > _LARGEST_READ_NOISE):
        return [Doubt('gain', NoiseEstimateWarning, (
            f'with gain={model.gain:.4g} electron per unit, the noise of the '
            f'blank sky is a read noise of {model.rest:.0f} electron, as few '
            f'detectors have: is the gain a setting of the camera (GAIN, '
            f'with the gain in EGAIN), or of another unit?'))]
    slope = found.photon_slope
    if model.gain is None or model.origin == 'uncertainty' or slope == 0 or (
            1 / _LARGEST_GAIN < model.gain * slope < _LARGEST_GAIN):
        return []
    return [Doubt('gain', NoiseEstimateWarning, (
        f'gain={model.gain:.4g} electron per unit is not that by which the '
        f'noise of the frame grows with its light, {1 / slope:.3g}: is it a '
        f'setting of the camera, or were exposures summed or averaged?'))]
