# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
What can be had for nothing on images of the Galactic Center: regressions
on simple statistics, and the usual filters and finders.
"""

import importlib.util
import warnings

import numpy as np
from scipy.ndimage import (
    correlate,
    gaussian_filter,
    maximum_filter,
    median_filter,
    uniform_filter,
)
from scipy.optimize import minimize

PIXEL_SCALE = 0.46875  # degrees
_LINE = (np.arange(64) - 31.5) * PIXEL_SCALE
X, Y = np.meshgrid(_LINE, _LINE)

#: Counts expected around a source of flux 1: the kernel of the simulator's
#: ``legacy`` tier, which is not normalized.
KERNEL = np.exp(-0.5 * PIXEL_SCALE**2 * (
    np.arange(-2, 3)[:, None]**2 + np.arange(-2, 3)**2) / (0.8 / 3.0)**2)


def has(package):
    """Whether a package is installed."""
    return importlib.util.find_spec(package) is not None


def _cells():
    """Pixels (rows) to means over rings, cut into strips of latitude."""
    ring = np.digitize(np.hypot(X, Y).ravel(), (1.5, 3, 5, 7, 9, 12))
    strip = np.digitize(np.abs(Y).ravel(), (1, 2.5, 5, 8))
    cell = np.unique(10 * ring + strip, return_inverse=True)[1]
    members = np.zeros((X.size, cell.max() + 1), np.float32)
    members[np.arange(X.size), cell] = 1.0
    return members / members.sum(0)


def ring_statistics(images):
    """
    Statistics of the pixels in rings around the center.

    Rings are cut into strips of latitude, since gas and disk are flat.

    Parameters
    ----------
    images : 3D `~numpy.ndarray`
        Counts.

    Returns
    -------
    statistics : 2D `~numpy.ndarray`
        For each image and cell: means of counts, of their square root and
        logarithm, with the scatter of these two; and four moments of the
        square root without its surroundings, which tell of point
        sources.
    """
    cells = _cells()
    detail = np.array([[-1.0, 0.0, -1.0], [0.0, 4.0, 0.0],
                       [-1.0, 0.0, -1.0]]) / 4.0
    flat = (len(images), -1)
    counts = images.reshape(flat)
    root = np.sqrt(images + 0.375)
    fine = correlate(root, detail[None], mode='nearest').reshape(flat)
    columns = [counts @ cells]
    for values in (root.reshape(flat), np.log1p(counts)):
        mean = values @ cells
        columns += [mean, np.sqrt(np.maximum(values**2 @ cells - mean**2,
                                             0.0))]
    columns += [np.abs(fine) @ cells, np.maximum(fine, 0.0) @ cells,
                np.sqrt(fine**2 @ cells), (fine**4 @ cells)**0.25]
    return np.hstack(columns)


class QuadraticRegression:
    """
    Ridge regression on numbers and their squares.

    Parameters
    ----------
    features : 2D `~numpy.ndarray`
        A row per image.

    targets : 2D `~numpy.ndarray`
        A row per image.

    ridge : float, optional
        Of standardized features.
    """

    def __init__(self, features, targets, *, ridge=3e-4):
        self._mean, self._std = features.mean(0), features.std(0)
        gram, product = 0.0, 0.0
        for start in range(0, len(features), 2048):
            expanded = self._expand(features[start:start + 2048])
            gram = gram + (expanded.T @ expanded).astype(float)
            product = product + expanded.T @ targets[start:start + 2048]
        self._weights = np.linalg.solve(
            gram + ridge * len(features) * np.eye(len(gram)), product)

    def _expand(self, features):
        scaled = ((features - self._mean) / self._std).astype(np.float32)
        return np.hstack([np.ones((len(scaled), 1), np.float32), scaled,
                          scaled**2])

    def __call__(self, features):
        """Estimates, a row per image."""
        return np.concatenate([
            self._expand(features[start:start + 2048]) @ self._weights
            for start in range(0, len(features), 2048)])


def local_features(images):
    """
    What can be said of a pixel from its neighbors and its place.

    Parameters
    ----------
    images : 3D `~numpy.ndarray`
        Counts.

    Returns
    -------
    features : 4D `~numpy.ndarray`
        Shape (n, 64, 64, 23), float32.
    """
    root = np.sqrt(images + 0.375).astype(np.float32)

    def smooth(size):
        return uniform_filter(root, (0, size, size), mode='nearest')

    def near(footprint):
        return correlate(root, footprint[None] / footprint.sum(),
                         mode='nearest')

    means = [smooth(size) for size in (3, 5, 7, 11, 21)]
    matched = correlate(root, (KERNEL / KERNEL.sum())[None], mode='nearest')
    cross = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], np.float32)
    diagonal = np.array([[1, 0, 1], [0, 0, 0], [1, 0, 1]], np.float32)
    contrast = root - means[1]
    scatter = np.sqrt(np.maximum(uniform_filter(
        contrast**2, (0, 9, 9), mode='nearest'), 1e-6))
    whole = np.broadcast_to(root.mean((1, 2), keepdims=True), root.shape)
    radius = np.hypot(X, Y)
    place = [np.abs(X) / 15, np.abs(Y) / 15, radius / 15,
             np.exp(-np.abs(Y) / 2.07), np.exp(-np.abs(Y) / 0.7),
             np.exp(-radius / 5), np.exp(-radius / 2)]
    planes = [root, *means, matched, near(cross), near(diagonal),
              root**2 / 10, np.log1p(images), contrast / scatter,
              maximum_filter(root, (0, 3, 3)),
              median_filter(root, (1, 5, 5)), scatter, whole,
              *(np.broadcast_to(plane, root.shape) for plane in place)]
    return np.stack(planes, -1).astype(np.float32)


class LogisticRegression:
    """
    Logistic regression of the pixels that hold a source.

    Parameters
    ----------
    images : 3D `~numpy.ndarray`
        Counts.

    truth : 3D `~numpy.ndarray` of bool
        Pixels with a source.
    """

    def __init__(self, images, truth):
        features = local_features(images)
        features = features.reshape(-1, features.shape[-1])
        self._mean, self._std = features.mean(0), features.std(0)
        features = self._prepare(features)
        labels = truth.ravel().astype(np.float32)

        def loss(weights):
            logits = features @ weights.astype(np.float32)
            probability = 1.0 / (1.0 + np.exp(-logits))
            value = np.mean(np.logaddexp(0.0, logits) - labels * logits)
            gradient = features.T @ (probability - labels) / len(labels)
            return (value + 1e-5 * weights @ weights,
                    gradient.astype(float) + 2e-5 * weights)

        self._weights = minimize(
            loss, np.zeros(features.shape[1]), jac=True, method='L-BFGS-B',
            options={'maxiter': 200}).x.astype(np.float32)

    def _prepare(self, features):
        scaled = (features - self._mean) / self._std
        return np.hstack([np.ones((len(scaled), 1), np.float32), scaled])

    def __call__(self, images):
        """Probabilities, in the shape of the images."""
        parts = []
        for start in range(0, len(images), 128):
            features = local_features(images[start:start + 128])
            flat = self._prepare(features.reshape(-1, features.shape[-1]))
            parts.append(1.0 / (1.0 + np.exp(-flat @ self._weights)))
        return np.concatenate(parts).reshape(images.shape)


def standardize(image, box):
    """
    An image without its smooth part, in units of its Poisson noise.

    Parameters
    ----------
    image : 2D `~numpy.ndarray`
        Counts.

    box : int
        Side of the median filter that gives the smooth part.

    Returns
    -------
    scaled : 2D `~numpy.ndarray`
        About 1 where there is noise only.
    """
    smooth = gaussian_filter(median_filter(image, box, mode='reflect'), 1.0)
    return (image - smooth) / np.sqrt(np.maximum(smooth, 1.0))


def dao_finder(*, box, threshold, fwhm):
    """
    DAOStarFinder on the standardized image.

    Parameters
    ----------
    box : int
        See `standardize`.

    threshold, fwhm : float
        As for DAOStarFinder.

    Returns
    -------
    find : callable
        From an image to positions, shape (m, 2).
    """
    from photutils.detection import DAOStarFinder
    from photutils.utils.exceptions import NoDetectionsWarning

    finder = DAOStarFinder(threshold=threshold, fwhm=fwhm,
                           sharpness_range=(-1e3, 1e3),
                           roundness_range=(-1e3, 1e3))

    def find(image):
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', NoDetectionsWarning)
            table = finder(standardize(image, box))
        if table is None:
            return np.empty((0, 2))
        return np.stack([np.asarray(table['x_centroid']),
                         np.asarray(table['y_centroid'])], 1)

    return find


def sep_finder(*, box, threshold, matched):
    """
    SEP (the SExtractor library) on the standardized image.

    Parameters
    ----------
    box : int
        See `standardize`.

    threshold : float
        In units of the noise.

    matched : bool
        Whether to filter with the point-spread function first.

    Returns
    -------
    find : callable
        From an image to positions, shape (m, 2).
    """
    import sep

    def find(image):
        scaled = np.ascontiguousarray(standardize(image, box), np.float32)
        found = sep.extract(
            scaled, threshold, err=1.0, minarea=1,
            filter_kernel=KERNEL if matched else None,
            deblend_nthresh=64, deblend_cont=1e-5, clean=False)
        return np.stack([found['x'], found['y']], 1)

    return find


def pixel_finder(*, box, threshold):
    """
    Each pixel above a threshold on the standardized image is a source.

    Parameters
    ----------
    box : int
        See `standardize`.

    threshold : float
        In units of the noise.

    Returns
    -------
    find : callable
        From an image to positions, shape (m, 2).
    """
    def find(image):
        return np.stack(np.nonzero(standardize(image, box)
                                   > threshold)[::-1], 1)

    return find


_THRESHOLDS = (3.0, 3.5, 4.0, 4.5, 5.0, 5.5, 6.0, 7.0)

#: What the finders are tuned over.
FINDERS = {
    'DAOStarFinder': (dao_finder, [
        {'box': box, 'threshold': threshold, 'fwhm': fwhm}
        for box in (7, 11, 17) for fwhm in (1.0, 1.4, 2.0)
        for threshold in _THRESHOLDS]),
    'sep': (sep_finder, [
        {'box': box, 'threshold': threshold, 'matched': matched}
        for box in (7, 11, 17) for matched in (False, True)
        for threshold in _THRESHOLDS]),
    'pixels above a cut': (pixel_finder, [
        {'box': box, 'threshold': threshold}
        for box in (7, 11, 17) for threshold in _THRESHOLDS]),
}


def bm3d_filter(image, sigma):
    """BM3D of the package bm3d, for a noise of one standard deviation."""
    from bm3d import bm3d

    return bm3d(image, sigma)
