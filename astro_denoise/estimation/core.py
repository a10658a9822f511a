# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Estimate what an image of the Galactic Center is made of.
"""

import warnings
from itertools import chain

import numpy as np
from astropy.nddata import NDData
from astropy.table import QTable
from tqdm import tqdm

from ..exceptions import UnusualImageWarning
from ..frames.checks import (
    check_counts,
    check_counts_unit,
    check_largest_count,
    check_no_energy_axis,
    warn_of_optical,
)
from ..frames.inputs import plain_parts
from ..frames.provenance import table_meta
from ..frames.results import unpack
from ..frames.unusual import LEAST_P
from ..sky_maps.galactic_grid import SHAPE, celestial_wcs
from ..sky_maps.regrid import onto_grid, valid_onto_grid

__all__ = ['PARAMETER_NAMES', 'check_integers', 'estimate_parameters',
           'model_images']

#: Names of the parameters, in the order of the samples.
PARAMETER_NAMES = ('a_dm', 'a_ic', 'a_pi0', 'a_bubbles', 'n_ps_gc',
                   'n_ps_disk', 'n_ps_total')

# Images whose samples are drawn together.
_TOGETHER = 4

# Columns of each parameter, and the quantile that they are.
_QUANTILES = {'_q025': 0.025, '_q16': 0.16, '': 0.5, '_q84': 0.84,
              '_q975': 0.975}
_SUFFIXES = ('', '_mean', '_std', '_q025', '_q16', '_q84', '_q975')


def estimate_parameters(image, model='galactic-center', *, exposure=None,
                        mask=None, n_samples=2000, return_samples=False,
                        device=None, seed=None, progress_bar=False):
    """
    Estimate the parameters behind gamma-ray images of the Galactic Center.

    The parameters are those of
    `~astro_denoise.simulation.GalacticCenterSimulator`, on whose images
    the models are trained: the result is right for images as it draws
    them. ``ood_flag`` and a warning tell those that look different, and
    those that the posterior cannot reproduce.

    Parameters
    ----------
    image : `~astropy.nddata.CCDData`, `~astropy.nddata.NDData`, \
            `~astropy.units.Quantity` or `~numpy.ndarray`
        Counts, shape (64, 64), or (n, 64, 64) for several images. With a
        celestial WCS, the image may have any other shape and grid that
        covers the whole field of the model, 30 x 30 degrees around the
        Galactic Center: it is brought onto the model's grid, counts
        conserved. Without one it must be on that grid, with Galactic
        longitude and latitude growing along x and y.

    model : str, path-like or `~astro_denoise.models.Model`, optional
        ``'galactic-center'`` gives the joint posterior of the
        parameters for images of the tier ``'legacy'``, at exposure 1.
        ``'galactic-sky'`` is for real skies: it allows for another
        point-spread function, scale heights, fluxes of sources, an
        isotropic level and structure along the plane, for any exposure
        from 0.2 to 5, and for masked pixels. The networks of the student
        project, ``'cnn-dm'``, ``'cnn-dm-total'`` and
        ``'cnn-dm-disk-gc'``, give point values.

    exposure : float or 1D `~numpy.ndarray`, optional
        Exposure of the images, or of each, to 2 per cent, relative to the
        simulator's. Only for ``'galactic-sky'``, which by default takes
        it to be unknown, between 0.2 and 5.

    mask : `~numpy.ndarray`, optional
        Shape of ``image``, true (non-zero) on pixels not to be used, of
        the Galactic plane or of known sources for instance; added to its
        own. Only ``'galactic-sky'`` allows for masked pixels and for
        numbers that are not finite.

    n_samples : int, optional
        Samples of the posterior for each image.

    return_samples : bool, optional
        Return the samples too.

    device : str or `torch.device`, optional
        Default: a CUDA device where there is one, else the processor.

    seed : int, optional
        Same image and seed, same samples, whatever other images there are:
        the random numbers of an image follow from the seed and its pixels.
        So equal images have equal samples.

    progress_bar : bool, optional
        Show a progress bar.

    Returns
    -------
    table : `~astropy.table.QTable`
        A row for each image. For each of ``PARAMETER_NAMES``, ``a_dm`` for
        instance: ``a_dm``, the median of the posterior, ``a_dm_mean``,
        ``a_dm_std``, and the quantiles ``a_dm_q025``, ``a_dm_q16``,
        ``a_dm_q84`` and ``a_dm_q975``. ``ood_score`` tells how unlike
        the training set the image is; ``p_predictive`` is the posterior
        predictive p-value, the probability that an image simulated from
        the posterior is as far from the others as the given one: in its
        blocks, its total, or its structure.
        ``ood_flag`` is set if the score is more than chance or NaN, if
        the p-value is below 0.0001, and if the model gave a sample that is
        not finite. Such samples are drawn again, up to eight
        times; if that does not help, the row is NaN. The document's
        networks have one column for each parameter that they know.

    samples : 3D `~numpy.ndarray`
        Only with ``return_samples=True``: shape (n, n_samples, 7), in the
        order of ``PARAMETER_NAMES``.

    Raises
    ------
    TypeError, ValueError
        If an argument is not what it should be, the message names it:
        counts that are negative, above 1e18 or all zero; pixels that are
        not finite or masked, or an exposure, for a model that does not
        allow for them; another shape without WCS; a WCS that does not cover
        the field.

    Warns
    -----
    CountsWarning
        If counts are not integers.

    UnusualImageWarning
        If ``ood_flag`` is set for an image.

    See Also
    --------
    astro_denoise.sky_maps.healpix_to_image : For maps in HEALPix pixels.

    Examples
    --------
    >>> from astro_denoise import estimate_parameters
    >>> from astro_denoise.simulation import GalacticCenterSimulator
    >>> images, truth, _ = GalacticCenterSimulator().sample(3, seed=1)
    >>> table = estimate_parameters(images, seed=1)
    >>> print(len(table), table.colnames[:3])
    3 ['a_dm', 'a_dm_mean', 'a_dm_std']
    >>> bool((table['a_dm_q025'] < table['a_dm_q975']).all())
    True
    """
    # torch is slow to import: not before it is needed.
    from ..inference.devices import Runtime
    from ..inference.shield import shielded
    from ..inference.side_by_side import side_by_side
    from ..models.registry import load_model
    from .samples import draw_samples

    with shielded():
        model = load_model(model, task='estimate')
        is_point = hasattr(model.network, 'point_values')
        _check_sampling(n_samples, return_samples, seed, model, is_point)
        runtime = Runtime.resolve(device)
        images = model_images(image, mask, exposure, model)
        network = runtime.place(model.network)
        if is_point:
            table = _point_table(network, images.counts, runtime.device)
            table.meta.update(_meta(model))
            return table

        if seed is None:
            seed = int(np.random.SeedSequence().entropy % 2**62)
        found, summaries, kept = [], [], []
        n_images = len(images.counts)
        groups = [range(start, min(start + _TOGETHER, n_images))
                  for start in range(0, n_images, _TOGETHER)]

        def draw(group):
            return draw_samples(network, images, group, n_samples, seed,
                                device=runtime.device)

        with side_by_side(runtime.device, len(groups)) as do:
            for drawn in tqdm(chain.from_iterable(do(draw, groups)),
                              total=n_images, disable=not progress_bar,
                              desc='estimate', unit='image'):
                summaries.append(_summary(drawn.samples))
                found.append((drawn.score, drawn.p_value, drawn.all_finite))
                if return_samples:
                    kept.append(drawn.samples)
        table = _posterior_table(np.array(summaries),
                                 *(np.array(column) for column
                                   in zip(*found, strict=True)),
                                 network.ood_threshold)
        table.meta.update(_meta(model), seed=int(seed), n_samples=n_samples)
        _warn_of_unusual(table, np.array([row[2] for row in found]))
        return (table, np.array(kept)) if return_samples else table


def check_integers(**values):
    """
    Raise TypeError unless numbers are integers.

    Parameters
    ----------
    **values : object
        Values by the names of their parameters; a seed may be `None`.
    """
    for name, value in values.items():
        if name == 'seed' and value is None:
            continue
        if isinstance(value, bool) or not isinstance(value,
                                                     int | np.integer):
            msg = f'{name} must be an integer, got {value!r}'
            raise TypeError(msg)


def _check_sampling(n_samples, return_samples, seed, model, is_point):
    check_integers(n_samples=n_samples, seed=seed)
    if n_samples < 1:
        msg = f'n_samples must be at least 1, got {n_samples}'
        raise ValueError(msg)
    if return_samples and is_point:
        msg = (f'return_samples=True needs a model with samples, got '
               f'{model.name!r}, which gives point values')
        raise ValueError(msg)


def model_images(image, mask, exposure, model):
    """
    Check images and bring them onto the grid of the models.

    Parameters
    ----------
    image, mask, exposure : object
        As for `estimate_parameters`.

    model : `~astro_denoise.models.Model`
        The model.

    Returns
    -------
    images : `~astro_denoise.estimation.samples.ModelImages`
        The images.
    """
    from .samples import ModelImages

    check_no_energy_axis(image, 'image')
    frame = unpack(image, mask=mask)
    check_counts_unit(frame.unit)
    allows = hasattr(model.network, 'exposures')
    if not allows and not frame.valid.all():
        raise ValueError(_not_known(image, frame, model))
    if not frame.valid.any((1, 2)).all():
        bad = int(np.flatnonzero(~frame.valid.any((1, 2)))[0])
        msg = (f'image must have valid pixels, got none in image {bad}: all '
               f'are masked or not finite')
        raise ValueError(msg)
    frame.values[~frame.valid] = 0
    check_counts(frame.values, frame.valid, 'image', stacklevel=4)
    exposure = _checked_exposure(exposure, len(frame.values), model)
    wcs = celestial_wcs(image)
    if wcs is not None:
        warn_of_optical(frame, 'image', model.name, stacklevel=4)
        values = np.stack([onto_grid(plane, wcs, 'image')
                           for plane in frame.values])
        check_largest_count(values, np.isfinite(values), 'image')
        valid = np.stack([valid_onto_grid(plane, wcs, 'image')
                          for plane in frame.valid])
        return ModelImages((values * valid).astype(np.float32), valid,
                           exposure)
    if frame.values.shape[1:] != SHAPE:
        known = '' if not isinstance(image, NDData) or image.wcs is None else (
            ' (its WCS is not celestial)')
        msg = (f'image must have shape {SHAPE} or (n, {SHAPE[0]}, '
               f'{SHAPE[1]}), or a celestial WCS, got the shape '
               f'{plain_parts(image)[0].shape}{known}')
        raise ValueError(msg)
    warn_of_optical(frame, 'image', model.name, stacklevel=4)
    return ModelImages(frame.values.astype(np.float32), frame.valid, exposure)


def _not_known(image, frame, model):
    """Say that a model needs all pixels."""
    bad = tuple(int(i) for i in np.argwhere(~frame.valid)[0])
    finite = np.isfinite(plain_parts(image)[0].reshape(
        frame.values.shape)[bad])
    return (f'image must be known in all pixels for the model '
            f'{model.name!r}, got '
            f'{"a mask" if finite else "a number that is not finite"} at '
            f"pixel {bad[-2:]} of image {bad[0]}: model='galactic-sky' "
            f'allows for such pixels')


def _checked_exposure(exposure, n, model):
    """Make an array of exposures, or nothing if they are not known."""
    if exposure is None:
        return None
    exposures = getattr(model.network, 'exposures', None)
    if exposures is None:
        msg = (f'exposure must be None for the model {model.name!r}, which '
               f"knows the exposure 1 alone, got {exposure!r}: "
               f"model='galactic-sky' takes others")
        raise ValueError(msg)
    try:
        values = np.broadcast_to(np.asarray(exposure, float), (n,))
    except (TypeError, ValueError):
        values = np.array([np.nan])
    low, high = exposures
    if not ((values >= low) & (values <= high)).all():
        msg = (f'exposure must be a number from {low:g} to {high:g}, or one '
               f'for each of the {n} images, got {exposure!r}')
        raise ValueError(msg)
    return values


def _summary(samples):
    """Summarize samples in the order of ``_SUFFIXES``, shape (7, 7)."""
    levels = np.quantile(samples, list(_QUANTILES.values()), axis=0)
    columns = dict(zip(_QUANTILES, levels, strict=True))
    columns['_mean'] = samples.mean(0, dtype=float)
    columns['_std'] = samples.std(0, dtype=float)
    return [columns[suffix] for suffix in _SUFFIXES]


def _posterior_table(summaries, scores, p_values, finite, threshold):
    """Make the table of summaries, shape (n, 7 columns, 7 parameters)."""
    table = QTable()
    for number, name in enumerate(PARAMETER_NAMES):
        for index, suffix in enumerate(_SUFFIXES):
            table[name + suffix] = summaries[:, index, number]
    table['ood_score'] = scores.astype(np.float32)
    table['p_predictive'] = p_values
    # A score that is NaN is below no threshold.
    table['ood_flag'] = (~(scores <= threshold) | (p_values < LEAST_P)
                         | ~finite)
    table.meta['ood_threshold'] = float(threshold)
    return table


def _point_table(network, counts, device):
    import torch

    values = network.point_values(
        torch.from_numpy(counts).to(device)).cpu().numpy()
    bad = np.flatnonzero(~np.isfinite(values).all(1))
    if len(bad):
        msg = (f'image {bad[0]} is too large for the arithmetic of the model: '
               f'its estimates are not finite, with up to '
               f'{counts[bad[0]].max():g} counts in a pixel')
        raise ValueError(msg)
    return QTable({name: values[:, number]
                   for number, name in enumerate(network.outputs)})


def _meta(model):
    return {**table_meta(), 'model': model.name, 'model_hash': model.hash}


def _warn_of_unusual(table, finite):
    if not table['ood_flag'].any():
        return
    score, threshold = table['ood_score'], table.meta['ood_threshold']
    reasons = []
    high = np.flatnonzero(~(score <= threshold))
    if len(high):
        # NaN counts as larger than any number.
        worst = high[np.argmax(np.nan_to_num(score[high], nan=np.inf))]
        reasons.append(f'the largest ood_score is {score[worst]:.3g} (image '
                       f'{worst}), above {threshold:.3g}')
    low = np.flatnonzero(table['p_predictive'] < LEAST_P)
    if len(low):
        reasons.append(f'the posterior does not reproduce {len(low)} of '
                       f'them (p_predictive below {LEAST_P:g}, image '
                       f'{low[0]} first)')
    redrawn = np.flatnonzero(~finite)
    if len(redrawn):
        reasons.append(f'the model gave samples that are not finite for '
                       f'{len(redrawn)} of them (image {redrawn[0]} first)')
    left = np.flatnonzero(np.any([np.isnan(table[name])
                                  for name in PARAMETER_NAMES], 0))
    if len(left):
        reasons.append(f'NaN is left in the rows of {len(left)} of them '
                       f'(image {left[0]} first)')
    msg = (f'{table["ood_flag"].sum()} of {len(table)} images are unlike '
           f'those that the model was trained on, and their posteriors may '
           f'be far off: {"; ".join(reasons)}')
    warnings.warn(msg, UnusualImageWarning, stacklevel=3)
