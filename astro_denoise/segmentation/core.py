# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Find point sources: where they are, how sure that is, and their flux.
"""

import copy
import warnings
from dataclasses import dataclass

import astropy.units as u
import numpy as np
from astropy.nddata import NDData
from astropy.table import QTable
from astropy.utils.masked import Masked
from tqdm import tqdm

from ..exceptions import UnusualImageWarning
from ..frames.checks import (
    check_counts,
    check_counts_unit,
    check_no_energy_axis,
    warn_of_denoised,
    warn_of_missing_noise,
    warn_of_optical,
)
from ..frames.inputs import empty_axes, open_frame, plain_parts
from ..frames.provenance import table_meta
from ..frames.results import nothing_valid
from ..frames.scaling import scaled
from ..frames.subclasses import copy_attributes, new_like
from ..sky_maps.galactic_grid import celestial_wcs, position_planes

__all__ = ['PointSourceFinder', 'PointSources', 'segment_point_sources']

# Pixels of a stack that are worked on before catalogs are made of them.
_STACK_PIXELS = 2**22

# The cut of the student project, for models that state none.
_DOCUMENT_THRESHOLD = 0.02

# From this many errors on, the flux of a pixel is a source of its own.
_SIGNIFICANT = 2.5

# So many wide sources that are not listed are no accident.
_WIDE_SOURCES = 3


@dataclass(eq=False)
class PointSources:
    """
    The point sources of an image.

    Attributes
    ----------
    probability : same type as the input
        Probability that a pixel holds a source; 0 where the input is
        masked or not finite.

    flux : same type as the input
        Flux of the point sources in each pixel, in the unit of the
        input, what the point-spread function took elsewhere included.

    segmentation : `~photutils.segmentation.SegmentationImage`
        Pixels of each source.

    catalog : `~astropy.table.QTable`
        A row for each source, in the order of the labels: ``label``,
        ``x_centroid``, ``y_centroid``, ``sky_centroid`` where the input
        has a WCS, ``probability`` (the maximum; for ``'galactic-sky'``
        the sum over neighboring pixels), ``flux`` and
        ``flux_error`` in the unit of the input, and ``snr``, the
        signal-to-noise ratio, see `~astro_denoise.segment_point_sources`;
        ``x_centroid_error`` and ``y_centroid_error`` in pixels. In optical
        frames also ``star_probability`` and ``artefact_probability``.

    threshold : float
        Pixels of sources, in optical frames sources, are more probable
        than this; where it follows from a purity, sources with a
        signal-to-noise ratio above 10 than 0.5.

    Notes
    -----
    Where nothing is found, the segmentation image is all zeros, and the
    catalog has all its columns and no row.

    Examples
    --------
    >>> from astro_denoise import segment_point_sources
    >>> from astro_denoise.data import load_fermi_map
    >>> sources = segment_point_sources(load_fermi_map(), 'galactic-sky')
    >>> len(sources.catalog) == sources.segmentation.n_labels
    True
    """

    probability: object
    flux: object
    segmentation: object
    catalog: QTable
    threshold: float

    def __repr__(self):
        n = len(self.catalog)
        return (f'<PointSources: {n} source{"s"[:n != 1]} above a probability '
                f'of {self.threshold:.3g}>')

    def plot(self, **options):
        """
        Show the probability map with the sources.

        Parameters
        ----------
        **options
            Passed to `~astro_denoise.segmentation.plot_sources`.

        Returns
        -------
        ax : `~matplotlib.axes.Axes`
            The axes, whose figure is ``ax.figure``.
        """
        from .plots import plot_sources

        return plot_sources(self, **options)


def segment_point_sources(data, model='galactic-center', *, uncertainty=None,
                          mask=None, gain=None, read_noise=None,
                          threshold=None, purity=None, min_separation=None,
                          n_pixels=1, device=None, precision='auto',
                          progress_bar=False):
    """
    Find the point sources of an image.

    Parameters
    ----------
    data : `~astropy.nddata.CCDData`, `~astropy.nddata.NDData`, \
            `~astropy.units.Quantity` or `~numpy.ndarray`
        Shape (ny, nx), or (n, ny, nx) for a stack of images, each taken
        on its own. Any real type and byte order; never changed. The
        models for gamma rays want counts. With a celestial WCS they know
        where in the sky the pixels are; without one, an image of 64x64
        pixels is taken to be on the grid of
        `~astro_denoise.simulation.GalacticCenterSimulator`, and the
        position of any other is unknown.

    model : str, path-like or `~astro_denoise.models.Model`, optional
        A name of `~astro_denoise.list_models`, the path of a
        ``.safetensors`` file, or a model. ``'galactic-center'`` is for
        gamma-ray counts as the simulator draws them, ``'galactic-sky'``
        for those of real skies, ``'ccd-sources'`` for stars and galaxies
        in optical frames. ``'unet-paper'`` is the network of the student
        project that the simulator follows.

    uncertainty : `~astropy.nddata.NDUncertainty`, \
            `~astropy.units.Quantity`, `~numpy.ndarray` or float, optional
        Noise of each pixel of an optical frame; plain numbers are standard
        deviations. Overrides ``data.uncertainty``.

    mask : `~numpy.ndarray`, optional
        Shape of ``data``, true (non-zero) on bad pixels; added to its
        own. Masked and non-finite pixels influence no other and hold no
        source.

    gain, read_noise : float, `~astropy.units.Quantity` or str, optional
        Of an optical frame, as for `~astro_denoise.denoise`: electrons per
        adu and electrons, or header keywords. Without ``uncertainty``,
        ``gain`` and ``read_noise``, the noise is estimated from the frame.

    threshold : float, optional
        Probability above which pixels belong to a source; for
        ``'ccd-sources'`` and ``'galactic-sky'``, probability above which a
        source is listed. `None` selects 0.5 for ``'galactic-sky'``, and for
        the other models for gamma rays the value with the best F1 score of
        the pixels on simulated images; the document cuts at 0.02.

    purity : float, optional
        Share of the listed sources with a signal-to-noise ratio below 10
        that are real, on simulated frames with as many sources: the
        threshold of ``'ccd-sources'`` follows from it. The default is
        0.95.

    min_separation : float, optional
        Least distance of two sources of ``'ccd-sources'`` in pixels. The
        default is half the FWHM of the point sources, at least 1 pixel.

    n_pixels : int, optional
        Pixels that a source must have.

    device : str or `torch.device`, optional
        Default: a CUDA device where there is one, else the processor.

    precision : {'auto', 'float32', 'bfloat16'}, optional
        Floating-point precision of the convolutions. ``'auto'`` selects
        bfloat16 if the hardware supports it.

    progress_bar : bool, optional
        Show a progress bar.

    Returns
    -------
    sources : `~astro_denoise.segmentation.PointSources` or list of them
        Probability map, segmentation image and catalog, which has no row
        if nothing is found; for a stack, a list of them.

    Raises
    ------
    TypeError, ValueError
        If an argument is not what it should be; the message names it.
        For the models for gamma rays: counts that are negative, above
        1e18, or all zero, and options that are for optical frames.

    Warns
    -----
    CountsWarning
        For the models for gamma rays, if counts are not integers.

    NoDetectionsWarning
        If nothing was found.

    UnusualImageWarning
        For the models for gamma rays, if unit, header, noise or level of
        an image are those of an optical frame. For ``'galactic-center'``,
        ``'galactic-sky'`` and images on the grid of the simulator, if an
        image is unlike those that the model was trained on, or its
        posterior cannot reproduce it: fluxes may be several times wrong
        then. For optical frames, if they do not tell their seeing, and
        sources wider than those that were looked for are seen.

    ProcessedFrameWarning
        If the frame was denoised before.

    NoiseEstimateWarning
        If the uncertainty of finite pixels is NaN: they are left out.

    Notes
    -----
    The networks for gamma rays say of each pixel how much flux the point
    sources in it have, what the point-spread function took elsewhere
    included. In counts, where one point source between pixels explains the
    light around a bright maximum, position, flux, width and background are
    fitted, and what else was found within 1.6 pixels is joined to it.

    For ``'galactic-center'``, a local maximum of this map is a source, and
    so is a pixel whose flux is above 2.5 times its error; the other pixels
    above the threshold belong to the source that is reached by steepest
    ascent. Flux and error of a source that is not fitted are those of its
    highest pixel: what is beside it is the light of sources too faint to be
    told. The table holds these too; ``snr`` above 3.8 makes a catalog of the
    bright ones, see the user guide.

    For ``'galactic-sky'``, sources are those that an ideal observer would
    see with a signal-to-noise ratio above 4, anywhere in their pixels. Maps
    are means over what is not known: a source that may be in either of two
    pixels has a share in both. Rows of the catalog are sums over
    neighboring pixels whose probabilities add up to those of one source, and
    more probable than the threshold: from these, or from a flux that is
    well known.

    ``flux_error`` is the width of what is not known of the flux, the
    light of other sources in the same place included. ``snr`` tells how
    far a source stands above the noise of the counts alone: the flux over
    its Cramér-Rao error, ``flux * sqrt(sum(P**2 / counts))`` with the
    point-spread function P of the model.

    In optical frames the network answers with the probability that a
    source has its center in a pixel. The catalog has a probability for
    each source, calibrated on simulated frames, ``star_probability`` and
    ``artefact_probability``, which is that of a cosmic ray or hot pixel,
    and errors of the positions, ``x_centroid_error`` and
    ``y_centroid_error``. Fluxes are those of the profile of a star, fitted
    for all sources and the sky beneath them at once, see
    `~astro_denoise.photometry.forced_photometry`; ``snr`` is flux over its
    Cramér-Rao error. They are NaN for a center beyond the edge of the
    frame. The share of the light that the profile holds is
    measured on the surest stars, and ``flux_error`` holds besides what is
    not known of that and of the profile, some per cent of the flux, the
    same for all stars of a frame. Fluxes of galaxies are those of their
    cores.

    ``'unet-paper'`` has no fluxes: for it, they are sums over all pixels
    of the source of the counts above the median of their surroundings.

    Examples
    --------
    >>> from astro_denoise import segment_point_sources
    >>> from astro_denoise.simulation import GalacticCenterSimulator
    >>> images, *_ = GalacticCenterSimulator().sample(1, seed=1)
    >>> sources = segment_point_sources(images[0], threshold=0.5)
    >>> print(sources.probability.shape, sources.catalog.colnames[1:3])
    (64, 64) ['x_centroid', 'y_centroid']
    """
    # torch is slow to import: not before it is needed.
    from ..inference.devices import Runtime
    from ..inference.shield import shielded
    from ..models.registry import load_model

    with shielded():
        model = load_model(model, task='segment')
        _check_n_pixels(n_pixels)
        runtime = Runtime.resolve(device, precision)
        network = runtime.place(model.network)
        in_frames = getattr(network, 'kind', 'counts') == 'ccd'
        _check_options(model, in_frames, threshold, {
            'uncertainty': uncertainty, 'gain': gain,
            'read_noise': read_noise, 'purity': purity,
            'min_separation': min_separation})
        reader = open_frame(data, uncertainty=uncertainty, mask=mask)
        warn_of_denoised(reader.header)
        warn_of_missing_noise(reader)
        asked = _Asked(data, reader, model, network, runtime, n_pixels)
        if in_frames:
            asked.frame_options = _frame_options(
                reader, gain, read_noise, purity, threshold, min_separation,
                n_pixels)
        with tqdm(total=len(reader.indices), disable=not progress_bar,
                  desc='segment', unit='frame') as bar:
            found = (asked.in_frames(bar) if in_frames else
                     asked.in_counts(_checked_threshold(threshold, model),
                                     bar))
        _warn_of_nothing(found)
        return found if reader.pixels.ndim == 3 else found[0]


def _warn_of_nothing(found):
    """Warn where images have no source."""
    missing = sum(len(sources.catalog) == 0 for sources in found)
    if missing:
        from photutils.utils.exceptions import NoDetectionsWarning

        n = len(found)
        where = f' in {missing} of {n} images' if n > 1 else ''
        msg = (f'no source was found{where} above the threshold '
               f'{found[0].threshold:.3g}')
        warnings.warn(msg, NoDetectionsWarning, stacklevel=3)


def _check_options(model, in_frames, threshold, given):
    """Refuse options that are not for a model, and those out of range."""
    if not in_frames:
        for name, value in given.items():
            if value is not None:
                msg = (f'{name} is for models of optical frames, such as '
                       f"'ccd-sources', not for {model.name!r}")
                raise ValueError(msg)
        return
    purity, separation = given['purity'], given['min_separation']
    if threshold is not None and purity is not None:
        msg = 'give threshold or purity, not both'
        raise ValueError(msg)
    for name, value in (('purity', purity), ('min_separation', separation)):
        if value is not None and (isinstance(value, bool | str)
                                  or np.ndim(value) > 0):
            msg = f'{name} must be a number, got {value!r}'
            raise TypeError(msg)
    if purity is not None and not 0 < purity < 1:
        msg = f'purity must be between 0 and 1, got {purity!r}'
        raise ValueError(msg)
    if separation is not None and not 0 < separation < np.inf:
        msg = (f'min_separation must be positive and finite, got '
               f'{separation!r}')
        raise ValueError(msg)


def _frame_options(reader, gain, read_noise, purity, threshold,
                   min_separation, n_pixels):
    """Collect the options for optical frames as numbers."""
    from ..noise.gain import resolve_gain
    from .frame_sources import FrameOptions

    return FrameOptions(
        resolve_gain(gain, reader.header, reader.unit),
        resolve_gain(read_noise, reader.header, reader.unit,
                     name='read_noise', default_unit=u.electron),
        purity, None if threshold is None else _checked_number(threshold),
        min_separation, n_pixels)


def _check_n_pixels(n_pixels):
    if isinstance(n_pixels, bool) or not isinstance(n_pixels,
                                                    int | np.integer):
        msg = f'n_pixels must be an integer, got {n_pixels!r}'
        raise TypeError(msg)
    if n_pixels < 1:
        msg = f'n_pixels must be at least 1, got {n_pixels}'
        raise ValueError(msg)


def _checked_threshold(threshold, model):
    if threshold is None:
        return float(model.metadata.get('threshold', _DOCUMENT_THRESHOLD))
    return _checked_number(threshold)


def _checked_number(threshold):
    if isinstance(threshold, bool | str) or np.ndim(threshold) > 0:
        msg = f'threshold must be a number, got {threshold!r}'
        raise TypeError(msg)
    if not 0 <= threshold < 1:
        msg = f'threshold must be from 0 to below 1, got {threshold!r}'
        raise ValueError(msg)
    return float(threshold)


class _Asked:
    """
    Input of a search for sources, and its network.

    Parameters
    ----------
    data : object
        What the user gave.

    reader : `~astro_denoise.frames.FrameReader`
        The same, opened.

    model : `~astro_denoise.models.Model`
        The model.

    network : `torch.nn.Module`
        Its network, on the device.

    runtime : `~astro_denoise.inference.Runtime`
        Where to compute.

    n_pixels : int
        Pixels that a source must have.
    """

    def __init__(self, data, reader, model, network, runtime, n_pixels):
        self.data, self.reader = data, reader
        self.model, self.network = model, network
        self.runtime, self.n_pixels = runtime, n_pixels
        self.wcs = celestial_wcs(data)
        self.attributes = copy_attributes(data, stacklevel=4)
        self.frame_options = None

    def in_frames(self, bar):
        """Find the sources of optical frames."""
        from ..noise.measurement import warn_of
        from .frame_sources import find_frame_sources

        found, measurements, n_wide = [], [], 0
        for number, index in enumerate(self.reader.indices):
            plane = self.reader.plane(index)
            sources = find_frame_sources(plane, self.network,
                                         self.frame_options,
                                         runtime=self.runtime)
            if not sources.measurement.n_valid and len(
                    self.reader.indices) == 1:
                raise ValueError(' '.join(nothing_valid(self.reader)))
            measurements.append(sources.measurement)
            n_wide += sources.n_wide
            found.append(self._finished(
                number, sources.valid,
                (sources.probability, scaled(sources.flux, sources.scale)),
                sources.labels, sources.catalog, sources.threshold,
                sources.scale))
            bar.update()
        known = [each for each in measurements if each.n_valid]
        if not known:
            raise ValueError(' '.join(nothing_valid(self.reader)))
        warn_of(known, header=self.reader.header, stacklevel=4)
        if n_wide >= _WIDE_SOURCES:
            warnings.warn(
                f'data: no stars tell the seeing, and {n_wide} sources are '
                'far wider than those that were looked for; they are not in '
                'the catalog: average pixels until stars are 2 to 8 wide',
                UnusualImageWarning, stacklevel=3)
        return found

    def in_counts(self, threshold, bar):
        """Find the sources of images of counts."""
        from .known_skies import warn_of_unknown_sky
        from .maps import source_maps

        frame = self.reader.read()
        if not frame.valid.any():
            raise ValueError(' '.join(nothing_valid(self.reader)))
        check_no_energy_axis(self.data, 'data')
        check_counts_unit(frame.unit)
        check_counts(frame.values, frame.valid, 'data')
        warn_of_optical(frame, 'data', self.model.name, stacklevel=4)
        position = position_planes(self.wcs, frame.values.shape[1:])
        warn_of_unknown_sky(frame, position, self.model, self.runtime)
        step = max(1, _STACK_PIXELS // frame.values[0].size)
        found = []
        for start in range(0, len(frame.values), step):
            part = slice(start, start + step)
            maps = source_maps(frame, part, self.network, position,
                               runtime=self.runtime)
            maps.answers *= frame.valid[part]
            for index in range(len(frame.valid[part])):
                found.append(self._of_counts(frame, start + index, maps,
                                             index, threshold))
                bar.update()
        return found

    def _of_counts(self, frame, number, maps, index, threshold):
        """Collect the sources of an image, number ``index`` of the maps."""
        from .catalog import label_sources, measure_sources
        from .psf_fit import refine_sources
        from .sky_catalog import find_sky_sources

        answers = maps.answers[:, index]
        if maps.near:
            catalog, labels, peaks = find_sky_sources(
                answers, maps.noise[index], threshold,
                n_pixels=self.n_pixels)
        else:
            # Without a height of its own, the map is one of whole sources.
            whole = maps.height is None
            own = None
            if not whole:
                own = answers[1] > _SIGNIFICANT * np.sqrt(answers[2])
            labels, peaks = label_sources(
                answers[0], answers[0] if whole else maps.height[index],
                threshold, own=own, n_pixels=self.n_pixels)
            catalog = measure_sources(labels, peaks, answers, whole=whole)
        maps.finish(index, catalog, peaks)
        if maps.fitted:
            catalog, labels = refine_sources(
                catalog, labels, peaks, frame.values[number],
                frame.valid[number])
        return self._finished(number, frame.valid[number], answers[:2],
                              labels, catalog, threshold, 0)

    def _finished(self, number, valid, maps, labels, catalog, threshold,
                  scale):
        """Put maps and catalog into what the user gets."""
        from photutils.segmentation import SegmentationImage

        unit = self.reader.unit
        planes = [_like(self.data, plane, ~valid, number, self.wcs, of,
                        self.attributes)
                  for plane, of in zip(maps, (
                      u.dimensionless_unscaled,
                      unit or u.dimensionless_unscaled), strict=True)]
        for name in ('flux', 'flux_error'):
            catalog[name] = scaled(catalog[name], scale)
        if self.wcs is not None:
            catalog.add_column(self.wcs.pixel_to_world(
                catalog['x_centroid'], catalog['y_centroid']),
                name='sky_centroid', index=3)
        if unit is not None:
            for name in ('flux', 'flux_error'):
                catalog[name] = catalog[name] << unit
        catalog.meta.update(table_meta(), model=self.model.name,
                            model_hash=self.model.hash, threshold=threshold)
        return PointSources(*planes, SegmentationImage(labels), catalog,
                            threshold)


def _like(data, plane, invalid, index, wcs, unit, attributes):
    """Make a map of the type that the user gave."""
    if isinstance(data, NDData):
        mask = data.mask
        if mask is not None:
            shape = data.data.shape
            mask = np.array(np.broadcast_to(mask, shape)[
                (0,) * empty_axes(shape)])
            mask = mask[index] if mask.ndim == 3 else mask
            mask[invalid & (mask == 0)] = 1
        elif invalid.any():
            mask = invalid
        return new_like(data, plane, copy.deepcopy(attributes), unit=unit,
                        mask=mask, wcs=copy.deepcopy(wcs),
                        meta=copy.deepcopy(data.meta))
    if isinstance(getattr(data, 'unmasked', data), u.Quantity):
        plane = u.Quantity(plane, unit, dtype=plane.dtype)
    for kind in (Masked, np.ma.MaskedArray):
        if isinstance(data, kind):
            plane = kind(plane, mask=invalid)
    return plane


class PointSourceFinder:
    """
    Find point sources for the photometry of photutils.

    Takes the place of a star finder in
    `~photutils.psf.PSFPhotometry`. What is given to it must be an image
    as its model wants it: counts for ``'galactic-center'`` and
    ``'galactic-sky'``.

    Parameters
    ----------
    model, gain, read_noise, threshold, purity : optional
        As for `~astro_denoise.segment_point_sources`.

    min_separation, n_pixels, device, precision : optional
        As for `~astro_denoise.segment_point_sources`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not what it should be.

    Examples
    --------
    >>> from astro_denoise.segmentation import PointSourceFinder
    >>> from astro_denoise.simulation import GalacticCenterSimulator
    >>> images, *_ = GalacticCenterSimulator().sample(1, seed=1)
    >>> finder = PointSourceFinder(threshold=0.9)
    >>> table = finder(images[0])
    >>> table.colnames[:3]
    ['id', 'x_centroid', 'y_centroid']
    """

    def __init__(self, model='galactic-center', *, gain=None,
                 read_noise=None, threshold=None, purity=None,
                 min_separation=None, n_pixels=1, device=None,
                 precision='auto'):
        from ..inference.devices import Runtime
        from ..models.registry import load_model

        # What is wrong is told now, not in the midst of photometry.
        loaded = load_model(model, task='segment')
        _check_options(
            loaded, getattr(loaded.network, 'kind', 'counts') == 'ccd',
            threshold, {'gain': gain, 'read_noise': read_noise,
                        'purity': purity, 'min_separation': min_separation})
        _checked_threshold(threshold, loaded)
        _check_n_pixels(n_pixels)
        Runtime.resolve(device, precision)
        self.model = model
        self.threshold = threshold
        self.n_pixels = n_pixels
        self.options = {
            'gain': gain, 'read_noise': read_noise, 'purity': purity,
            'min_separation': min_separation, 'device': device,
            'precision': precision}

    def __repr__(self):
        return (f'{type(self).__name__}({self.model!r}, '
                f'threshold={self.threshold!r}, n_pixels={self.n_pixels!r})')

    def __call__(self, data, mask=None):
        """
        Find the point sources of an image.

        Parameters
        ----------
        data : `~numpy.ndarray` or other image
            Shape (ny, nx), see `~astro_denoise.segment_point_sources`.

        mask : 2D bool `~numpy.ndarray`, optional
            `True` on bad pixels.

        Returns
        -------
        table : `~astropy.table.QTable` or `None`
            ``id``, ``x_centroid``, ``y_centroid``, ``sky_centroid`` where
            there is a WCS, ``probability``, ``flux``, ``flux_error`` and
            ``snr``; `None`, with a warning, if nothing is found, as
            photutils expects it of a finder.
        """
        if plain_parts(data)[0].ndim != 2:
            msg = (f'data must have shape (ny, nx), got '
                   f'{plain_parts(data)[0].shape}')
            raise ValueError(msg)
        sources = segment_point_sources(
            data, self.model, mask=mask, threshold=self.threshold,
            n_pixels=self.n_pixels, **self.options)
        if len(sources.catalog) == 0:
            return None
        sources.catalog.rename_column('label', 'id')
        return sources.catalog
