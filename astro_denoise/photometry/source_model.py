# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The light of the sources of a catalog, fitted to a window of a frame.
"""

from dataclasses import dataclass

import numpy as np

from .forced_errors import fit_errors
from .forced_fit import Scene, typical
from .forced_passes import Passes, run_passes
from .profile_errors import light_variance
from .psf_fit import fit_psf, warn_of_sampling
from .psf_models import shapes_from_apertures

__all__ = ['SourceModel', 'fit_psf_of', 'fit_source_model', 'make_scene']

BACKGROUND_STEP = 48

# The denser the unknowns, the smaller the tiles that are fastest: pixels of a
# side, and the sources and nodes per pixel below which they are.
_TILES = ((256, 1e-3), (128, 3.4e-3), (64, np.inf))


@dataclass
class SourceModel:
    """
    The light of sources, and how well it is known.

    Attributes
    ----------
    light, variance : 2D `~numpy.ndarray`
        Without background, and of its error.

    psf : object
        The point-spread function.
    """

    light: np.ndarray
    variance: np.ndarray
    psf: object


def make_scene(values, valid, noise, n_sources, *, gain=None,
               background_step=BACKGROUND_STEP):
    """
    Make the scene that sources are fitted to.

    Parameters
    ----------
    values, valid, noise : 2D `~numpy.ndarray`
        Pixels, which of them count, and the standard deviation of their
        noise without that of the sources.

    n_sources : int
        How many there are.

    gain : float, optional
        Electrons per unit of the values.

    background_step : float, optional
        Pixels between the nodes of the background.

    Returns
    -------
    scene : `~astro_denoise.photometry.forced_fit.Scene`
        With tiles of the fastest size. Pixels that do not count are 0.
    """
    unknowns = n_sources / values.size + background_step**-2.0
    tile = next(side for side, density in _TILES if unknowns < density)
    scale, level = typical(noise, valid), typical(values, valid)
    plane, variance = np.empty((2, *values.shape), np.float32)
    np.subtract(values, level, out=plane, casting='same_kind')
    plane *= 1.0 / scale
    np.multiply(noise, 1.0 / scale, out=variance, casting='same_kind')
    variance *= variance
    if not valid.all():
        plane[~valid], variance[~valid] = 0.0, 1.0
    return Scene(plane, valid, variance,
                 None if gain is None else gain * scale, background_step,
                 tile, level, scale)


def fit_psf_of(values, valid, noise, sources, *, gain=None):
    """
    Fit a Moffat profile to the brightest sources of a window.

    Parameters
    ----------
    values, valid, noise, sources, gain : object
        As for `fit_source_model`.

    Returns
    -------
    psf : `~astro_denoise.photometry.psf_models.MoffatPsf`
        The profile.

    Raises
    ------
    ValueError
        If there are too few sources.
    """
    scene = make_scene(values, valid, noise, len(sources), gain=gain)
    return fit_psf(scene, sources, knows_noise=True, shift=True)[0]


def fit_source_model(values, valid, noise, sources, psf, *, gain=None):
    """
    Fit the light of all sources by forced photometry.

    Parameters
    ----------
    values, valid, noise, gain : object
        As for `make_scene`.

    sources : `~astropy.table.QTable`
        From `~astro_denoise.photometry.source_table.source_table`, with
        positions in the window.

    psf : object
        From `~astro_denoise.photometry.psf_models.open_psf`.

    Returns
    -------
    model : `SourceModel`
        Of the window.

    Warns
    -----
    UnusualImageWarning
        If the bright sources are far wider or narrower than ``psf``.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.table import QTable
    >>> from astro_denoise.photometry.psf_models import MoffatPsf
    >>> from astro_denoise.photometry.source_model import fit_source_model
    >>> from astro_denoise.photometry.source_table import source_table
    >>> from astro_denoise.simulation.profiles import render_sources
    >>> catalog = QTable({'x': [30.0], 'y': [24.0], 'flux': [900.0]})
    >>> image = 7.0 + render_sources((48, 64), catalog, 3.0, 3.5)
    >>> model = fit_source_model(image, image > 0, np.ones((48, 64)),
    ...                          source_table(catalog), MoffatPsf(3.0, 3.5))
    >>> print(abs(model.light.sum() - 900) < 15)
    True
    """
    scene = make_scene(values, valid, noise, len(sources), gain=gain)
    passes = Passes(scene, shapes_from_apertures(sources, psf), psf,
                    knows_noise=True)
    run_passes(passes)
    warn_of_sampling(passes)
    errors = fit_errors(passes)
    flux, scale = passes.fit.flux, passes.scene.scale
    variance = light_variance(passes, np.nan_to_num(errors.error))
    return SourceModel(passes.stamps.image(flux) * scale,
                       variance * scale**2, psf)
