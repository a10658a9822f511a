# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
A survey's own frames as training data: read one by one, standardized
like `astro_denoise.denoise` does, and kept on disk.
"""

import hashlib
import math
import os
from dataclasses import dataclass
from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.nddata import NDData
from scipy.ndimage import uniform_filter
from tqdm import tqdm

from ..frames.checks import (
    check_no_energy_axis,
    warn_of_denoised,
    warn_of_missing_noise,
)
from ..frames.inputs import open_frame
from ..frames.results import nothing_valid
from ..io.fits_images import read_image
from ..noise.gain import resolve_gain
from ..noise.measurement import measure_plane
from .frame_checks import filter_of
from .plane_store import PlaneStore
from .subsampling import ReadingPlan, check_disk, cut_image

__all__ = ['FrameFolder', 'TrainingFrame', 'count_images', 'open_images']


@dataclass
class TrainingFrame:
    """
    One frame, standardized.

    Attributes
    ----------
    name : str
        For messages.

    signal : 2D `~numpy.ndarray`
        The frame without its background in units of the noise of the
        blank sky, float32, NaN where it is not valid; mapped from disk.

    log_sigma : 2D `~numpy.ndarray`
        Logarithm of the noise in the same units, float32; mapped.

    group : int
        Number of the field, for exposures that show the same sky.

    flux_scale : float
        Signal of the first frame of the group over that of this one.

    noise : dict
        Origin of the noise, gain, read noise, level, correlation.

    fwhm : float or `None`
        Of the point-spread function in pixels.

    filter : str or `None`
        As the header names it.

    digest : str
        SHA-256 of its pixels.

    correlation : tuple of float
        Lag-1 correlation of the noise along y and x, 0 where there is none.
    """

    name: str
    signal: np.ndarray
    log_sigma: np.ndarray
    group: int
    flux_scale: float
    noise: dict
    fwhm: float | None
    filter: str | None = None
    digest: str = ''
    correlation: tuple = (0.0, 0.0)

    @property
    def shape(self):
        """Shape of the frame."""
        return self.signal.shape


def count_images(images):
    """
    Count images without reading them.

    Parameters
    ----------
    images : object
        As for `open_images`.

    Returns
    -------
    number : int or `None`
        Their number; `None` for a generator.
    """
    if isinstance(images, NDData | np.ndarray | str | os.PathLike):
        return 1
    if hasattr(images, 'files_filtered'):
        return len(images.files_filtered())
    if not isinstance(images, list | tuple):
        return None
    return sum(len(entry) if isinstance(entry, list | tuple) else 1
               for entry in images)


def open_images(images, *, hdu=None, grouped=False, wants=None):
    """
    Go through images of whatever kind, holding one at a time.

    Parameters
    ----------
    images : object
        One image or several: `~astropy.nddata.NDData`, arrays of shape
        (ny, nx) or (n, ny, nx), paths of FITS files, in a list, from a
        generator, or as an ``ImageFileCollection`` of ccdproc.

    hdu : int, str or tuple, optional
        Which image of each file.

    grouped : bool, optional
        Whether images that belong together come in lists of their own;
        a flat list is then one group.

    wants : callable, optional
        ``wants(number)`` is `False` for images to leave out, unread.

    Yields
    ------
    name : str
        What to call the image in messages.

    image : object
        For `~astro_denoise.frames.unpack`.

    group : int
        Number of its group.

    Raises
    ------
    TypeError
        If ``images`` is nothing of this.
    """
    if isinstance(images, NDData | np.ndarray | str | os.PathLike):
        images = [images]
    elif hasattr(images, 'files_filtered'):
        images = images.files_filtered(include_path=True)
    try:
        images = iter(images)
    except TypeError as error:
        msg = (f'images must be frames, paths, or several of them, got an '
               f'object of type {type(images).__name__}')
        raise TypeError(msg) from error
    number = 0
    for group, entry in enumerate(images):
        members = [entry]
        if grouped and isinstance(entry, list | tuple):
            members = entry
        elif grouped:
            group = 0
        for image in members:
            number += 1
            if wants is not None and not wants(number - 1):
                continue
            name = f'image {number}'
            if isinstance(image, str | os.PathLike):
                name = Path(image).name
                image = read_image(Path(image), hdu=hdu)
            yield name, image, group


class FrameFolder:
    """
    Standardized frames in a folder.

    Parameters
    ----------
    folder : path-like, optional
        Where the planes go: 8 bytes a pixel, in a file without a name.

    patch : int
        Pixels per side that each frame must have at least.

    gain, read_noise, saturation : float, Quantity or str, optional
        As in `~astro_denoise.train_denoiser`.

    plan : `~astro_denoise.training.subsampling.ReadingPlan`, optional
        How much is read of each image; all by default.

    progress_bar : bool, optional
        Show a progress bar.

    Attributes
    ----------
    frames : list of `TrainingFrame`
        The planes that were read.

    measurements : list of `~astro_denoise.noise.Measurement`
        What was measured of each.

    stacks : list of range
        Numbers of the planes that came as one cube.

    n_pixels : int
        Pixels of the images, of which parts may have been read.

    header : mapping
        Of the first image.
    """

    def __init__(self, folder, *, patch, gain=None, read_noise=None,
                 saturation=None, plan=None, progress_bar=False):
        self.folder = folder
        self.plan = plan or ReadingPlan()
        self.progress_bar = progress_bar
        self._planes = PlaneStore(folder)
        self.patch = patch
        self.gain = gain
        self.read_noise = read_noise
        self.saturation = saturation
        self.frames = []
        self.measurements = []
        self.stacks = []
        self.n_pixels = 0
        self._first_size = np.inf
        self.header = {}
        self.unit = None
        self._digest = hashlib.sha256()

    @property
    def hash(self):
        """SHA-256 of the pixels of all frames."""
        return self._digest.hexdigest()

    def read(self, images):
        """
        Take images in.

        Parameters
        ----------
        images : iterable
            From `open_images`.

        Raises
        ------
        ValueError, TypeError
            If a frame cannot be used; the message names it.
        """
        with tqdm(total=self.plan.n_images, unit=' frames', desc='reading',
                  disable=not self.progress_bar) as bar:
            for name, image, group in images:
                try:
                    self._add(name, image, group)
                except (ValueError, TypeError) as error:
                    msg = f'images: {name}: {error}'
                    raise type(error)(msg) from error
                if not bar.n:
                    self._state_need(bar)
                bar.update()
        if not self.frames:
            msg = 'images must hold at least one frame, got none'
            raise ValueError(msg)
        # Now that the file has its length, they are views of one map.
        for frame in self.frames:
            frame.signal, frame.log_sigma = (
                self._planes.view(place)
                for place in (frame.signal, frame.log_sigma))

    def wants(self, number):
        """
        Tell whether an image is read at all.

        Parameters
        ----------
        number : int
            Of the image, from 0.

        Returns
        -------
        wanted : bool
            For `open_images`; all of those that follow are taken to be as
            large as the first.
        """
        return self.plan.reads(number, self._first_size)

    def _state_need(self, bar):
        """Say how much disk images like the first need, if there is room."""
        number = self.plan.n_images
        size = self._first_size = self.n_pixels
        if number is not None:
            number = sum(self.plan.reads(one, size) for one in range(number))
            bar.total = number
        need = check_disk((number or 1) * sum(
            rows * columns for rows, columns in (
                frame.signal.shape for frame in self.frames)), self.folder)
        bar.set_description(f'reading, {need} on disk')

    def _open(self, image, group):
        """Check an image, and cut it; saturated pixels are masked."""
        reader = open_frame(image)
        check_no_energy_axis(reader.data, 'data')
        shape = reader.pixels.shape[-2:]
        if min(shape) < self.patch:
            msg = (f'a frame of shape {shape} is smaller than a patch of '
                   f'{self.patch} pixels per side; give a smaller patch')
            raise ValueError(msg)
        if self.frames and reader.unit != self.unit:
            msg = (f'its unit is {reader.unit}, that of '
                   f'{self.frames[0].name} is {self.unit}: all frames must '
                   f'have one')
            raise ValueError(msg)
        self.unit = reader.unit
        window = self.plan.window(reader, group)
        self.n_pixels += reader.pixels.size
        if window is not None:
            image = cut_image(image, window)
            reader = open_frame(image)
        warn_of_denoised(reader.header)
        warn_of_missing_noise(reader)
        saturation = resolve_gain(
            self.saturation, reader.header, reader.unit, name='saturation',
            default_unit=reader.unit or u.dimensionless_unscaled)
        if saturation is None:
            return reader
        return open_frame(image, mask=reader.pixels >= saturation)

    def _add(self, name, image, group):
        reader = self._open(image, group)
        first = len(self.frames)
        self.header = self.header or reader.header
        electrons = {
            'gain': resolve_gain(self.gain, reader.header, reader.unit),
            'read_noise': resolve_gain(
                self.read_noise, reader.header, reader.unit,
                name='read_noise', default_unit=u.electron)}
        for number, index in enumerate(reader.indices, 1):
            plane = reader.plane(index)
            values, valid, _ = plane.read()
            if not valid.any():
                # Of one plane among several, no more is known.
                msg = ('no pixel is valid: all are masked, not finite or '
                       'saturated')
                if self.saturation is None and reader.pixels.ndim == 2:
                    msg = ' '.join(nothing_valid(reader))
                raise ValueError(msg)
            digest = self._digested(values, valid)
            measurement, whole = measure_plane(plane, keep=True, **electrons)
            self._check_pixels(measurement)
            self.measurements.append(measurement)
            if whole is None:
                whole = measurement.whole(plane)
            level = measurement.level
            signal = (whole.values - whole.background) / level
            signal[~whole.valid] = np.nan
            log_sigma = np.log(whole.noise_map / np.float32(level))
            label = (name if reader.pixels.ndim == 2
                     else f'{name}, plane {number}')
            self.frames.append(TrainingFrame(
                label, self._planes.put(signal), self._planes.put(log_sigma),
                group, self._flux_scale(signal, group), measurement.describe(),
                measurement.fwhm, filter_of(reader.header), digest,
                (0.0, 0.0) if measurement.found is None
                else measurement.found.correlation))
        if reader.pixels.ndim == 3 and len(reader.indices) > 1:
            self.stacks.append(range(first, len(self.frames)))

    def _digested(self, values, valid):
        """Take pixels into the hash of all, and give their own."""
        digest = hashlib.sha256()
        for part in (values.tobytes(), np.packbits(valid).tobytes()):
            digest.update(part)
            self._digest.update(part)
        return digest.hexdigest()

    def _check_pixels(self, measurement):
        """Refuse a plane that nothing can be learned from."""
        found = measurement.found
        if measurement.n_valid < self.patch**2 / 4:
            msg = (f'{measurement.n_valid} pixels hold a measurement, which '
                   f'is too little for a patch of {self.patch} pixels per '
                   f'side; leave the frame out, or give a smaller patch')
            raise ValueError(msg)
        if found is not None and not found.level > 0:
            value = math.ldexp(found.sky + found.pedestal,
                               measurement.scale.exponent)
            msg = (f'it has no noise: nearly all pixels have the value '
                   f'{value:.6g}; leave the frame out')
            raise ValueError(msg)

    def _flux_scale(self, signal, group):
        """
        Signal of the first frame of the group over that of a new one.

        From the pixels that are bright in both, those within a factor
        of two of their median ratio.
        """
        first = next((frame for frame in self.frames
                      if frame.group == group), None)
        if first is None or first.shape != signal.shape:
            return 1.0
        smooth = [uniform_filter(np.nan_to_num(plane), 3) for plane in
                  (self._planes.view(first.signal), signal)]
        bright = (smooth[0] > 10.0) & (smooth[1] > 5.0)
        if np.count_nonzero(bright) < 50:
            return 1.0
        return float(np.median(smooth[0][bright] / smooth[1][bright]))

    def description(self):
        """
        Describe the training frames for the header of a model.

        Returns
        -------
        description : dict
            Numbers, hash, and medians of noise and seeing.
        """
        def median(values):
            known = [value for value in values if value is not None]
            return float(f'{np.median(known):.4g}') if known else None

        noise = {name: median([frame.noise[name] for frame in self.frames])
                 for name in ('gain', 'read_noise', 'level', 'correlation')}
        return {
            'n_frames': len(self.frames),
            'n_pixels': int(sum(frame.signal.size for frame in self.frames)),
            'n_pixels_given': self.n_pixels,
            'sha256': self.hash,
            'unit': None if self.unit is None else str(self.unit),
            'noise': sorted({frame.noise['origin']
                             for frame in self.frames}),
            **noise, 'psf_fwhm': median([frame.fwhm
                                         for frame in self.frames])}
