# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The noise that the raw pixels of a denoised frame had.
"""

import numpy as np
from photutils.background import Background2D, MedianBackground
from scipy.ndimage import maximum_filter, minimum_filter, uniform_filter

from ..noise.background import BackgroundMesh

__all__ = ['RawNoise']

_BOX = 64

# Variance of a pixel over that of the raw one from which on it was kept as it
# was; of 3x3 pixels, as a peak may state as large an error.
_KEPT = 0.9

# Pixels a side that tell whether neighbors share their noise.
_AROUND = 9

# The least noise that a header can mean, in units of the sky's variance; and
# the share of plain pixels from which on they tell where there is more.
_LEAST, _FEWEST_PLAIN = 0.01, 0.3

# How far the errors of filtered pixels may be off all over a frame.
_CALIBRATION = 0.9, 1.1

# Sigmas that the sky of a frame may be off what its header says, and every
# which row and column is looked at.
_FAR, _STEP = 5.0, 7


class RawNoise:
    """
    Variances of raw pixels, as far as a denoised frame tells them.

    Parameters
    ----------
    plane : `~astro_denoise.photometry.plane.Plane`
        The denoised frame.

    header : mapping
        Its header.

    kernel : 2D `~numpy.ndarray`
        That it was filtered with.

    knows_noise : bool
        Whether ``plane.sigma`` is that of the raw pixels, and not of the
        denoised ones.

    denoised : 2D `~numpy.ndarray` or `None`
        The uncertainties of the denoised pixels, from which it follows
        which of them were kept as they were.

    Attributes
    ----------
    light : 2D `~numpy.ndarray`
        The frame less its smooth background.

    sky, variance : 2D `~numpy.ndarray`
        Variance of the raw pixels, without and with the photons of
        sources; the latter is 0 where they are not valid.

    kept : 2D bool `~numpy.ndarray` or `None`
        Pixels that were kept as they were; `None` if that is not known.

    Raises
    ------
    ValueError
        If the header does not say what the noise was.
    """

    def __init__(self, plane, header, kernel, *, knows_noise, denoised=None):
        smooth = _smooth(plane.values, plane.valid)
        self.light = plane.values - smooth
        some, gain = np.s_[::_STEP, ::_STEP], plane.gain
        by_light = not knows_noise and gain is None and _says_light(
            header, smooth[some][plane.valid[some]])
        if by_light:
            self.sky = _by_light(header, smooth)
            self.variance = _by_light(header, plane.values.astype(float))
        else:
            if knows_noise:
                self.sky = np.where(plane.valid, plane.sigma.astype(float),
                                    1.0)**2
            else:
                self.sky = np.broadcast_to(_level(header)**2,
                                           self.light.shape)
                gain = _number(header, 'DNGAIN') if gain is None else gain
            self.variance = self.sky if gain is None else (
                self.sky + np.maximum(self.light, 0.0) / gain)
        self.kept = None
        chosen = _of_one_model(plane, header)
        if denoised is not None and chosen.any():
            self._look(plane, kernel, denoised.astype(float), chosen,
                       knows=knows_noise or by_light,
                       photons=gain is not None)
        self.variance = self.variance * plane.valid

    def _look(self, plane, kernel, denoised, chosen, *, knows, photons):
        """See in the uncertainties what was kept, and noise that differs."""
        kept = chosen & (denoised**2 > _KEPT * self.variance)
        if not knows:
            kept &= _alone(plane.values, denoised, kernel)
            relative = self._relative(kernel, denoised, chosen & ~kept)
            self.sky = self.sky * relative**2
            self.variance = self.variance * relative**2
        self.kept = maximum_filter(minimum_filter(kept, 3), 3)
        if not (knows or photons):
            self.variance = np.where(self.kept, denoised**2, self.variance)

    def _relative(self, kernel, denoised, filtered):
        """
        Find noise that differs from place to place.

        The uncertainties of filtered pixels without light tell.
        """
        sigma = denoised / np.sqrt(np.sum(kernel**2))
        plain = filtered & (self.light**2 < sigma**2) & (denoised > 0)
        if np.mean(plain) < _FEWEST_PLAIN:
            return 1.0
        ratio = sigma / np.sqrt(np.where(plain, self.variance, 1.0))
        relative = _smooth(ratio, plain)
        quiet = np.percentile(relative[::_STEP, ::_STEP], 10)
        return relative / np.clip(quiet, *_CALIBRATION)


def _of_one_model(plane, header):
    """Choose pixels whose uncertainties can be compared."""
    if header.get('DNGUIDE') != 'blend':
        return plane.valid
    if plane.flags is None:
        return np.zeros_like(plane.valid)
    return plane.valid & (plane.flags != 0)


def _number(header, name):
    """Read a positive number, `None` if there is none."""
    value = header.get(name)
    if isinstance(value, int | float) and 0 < value < np.inf:
        return float(value)
    return None


def _level(header):
    """Read the noise of the blank sky."""
    level = _number(header, 'DNSIGMA')
    if level is None:
        msg = ('error must be given, the noise of the raw pixels: '
               f'DNSIGMA of the header is {header.get("DNSIGMA")!r}')
        raise ValueError(msg)
    return level


def _says_light(header, smooth):
    """
    Tell whether a header says how noise grows with the light of its frame.

    It does not if a sky was subtracted or added later.
    """
    sky = header.get('DNSKY')
    if (not len(smooth) or _number(header, 'DNGAIN') is None
            or not isinstance(sky, int | float) or not np.isfinite(sky)):
        return False
    dark, middle = np.percentile(smooth, (2, 50))
    far = _FAR * _level(header)
    return dark < sky + far and middle > sky - far


def _by_light(header, values):
    """Compute the variance that pixels of some light, sky included, have."""
    level, gain = _level(header), _number(header, 'DNGAIN')
    read_noise = _number(header, 'DNRDNOIS') or 0.0
    return np.maximum(level**2 + (values - header['DNSKY']) / gain,
                      max((read_noise / gain)**2, _LEAST * level**2))


def _alone(values, denoised, kernel):
    """
    Tell where pixels do not share their noise with their neighbors.

    The differences of neighbors are then as large as their errors, and
    those of filtered pixels are not.
    """
    shared = np.sum(kernel[:, 1:] * kernel[:, :-1]) / np.sum(kernel**2)
    unit = np.median(denoised[::_STEP, ::_STEP]) or 1.0
    values = values.astype(float) / unit
    square = np.zeros(values.shape)
    square[:, 1:] = 0.5 * np.diff(values, axis=1)**2
    return (uniform_filter(square, _AROUND)
            > (1.0 - 0.5 * shared) * uniform_filter((denoised / unit)**2,
                                                    _AROUND))


def _smooth(values, valid):
    """Compute the median in boxes, smooth over the plane."""
    ny, nx = values.shape
    box = min(_BOX, ny), min(_BOX, nx)
    background = Background2D(
        values, box, mask=~valid, exclude_percentile=99, filter_size=1,
        bkg_estimator=MedianBackground(sigma_clip=None))
    if box != (_BOX, _BOX):
        return background.background
    # The same but for rounded corners, in a twentieth of the time.
    mesh = background.background_mesh
    center = float(np.median(mesh))
    return BackgroundMesh((mesh - center).astype(np.float32), center,
                          cell=_BOX).over((slice(0, ny), slice(0, nx)), float)
