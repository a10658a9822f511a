# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Choose as much of many large frames as a training can use.
"""

import logging
import shutil
import tempfile
from dataclasses import dataclass

import numpy as np
from astropy.nddata import NDData, NDUncertainty

__all__ = ['BYTES_PER_PIXEL', 'ReadingPlan', 'check_disk', 'cut_image',
           'usable_pixels']

logger = logging.getLogger(__name__)

BYTES_PER_PIXEL = 8  # signal and noise, in single precision

# A pixel is seen in so many orientations before it is worth less than
# another one.
_ORIENTATIONS = 8

# Pixels that are read in any case, and at most: so many are read within a
# minute, or on a GPU, which sees more, within a few.
_FEWEST, _MOST, _MOST_ON_GPU = 2**24, 2**26, 2**28

# Pixels a second that a training looks at, at most, on processors.
_RATE = 4e6

# Sides of windows: a multiple of the mesh of the noise, and at least so many
# pixels that noise and seeing can be measured.
_STEP, _SMALLEST = 64, 512

_TRIES = 8  # places that are looked at for one with data


def usable_pixels(*, epochs, minutes, patch, n_patches, epoch, device):
    """
    Count the pixels that a training can use.

    Parameters
    ----------
    epochs, minutes : int, float or `None`
        Length of the training.

    patch, n_patches, epoch : int
        Pixels per side of a patch, patches of a step, steps of an epoch.

    device : `torch.device`
        Where it is trained.

    Returns
    -------
    number : int
        So many that each is seen in all orientations on average.
    """
    on_processor = device.type == 'cpu'
    seen = [] if epochs is None else [epochs * epoch * n_patches * patch**2]
    if minutes is not None and on_processor:
        seen.append(60.0 * minutes * _RATE)
    return int(np.clip(min(seen, default=np.inf) / _ORIENTATIONS, _FEWEST,
                       _MOST if on_processor else _MOST_ON_GPU))


@dataclass(frozen=True)
class ReadingPlan:
    """
    Plan of how much is read of each image.

    Parameters
    ----------
    n_pixels : float, optional
        Pixels that are read of all images together, about; all by default.

    n_images : int or `None`, optional
        Number of images; `None`, where it is not known, reads all.

    smallest : int, optional
        Least side of a window in pixels.
    """

    n_pixels: float = np.inf
    n_images: int | None = None
    smallest: int = _SMALLEST

    @property
    def _share(self):
        """Pixels of one image."""
        if self.n_images is None:
            return np.inf
        return max(self.n_pixels / max(self.n_images, 1), self.smallest**2)

    def reads(self, number, size=np.inf):
        """
        Tell whether an image is read at all.

        Parameters
        ----------
        number : int
            Of the image, from 0.

        size : float, optional
            Pixels of an image.

        Returns
        -------
        read : bool
            `False` for most of very many images.
        """
        if self.n_images is None:
            return True
        least = min(self.smallest**2, size)
        most = max(2, int(min(self.n_pixels / least, self.n_images)))
        return (number * most) % self.n_images < most

    def size(self, shape):
        """
        Choose the size of the window of an image.

        Parameters
        ----------
        shape : tuple of int
            Of the image, two or three numbers.

        Returns
        -------
        rows, columns : int
            Those of the image, if all of it is read.
        """
        n_rows, n_columns = shape[-2:]
        share = max(self._share / int(np.prod(shape[:-2])),
                    self.smallest**2)
        if share >= n_rows * n_columns:
            return n_rows, n_columns
        side = max(round(share**0.5) // _STEP, 1) * _STEP
        rows = min(n_rows, max(side, self.smallest))
        columns = max(int(share / rows) // _STEP * _STEP, self.smallest)
        columns = min(n_columns, columns)
        return min(n_rows, max(rows, int(share / columns) // _STEP * _STEP)
                   ), columns

    def window(self, reader, key):
        """
        Choose the window of an image, where there are data.

        Parameters
        ----------
        reader : `~astro_denoise.frames.FrameReader`
            The image.

        key : int
            The same key, the same place in images of one shape.

        Returns
        -------
        window : tuple of slice or `None`
            Rows and columns; `None` if all of it is read.
        """
        shape = reader.pixels.shape
        size = self.size(shape)
        if size == shape[-2:]:
            return None
        rng = np.random.default_rng([key, 11])
        best, found = -1.0, None
        for _ in range(_TRIES):
            window = tuple(
                slice(first, first + length) for first, length in (
                    (_STEP * int(rng.integers((n - length) // _STEP + 1)),
                     length) for n, length in zip(shape[-2:], size,
                                                  strict=True)))
            share = _share_with_data(reader, window)
            if share > best:
                best, found = share, window
            if best > 0.5:
                break
        return found


def _share_with_data(reader, window):
    """Share of valid pixels that differ from their neighbors."""
    part = (*reader.indices[0], *window)
    frame = reader.read(part)
    differs = np.diff(frame.values, axis=-1) != 0
    return float((differs & frame.valid[..., 1:]).mean())


def cut_image(image, window):
    """
    Cut a window out of an image of whatever kind.

    Parameters
    ----------
    image : object
        As for `~astro_denoise.frames.open_frame`.

    window : tuple of slice
        Rows and columns.

    Returns
    -------
    part : object
        Of the same kind, or NDData; without a WCS.
    """
    part = (..., *window)
    if not isinstance(image, NDData):
        return np.asarray(image)[part] if isinstance(
            image, list | tuple) else image[part]

    def cut(array):
        return array[part] if np.ndim(array) > 1 else array

    uncertainty = image.uncertainty
    if isinstance(uncertainty, NDUncertainty):
        uncertainty = type(uncertainty)(cut(uncertainty.array),
                                        unit=uncertainty.unit)
    return NDData(image.data[part], uncertainty=uncertainty,
                  mask=None if image.mask is None else cut(image.mask),
                  unit=image.unit, meta=image.meta)


def check_disk(n_pixels, folder=None):
    """
    State how much disk frames need, and refuse where there is less.

    Parameters
    ----------
    n_pixels : int
        Pixels that will be kept.

    folder : path-like, optional
        Where they are kept.

    Returns
    -------
    text : str
        The need in GB.

    Raises
    ------
    OSError
        If there is less room.
    """
    folder = tempfile.gettempdir() if folder is None else folder
    need, free = BYTES_PER_PIXEL * n_pixels, shutil.disk_usage(folder).free
    text = f'{need / 1e9:.2g} GB'
    logger.info('frames need %s of disk in %s', text, folder)
    if need > free:
        msg = (f'the frames need {text} of disk, and {folder} has '
               f'{free / 1e9:.2g} GB: give another folder, or fewer frames')
        raise OSError(msg)
    return text
