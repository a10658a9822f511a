# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Planes, stretches and axes that the pictures of several rooms share.
"""

import numpy as np
from astropy.nddata import NDData

__all__ = ['BAD_COLOR', 'label_axes', 'plane_of', 'stretch_of']


BAD_COLOR = 'tab:orange'
# Names of the axes for the physical types of a WCS.
_SKY_LABELS = {'pos.eq.ra': 'RA', 'pos.eq.dec': 'Dec',
               'pos.galactic.lon': 'l', 'pos.galactic.lat': 'b'}


def plane_of(data, name):
    """
    A plane of numbers with NaN where masked.
    """
    values = data.data if isinstance(data, NDData) else data
    values = getattr(values, 'value', values)
    values = np.ma.filled(np.ma.asarray(values).astype(float), np.nan)
    if isinstance(data, NDData) and data.mask is not None:
        values[np.broadcast_to(data.mask, values.shape) != 0] = np.nan
    if values.ndim != 2 or 0 in values.shape:
        msg = f'{name} must be a 2D image, got shape {values.shape}'
        raise ValueError(msg)
    return values


def stretch_of(values, scatter, percent):
    """
    Normalisation linear within the noise, logarithmic above, and the sky.
    """
    from astropy.visualization import AsinhStretch, ImageNormalize

    sky = float(np.nanmedian(values))
    low = sky - 4.0 * scatter
    high = max(float(np.nanpercentile(values, percent)),
               sky + 8.0 * scatter)
    norm = ImageNormalize(vmin=low, vmax=high, clip=False,
                          stretch=AsinhStretch(4.0 * scatter / (high - low)))
    return norm, sky


def label_axes(axes, wcs, *, with_y):
    """
    Name the axes of a picture: pixels, or the sky where there is a WCS.
    """
    if wcs is None:
        axes.set(xlabel='x [pixel]', ylabel='y [pixel]' if with_y else '')
        axes.tick_params(labelleft=with_y)
        return
    kinds = wcs.low_level_wcs.world_axis_physical_types
    for coordinate, kind in zip(axes.coords, kinds, strict=True):
        coordinate.set_axislabel(_SKY_LABELS.get(kind, kind))
        coordinate.set_ticks(number=3)
        coordinate.set_ticklabel(size='small', exclude_overlapping=True)
        if not with_y:
            # Either may be on the left, as the sky may be rotated.
            coordinate.set_ticklabel_position('b')
            coordinate.set_axislabel_position('b')
