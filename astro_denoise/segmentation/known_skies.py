# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tell images of the Galactic Center that a segmenter does not know.
"""

from itertools import product

import numpy as np

from ..frames.unusual import warn_of_unusual
from ..inference.predictive import check_images
from ..models import registry
from ..sky_maps.galactic_grid import SHAPE, position_planes

__all__ = ['turned_onto_grid', 'warn_of_unknown_sky']

# Names of segmenters that have a posterior of the same name.
_NAMES = 'galactic-center', 'galactic-sky'


def warn_of_unknown_sky(frame, position, model, runtime):
    """
    Check images on the grid with the posterior that the segmenter is of.

    Without the extra that posteriors need, nothing is checked.

    Parameters
    ----------
    frame : `~astro_denoise.frames.Frame`
        Counts, shape (n, ny, nx).

    position : 3D `~numpy.ndarray`
        From `~astro_denoise.sky_maps.galactic_grid.position_planes`.

    model : `~astro_denoise.models.Model`
        The segmenter; of others than the shipped ones nothing is known.

    runtime : `~astro_denoise.inference.Runtime`
        Where to compute.

    Warns
    -----
    UnusualImageWarning
        If an image is unlike those that the posterior was trained on, or
        cannot be reproduced by it.
    """
    turned = turned_onto_grid(position)
    if turned is None:
        return
    name = next((name for name in _NAMES if model.hash == registry.load_model(
        name, task='segment').hash), None)
    if name is None:
        return
    values, valid = frame.values[turned], frame.valid[turned]
    try:
        network = runtime.place(registry.load_model(
            name, task='estimate').network)
    except ImportError:
        return  # The posterior needs an extra, sources do not.
    # Only the posterior for real skies allows for masked pixels.
    checked = (valid.any((1, 2)) if hasattr(network, 'exposures')
               else valid.all((1, 2)))
    if not checked.any():
        return
    scores, p_values = check_images(network, values[checked],
                                    valid=valid[checked],
                                    device=runtime.device)
    cure = "; model='galactic-sky' knows more skies"
    warn_of_unusual(scores, network.ood_threshold, p_values, name='data',
                    model=model.name, index=np.flatnonzero(checked),
                    stacklevel=5,
                    cure=cure if name == 'galactic-center' else '')


def turned_onto_grid(position):
    """
    Find how images are turned onto the grid of the models.

    Parameters
    ----------
    position : 3D `~numpy.ndarray`
        From `~astro_denoise.sky_maps.galactic_grid.position_planes`.

    Returns
    -------
    index : tuple of slice or `None`
        Of a stack, which brings longitude to the right and latitude up;
        `None` if its pixels are others than those of the grid.

    Examples
    --------
    >>> from astro_denoise.segmentation.known_skies import turned_onto_grid
    >>> from astro_denoise.sky_maps.galactic_grid import position_planes
    >>> position = position_planes(None, (64, 64))
    >>> turned_onto_grid(position[:, :, ::-1])[2]
    slice(None, None, -1)
    >>> turned_onto_grid(position[:, :40]) is None
    True
    """
    if position.shape[1:] != SHAPE:
        return None
    grid = position_planes(None, SHAPE)
    for along_y, along_x in product((1, -1), repeat=2):
        index = np.s_[:, ::along_y, ::along_x]
        if np.allclose(position[index], grid, atol=1e-4):
            return index
    return None
