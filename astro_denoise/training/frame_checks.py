# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tell frames that nothing true can be learned from.
"""

import warnings
from collections import Counter

from ..exceptions import CorrelatedNoiseWarning, UnusualImageWarning
from ..noise.measurement import warn_of
from .registration import ANY_FWHM, color_scatter, find_shift, shared_noise

__all__ = ['check_groups', 'filter_of', 'warn_of_frames']

_FILTER_CARDS = ('FILTER', 'FILTER1', 'FILTNAM', 'FILTNAM1', 'FILTERID',
                 'INSFILTE', 'BAND', 'ESO INS FILT1 NAME')

# Of the width of the point-spread function, that an exposure may be shifted.
_LARGEST_SHIFT = 0.3

# Correlation of the noise of exposures that were made of the same photons.
_SAME_EXPOSURE = 0.5

# Scatter of the flux ratios, in magnitudes about, beyond which exposures were
# taken through different filters.
_COLORS = 0.15

_CORRELATED = 0.1  # lag-1


def filter_of(header):
    """
    Find the filter that a header names.

    Parameters
    ----------
    header : mapping
        Of a frame.

    Returns
    -------
    name : str or `None`
        Its name, without the white space around it.
    """
    for card in _FILTER_CARDS:
        name = str(header.get(card) or '').strip()
        if name:
            return name
    return None


def check_groups(frames):
    """
    Refuse exposures of one field that do not show the same sky.

    Parameters
    ----------
    frames : list of `~astro_denoise.training.frame_store.TrainingFrame`
        Frames with the number of their group.

    Raises
    ------
    ValueError
        If a field has one exposure, or exposures of several shapes or
        filters, if one is shifted by more than 0.3 of the width of the
        point-spread function, or has the noise of the other.

    Warns
    -----
    UnusualImageWarning
        If the fluxes of sources differ as through different filters.
    """
    for number in sorted({frame.group for frame in frames}):
        first, *others = (frame for frame in frames if frame.group == number)
        if not others:
            msg = (f'images must hold two or more exposures of each '
                   f'field, got {first.name} alone')
            raise ValueError(msg)
        for frame in others:
            _check_pair(first, frame)
        for index, frame in enumerate(others):
            for other in (first, *others[:index]):
                _check_noise(other, frame)


def _check_pair(first, frame):
    """Refuse an exposure that is not one of the field of the first."""
    if frame.shape != first.shape:
        msg = (f'images of one field must have one shape, got {frame.shape} '
               f'of {frame.name} and {first.shape} of {first.name}')
        raise ValueError(msg)
    if None not in (first.filter, frame.filter) and (
            first.filter != frame.filter):
        msg = (f'images of one field must have one filter, got '
               f'{frame.filter!r} of {frame.name} and {first.filter!r} of '
               f'{first.name}: group them by filter')
        raise ValueError(msg)
    widths = [each.fwhm for each in (first, frame) if each.fwhm is not None]
    fwhm = min(widths, default=None)
    found = find_shift(first.signal, frame.signal, fwhm)
    if not found.same_field:
        msg = (f'images of one field must show the same sky, but no shift '
               f'brings the sources of {frame.name} onto those of '
               f'{first.name}: several fields are a list of lists')
        raise ValueError(msg)
    if found.size > _LARGEST_SHIFT * (fwhm or ANY_FWHM):
        row, column = found.shift
        msg = (f'images of one field must be aligned, but {frame.name} is '
               f'shifted by {row:+.2f} rows and {column:+.2f} columns '
               f'against {first.name}, more than {_LARGEST_SHIFT} of the '
               f'point-spread function ({fwhm or ANY_FWHM:.2g} pixels): '
               f'cut them to the same sky by whole pixels, which leaves '
               f"their noise independent, or take method='gr2r'")
        raise ValueError(msg)
    scatter = color_scatter(first.signal, frame.signal, fwhm)
    if scatter > _COLORS:
        msg = (f'images: the flux ratio of {frame.name} and {first.name} '
               f'differs by {100 * scatter:.0f} % from source to source, as '
               f'through different filters or the colors of a picture: one '
               f'is no estimate of the other; group them by filter')
        warnings.warn(msg, UnusualImageWarning, stacklevel=5)


def _check_noise(first, frame):
    """Refuse an exposure whose noise is that of another."""
    same = frame.digest == first.digest
    shared = 1.0 if same else shared_noise(first.signal, frame.signal)
    if shared > _SAME_EXPOSURE:
        msg = (f'images of one field must have independent noise, but that '
               f'of {frame.name} and {first.name} has a correlation of '
               f'{shared:.2f}: they are the same exposure, or made of it; '
               f'give each exposure once')
        raise ValueError(msg)


def warn_of_frames(folder, method, *, blind=False, correlated=False,
                   stacklevel=3):
    """
    Warn of what was found in frames that a training does not expect.

    Parameters
    ----------
    folder : `~astro_denoise.training.frame_store.FrameFolder`
        The frames, read.

    method : str
        Name of the method of training.

    blind : bool, optional
        Whether it predicts pixels from those around them.

    correlated : bool, optional
        Whether the method is made for noise that neighbors share.

    stacklevel : int, optional
        Of the warnings.

    Warns
    -----
    AstropyUserWarning
        As `~astro_denoise.denoise` warns: of areas without data, mosaics
        of filters, noise unlike that supplied. CorrelatedNoiseWarning
        where neighboring pixels share noise, UnusualImageWarning of
        several filters and of frames that are given twice.
    """
    frames = folder.frames
    warn_of(folder.measurements, header=folder.header,
            without=('correlated', 'bright', 'structure'),
            stacklevel=stacklevel + 1)
    if not correlated:
        _warn_of_correlation(folder.measurements, method, blind=blind,
                             stacklevel=stacklevel + 1)
    filters = Counter(frame.filter for frame in frames
                      if frame.filter is not None)
    if len(filters) > 1:
        named = ', '.join(f'{number} of {name!r}'
                          for name, number in filters.most_common())
        msg = (f'images are of several filters ({named}): one model learns '
               f'a mixture of their skies and seeings; train one for each '
               f'filter')
        warnings.warn(msg, UnusualImageWarning, stacklevel=stacklevel)
    seen = {}
    for frame in frames:
        first = seen.setdefault(frame.digest, frame)
        if first is not frame:
            msg = (f'images: {frame.name} has the pixels of {first.name}: '
                   f'what is held out for the score may be trained on; give '
                   f'each frame once')
            warnings.warn(msg, UnusualImageWarning, stacklevel=stacklevel)
            break
    for planes in folder.stacks:
        _warn_of_colors([frames[number] for number in planes],
                        stacklevel=stacklevel + 1)


def _warn_of_correlation(measurements, method, *, blind, stacklevel):
    """Warn of noise that neighboring pixels have in common."""
    found = [max(each.found.correlation, key=abs) for each in measurements
             if each.found is not None and not each.found.phases.found]
    found = [value for value in found if abs(value) > _CORRELATED]
    if not found:
        return
    rho = max(found, key=abs)
    what = ('predicts a pixel from its neighbors, so that this noise is '
            'learned as if it were sky and stays in the result, though the '
            'score is good' if blind else
            'takes the noise of neighbors for independent, so that score '
            'and uncertainty are too small')
    msg = (f'the noise of neighboring pixels is correlated (lag-1 '
           f'autocorrelation up to {rho:.2f} in {len(found)} of '
           f'{len(measurements)} planes), as in resampled frames: '
           f'{method!r} {what}; train on the frames before they are '
           f"resampled, or take method='struct_n2v'")
    warnings.warn(msg, CorrelatedNoiseWarning, stacklevel=stacklevel)


def _warn_of_colors(planes, *, stacklevel):
    """Warn of the planes of a cube that are colors of a picture."""
    first, *others = planes
    scatter = max(color_scatter(first.signal, frame.signal, first.fwhm)
                  for frame in others)
    if scatter > _COLORS:
        msg = (f'images: the planes from {first.name} to {planes[-1].name} '
               f'are taken for exposures, but the flux ratios of their '
               f'sources differ by {100 * scatter:.0f} %, as those of the '
               f'colors of a picture: give the planes of one color')
        warnings.warn(msg, UnusualImageWarning, stacklevel=stacklevel)
