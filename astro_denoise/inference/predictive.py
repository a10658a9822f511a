# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Posterior predictive checks: tell posteriors that cannot make their image.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import t

from ..models.galactic_center import local_mean
from ..simulation.galactic_center import GalacticCenterSimulator
from ..simulation.legacy_sky import N_PIXELS, PIXEL_SCALE

__all__ = ['N_PREDICTED', 'Predicted', 'check_images', 'check_posterior',
           'predict_images', 'predictive_p_value', 'structure']

_SQRT2 = math.sqrt(2.0)

#: Samples from which images are simulated for a check.
N_PREDICTED = 16

# How well the logarithms of their counts and of their structure are known at
# best.
_LEAST_ERROR = 0.05

# Galactic latitudes in degrees: the plane is below the first, and above the
# second little of it is left. Pixels of each that must be seen.
_PLANE, _HIGH, _N_SEEN = 3.0, 8.0, 60

# Least excess of the variance over that of photons that is told from chance.
_LEAST_EXCESS = 0.02


@dataclass
class Predicted:
    """
    Images simulated from samples of a posterior.

    Attributes
    ----------
    images : `torch.Tensor`
        Counts, shape (n, 64, 64).

    expected : `torch.Tensor`
        The counts expected in them, same shape.
    """

    images: torch.Tensor
    expected: torch.Tensor


@torch.inference_mode()
def predict_images(network, samples, seed, *, context=None, rng=None):
    """
    Simulate images from samples of a posterior.

    Parameters
    ----------
    network : `torch.nn.Module`
        A posterior that says how its images are ``simulated``.

    samples : `torch.Tensor`
        Shape (n, 6): parameters.

    seed : int
        Seed of the images.

    context : `torch.Tensor`, optional
        Of the image, shape (1, context), for nuisances.

    rng : `torch.Generator`, optional
        Source of random numbers for nuisances.

    Returns
    -------
    predicted : `Predicted`
        The images.
    """
    options = {}
    if hasattr(network, 'sample_nuisances'):
        exposure, shares = network.sample_nuisances(
            samples, context.expand(len(samples), -1), rng)
        options = {'exposure': exposure, 'nuisances': shares,
                   'centered': True}
    simulator = GalacticCenterSimulator(**network.simulated,
                                        device=samples.device)
    given = dict(zip(simulator.parameter_names, samples.T, strict=True))
    drawn = simulator.draw(len(samples), seed, **options, **given)
    return Predicted(drawn['images'], drawn['expected'])


def predictive_p_value(statistics, predicted):
    """
    Compare the statistics of an image with those predicted for it.

    Parameters
    ----------
    statistics : `torch.Tensor`
        Shape (n_statistics,), of the image; NaN for those not seen.

    predicted : `torch.Tensor`
        Shape (n, n_statistics), of images simulated from its posterior.

    Returns
    -------
    p_value : float
        Probability that an image that the posterior makes is at least as
        far from the others as this one. The distance is the mean square of
        the statistics in units of their scatter, whose logarithm is taken
        to be normally distributed. NaN if nothing is seen.
    """
    seen = ~torch.isnan(statistics)
    if not seen.any():
        return math.nan
    rows = predicted[:, seen].double()
    n = len(rows)
    mean, square = rows.mean(0), rows.square().mean(0)
    # Each among the others.
    other = (n * mean - rows) / (n - 1)
    variance = (n * square - rows.square()) / (n - 1) - other.square()
    variance = variance.clamp_min(1e-6) * (n - 1) / (n - 2)
    drawn = ((rows - other).square() / variance).mean(1).log()
    variance = (square - mean.square()).clamp_min(1e-6) * n / (n - 1)
    found = ((statistics[seen].double() - mean).square()
             / variance).mean().log()
    above = float((found - drawn.mean()) / drawn.std())
    return 0.5 * math.erfc(above / _SQRT2) if np.isfinite(above) else 0.0


