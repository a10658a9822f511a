# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Circular apertures for catalogs that have positions only.
"""

import numpy as np
from astropy import units as u

from ..frames.inputs import open_frame
from ..noise.measurement import measure_plane
from .source_table import source_table
from .tables import as_table

__all__ = ['with_apertures']

_COLUMNS = ('aperture_a', 'aperture_b', 'aperture_theta')


def with_apertures(catalog, frame, *, radius=None, radius_fwhm=None):
    """
    Give the sources of a catalog circular apertures.

    Parameters
    ----------
    catalog : table
        Positions as ``x, y``, ``x_centroid, y_centroid`` or ``aperture_x,
        aperture_y``, or on the sky.

    frame : `~astropy.nddata.NDData`
        The frame.

    radius : float, optional
        Radius in pixels.

    radius_fwhm : float, optional
        Radius in units of the full width at half maximum of the stars of
        the frame.

    Returns
    -------
    catalog : `~astropy.table.QTable`
        With aperture columns for
        `~astro_denoise.photometry.annulus_photometry`: those it has, if no
        radius is given.

    Raises
    ------
    ValueError
        If the catalog has no apertures and no radius is given, or both, or
        the width of the stars cannot be measured.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.nddata import NDData
    >>> from astropy.table import QTable
    >>> from astro_denoise.photometry import with_apertures
    >>> catalog = QTable({'x_centroid': [3.0], 'y_centroid': [4.0]})
    >>> frame = NDData(np.ones((8, 8)))
    >>> print(with_apertures(catalog, frame, radius=2.5)['aperture_a'][0])
    2.5
    """
    table = as_table(catalog, 'catalog')
    if radius is not None and radius_fwhm is not None:
        msg = (f'radius and radius_fwhm cannot both be given, got {radius} '
               f'and {radius_fwhm}')
        raise ValueError(msg)
    for name, value in (('radius', radius), ('radius_fwhm', radius_fwhm)):
        if value is not None and not 0 < value < np.inf:
            msg = f'{name} must be positive, got {value}'
            raise ValueError(msg)
    if radius is None and radius_fwhm is None:
        if not set(_COLUMNS) & set(table.colnames):
            msg = (f'catalog has no apertures ({", ".join(_COLUMNS)}): give '
                   f'radius or radius_fwhm')
            raise ValueError(msg)
        return table
    if radius is None:
        radius = radius_fwhm * _fwhm(frame)
    sources = source_table(table, frame.wcs)
    table = table.copy(copy_data=False)
    for name in 'xy':
        table[f'aperture_{name}'] = sources[name]
    for name, value in zip(_COLUMNS, (radius, radius, 0.0), strict=True):
        table[name] = np.full(len(table), value)
    table['aperture_theta'] *= u.deg
    if 'ref_id' not in table.colnames:
        table['ref_id'] = (table['label'] if 'label' in table.colnames
                           else sources['ref_id'])
    return table


def _fwhm(frame):
    """Measure the width of the stars; of a denoised frame it is known."""
    fwhm = frame.meta.get('DNFWHM')
    if fwhm is None and 'DNMODEL' not in frame.meta:
        fwhm = measure_plane(open_frame(frame).plane())[0].fwhm
    if fwhm is None:
        msg = ('radius_fwhm needs the width of the stars of the frame, which '
               'cannot be measured: give radius, in pixels')
        raise ValueError(msg)
    return fwhm