def structure(counts, valid=None):
    """
    Measure what tells a sky with a Galaxy from a flat one.

    Parameters
    ----------
    counts : `torch.Tensor`
        Shape (n, 64, 64), Galactic latitude growing along y.

    valid : `torch.Tensor`, optional
        Same shape, 1 for pixels that count and 0 for others.

    Returns
    -------
    structure : `torch.Tensor`
        Shape (n, 2): logarithms of the excess of the Galactic plane over
        high latitudes, in units of the mean of the image, and of the
        excess of the variance of neighboring pixels over that of photons.
        An excess is at least as large as chance makes it, so that there
        is a number for a flat image too. NaN where too few pixels are
        seen.
    """
    valid = torch.ones_like(counts) if valid is None else valid
    latitude = PIXEL_SCALE * (torch.arange(
        N_PIXELS, device=counts.device) - (N_PIXELS - 1) / 2).abs()[:, None]
    bands = [((latitude < _PLANE) * valid), ((latitude > _HIGH) * valid),
             valid]
    numbers = [band.sum((1, 2)) for band in bands]
    plane, high, mean = (
        (counts * band).sum((1, 2)) / number.clamp_min(1.0)
        for band, number in zip(bands, numbers, strict=True))
    chance = torch.sqrt(sum(
        (level + 0.01) / number.clamp_min(1.0) for level, number
        in zip((plane, high), numbers[:2], strict=True)))
    excess = torch.log(torch.maximum(plane - high, chance) / (mean + 0.01))
    seen = torch.minimum(*numbers[:2]) >= _N_SEEN
    image, good = (counts * valid)[:, None], valid[:, None]
    near = local_mean(image, good, 3)
    # A ninth of the pixel itself is in the mean.
    variance = 9.0 / 8.0 * ((image - near).square() * good).sum((1, 2, 3)) / (
        (near * good).sum((1, 2, 3)) + 1e-3)
    scatter = torch.log((variance - 1.0).clamp_min(_LEAST_EXCESS))
    return torch.stack([torch.where(seen, excess, math.nan),
                        torch.where(numbers[2] >= _N_SEEN, scatter,
                                    math.nan)], 1)


@torch.inference_mode()
def check_posterior(network, image, samples, seed, *, context, rng,
                    valid=None):
    """
    Simulate images from the posterior of an image, and compare them with it.

    Parameters
    ----------
    network : `torch.nn.Module`
        A posterior that says how its images are ``simulated``.

    image : `torch.Tensor`
        Counts, shape (1, 64, 64).

    samples : `torch.Tensor`
        Of its posterior, shape (``N_PREDICTED``, 6).

    seed : int
        Seed of the images.

    context : `torch.Tensor`
        What the network makes of the image.

    rng : `torch.Generator`
        Source of random numbers for nuisances.

    valid : `torch.Tensor`, optional
        Shape of the image, 1 for pixels that count and 0 for others.

    Returns
    -------
    p_value : float
        As of `predictive_p_value`, or that of the total counts or of the
        `structure` if one is less; 0 if samples are not finite.
    """
    if not torch.isfinite(samples).all():
        return 0.0
    predicted = predict_images(network, samples, seed, context=context,
                               rng=rng).images
    options = others = {}
    if valid is not None:
        options = {'valid': valid}
        others = {'valid': valid.expand(len(samples), -1, -1)}
    weights = 1.0 if valid is None else valid
    total, totals = (((counts * weights).sum((1, 2)).clamp_min(0.5).log())
                     for counts in (image, predicted))
    return min(
        predictive_p_value(network.statistics(image, **options)[0],
                           network.statistics(predicted, **others)),
        *_p_values_of_logarithms(
            torch.cat([total[:, None], structure(image, **options)], 1)[0],
            torch.cat([totals[:, None], structure(predicted, **others)], 1)))


def _p_values_of_logarithms(found, predicted):
    """
    Compare numbers of an image, (k,), with those predicted for it, (n, k).

    Each by Student's t: the statistics may have no scale, nearly empty
    images none of their scatter, and flat ones are within it. What is not
    seen has the p-value 1.
    """
    n = len(predicted)
    error = torch.hypot(predicted.std(0), torch.tensor(
        _LEAST_ERROR, device=found.device)) * math.sqrt(1 + 1 / n)
    distance = ((found - predicted.mean(0)) / error).abs()
    p_values = 2 * t.sf(distance.double().cpu().numpy(), n - 1)
    return np.where(np.isnan(p_values), 1.0, p_values).tolist()


@torch.inference_mode()
def check_images(network, counts, *, device, valid=None):
    """
    Check whether a posterior knows images and can reproduce them.

    Parameters
    ----------
    network : `torch.nn.Module`
        The posterior.

    counts : 3D `~numpy.ndarray`
        Shape (n, 64, 64).

    device : `torch.device`
        Where the network is.

    valid : 3D bool `~numpy.ndarray`, optional
        Pixels that count; only for networks that allow for others.

    Returns
    -------
    scores, p_values : 1D `~numpy.ndarray`
        How unlike the training set each image is, and the p-values of the
        predictive checks. The same for the same images.
    """
    scores, p_values = [], []
    for index, plane in enumerate(counts):
        image, options = np.ascontiguousarray(plane, np.float32), {}
        if valid is not None and not valid[index].all():
            image = np.where(valid[index], image, np.float32(0))
            options['valid'] = torch.from_numpy(np.ascontiguousarray(
                valid[index:index + 1], np.float32)).to(device)
        image = torch.from_numpy(image[None]).to(device)
        rng = torch.Generator(device)
        rng.manual_seed(1)
        scores.append(float(network.ood_score(image, **options)[0]))
        context = network.embed(image, **options)
        p_values.append(check_posterior(
            network, image, network.sampled(context, N_PREDICTED, rng)[0], 1,
            context=context, rng=rng, **options))
    return np.array(scores), np.array(p_values)
