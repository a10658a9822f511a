# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Calibrate the probabilities of candidates for sources on simulated frames.
"""

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch.nn import functional as F

from ..frames.inputs import open_frame
from ..inference.candidates import find_candidates, star_features
from ..inference.source_centers import find_centers
from ..models.candidate_scores import PURITIES
from ..noise.measurement import measure_plane
from ..noise.seeing import frame_fwhm
from .source_batches import FAINTEST, expose
from .source_scenes import FIELDS, draw_source_scene

__all__ = ['LabeledCandidates', 'calibrate_candidates', 'label_candidates',
           'match']

# Logarithm of the signal-to-noise ratio of sources that are sure.
_LOG_BRIGHT = np.log(10.0)

# What a bright source counts for that is lost, over an artefact that is taken
# for one: a sharp star is hardly told from a cosmic ray.
_BRIGHT_WEIGHT = 1.35

# Steps of the fits; how much the slope of the map may bend; candidates in a
# step.
_N_STEPS, _BENDING, _BATCH, _DECAY = 1200, 0.005, 8192, 0.05


@dataclass
class LabeledCandidates:
    """
    Candidates of simulated frames, and what they are.

    Attributes
    ----------
    expected, crowding, lit : `torch.Tensor`
        Of `~astro_denoise.inference.candidates.Candidates`.

    features : `torch.Tensor`
        Of `~astro_denoise.inference.candidates.star_features`.

    artefact : `torch.Tensor`
        Of `~astro_denoise.inference.candidates.Candidates`.

    true, star : `torch.Tensor`
        1 for sources, and for stars.
    """

    expected: torch.Tensor
    crowding: torch.Tensor
    lit: torch.Tensor
    features: torch.Tensor
    artefact: torch.Tensor
    true: torch.Tensor
    star: torch.Tensor


def match(x, y, rank, sources, distance):
    """
    Match detections to true sources, each source to one at most.

    Parameters
    ----------
    x, y, rank : 1D `~numpy.ndarray`
        Positions, and what decides who comes first: the highest.

    sources : 2D `~numpy.ndarray`
        Rows that begin with x and y.

    distance : float
        Farthest source in pixels.

    Returns
    -------
    matched : 1D `~numpy.ndarray` of int
        Row of the source of each detection, -1 for none.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.training.source_calibration import match
    >>> match(np.array([1.0, 1.2]), np.zeros(2), np.array([0.3, 0.9]),
    ...       np.array([[1.0, 0.0], [9.0, 9.0]]), 1.0)
    array([-1,  0])
    """
    matched = np.full(len(x), -1)
    if len(sources) == 0 or len(x) == 0:
        return matched
    near = cKDTree(sources[:, :2]).query_ball_point(
        np.stack([x, y], 1), distance)
    taken = np.zeros(len(sources), bool)
    for index in np.argsort(-rank, kind='stable'):
        free = [each for each in near[index] if not taken[each]]
        if free:
            distances = np.hypot(sources[free, 0] - x[index],
                                 sources[free, 1] - y[index])
            matched[index] = free[int(np.argmin(distances))]
            taken[matched[index]] = True
    return matched


def label_candidates(network, n_scenes, *, seed, runtime, size=384):
    """
    Find candidates in simulated frames, measured as any frame is.

    Parameters
    ----------
    network : `~astro_denoise.models.source_finder.SourceFinder`
        The network.

    n_scenes : int
        Number of frames, of all kinds of fields in turn.

    seed : int
        Seed of the frames.

    runtime : `~astro_denoise.inference.Runtime`
        Where to compute.

    size : int, optional
        Pixels per side.

    Returns
    -------
    labeled : `LabeledCandidates`
        The candidates of all frames.
    """
    parts = []
    for number in range(n_scenes):
        rng = np.random.default_rng([seed, number, 1])
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            scene = draw_source_scene(
                [seed, number], size=size,
                field=list(FIELDS)[number % len(FIELDS)],
                plain=True)
            parts.append(_labeled(network, scene, rng, runtime))
    return LabeledCandidates(*(
        torch.from_numpy(np.concatenate(each).astype(np.float32))
        for each in zip(*parts, strict=True)))


def _labeled(network, scene, rng, runtime):
    """Find and label the candidates of a frame."""
    exposure = expose(scene.image, rng)
    detector = {}
    if rng.random() < 0.5:
        detector = {'gain': 1.0, 'read_noise': float(exposure.read_noise)}
    reader = open_frame(exposure.electrons, mask=~exposure.valid)
    _, whole = measured = measure_plane(reader.plane(), keep=True, **detector)
    signal = np.where(whole.valid, whole.values - whole.background, 0.0)
    noise_map = whole.noise_map * (1.0 + 2.0 * max(measured[0].correlation,
                                                   0.0))
    fwhm = frame_fwhm(measured[0], signal, whole.noise_map, whole.valid)
    answers = find_centers(network, (signal / noise_map).astype(
        np.float32), whole.valid, fwhm, runtime=runtime)
    found = find_candidates(answers, signal, noise_map, whole.valid, fwhm)
    sources = scene.sources.copy()
    place = tuple(np.clip(np.rint(sources[:, 1::-1].T).astype(int), 0,
                          scene.image.shape[0] - 1))
    sources[:, 2] *= exposure.level / exposure.broadened / np.sqrt(
        exposure.variance[place])
    sources = sources[sources[:, 2] >= FAINTEST]
    matched = match(found.x, found.y, found.expected, sources,
                    max(0.5 * scene.psf.fwhm, 1.0))
    star = np.zeros(len(found))
    if len(sources):
        star = np.where(matched >= 0, sources[matched, 3], 0.0)
    return (found.expected, found.crowding, found.lit, star_features(found),
            found.artefact, matched >= 0, star)


def calibrate_candidates(network, labeled, *, seed):
    """
    Fit the maps from what is known of candidates to their probabilities.

    Parameters
    ----------
    network : `~astro_denoise.models.source_finder.SourceFinder`
        The network, on the processor; its ``scores`` are set.

    labeled : `LabeledCandidates`
        Simulated candidates.

    seed : int
        Of the weights of the small network for stars.

    Returns
    -------
    figures : dict
        Mean errors of the probabilities, for the header.
    """
    scores = network.scores
    with torch.enable_grad():
        scores.calibration.copy_(_monotone_map(scores, labeled, seed))
        loss = _fit_star(scores, labeled, seed)
    probability = torch.sigmoid(scores.logit(
        labeled.expected, labeled.crowding, labeled.lit,
        labeled.features, labeled.artefact))
    scores.thresholds.copy_(_thresholds(scores, labeled, probability))
    return {'candidates': len(probability),
            'brier': round(float((probability - labeled.true).square()
                                 .mean()), 4),
            'star_entropy': round(loss, 4)}


def _balanced(crowding):
    """
    Give shares to candidates so that empty fields count as crowded ones do.

    Few candidates are in fields of few sources; the share of each falls with
    the root of the number of those with as much crowding.
    """
    place = ((crowding - crowding.min()) / 0.5).long()
    return torch.bincount(place)[place].float()**-0.5


def _monotone_map(scores, labeled, seed):
    """
    Fit the logit of the probability for each kind of field.

    What the shape of the light tells against a source is fitted with it.
    """
    generator = torch.Generator().manual_seed(seed)
    share = _balanced(labeled.crowding)
    torch.manual_seed(seed)
    scores.doubt[0].reset_parameters()
    scores.doubt.requires_grad_()
    start = scores.calibration
    first = start[..., :1].clone().requires_grad_()
    steps = torch.log(torch.expm1(torch.diff(start))).requires_grad_()
    optimizer = torch.optim.AdamW([
        {'params': [first, steps], 'lr': 0.05, 'weight_decay': 0.0},
        {'params': scores.doubt.parameters(), 'lr': 0.01}],
        weight_decay=_DECAY)
    known = (labeled.expected, labeled.crowding, labeled.lit,
             labeled.features, labeled.artefact)
    weight = torch.where(
        (labeled.true > 0) & (labeled.features[:, 1] + 2.5 > _LOG_BRIGHT),
        _BRIGHT_WEIGHT, 1.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, _N_STEPS)

    def table():
        return torch.cat([first, first + torch.cumsum(F.softplus(steps), 2)],
                         2)

    for _ in range(_N_STEPS):
        batch = torch.multinomial(share, _BATCH, replacement=True,
                                  generator=generator)
        optimizer.zero_grad()
        made = table()
        loss = F.binary_cross_entropy_with_logits(
            scores.logit(*(each[batch] for each in known), table=made),
            labeled.true[batch], weight=weight[batch])
        bend = torch.diff(made, n=2).square().mean()
        apart = torch.diff(made, dim=0).square().mean()
        (loss + _BENDING * (bend + 0.05 * apart)).backward()
        optimizer.step()
        schedule.step()
    scores.doubt.requires_grad_(requires_grad=False)
    return table().detach()


def _fit_star(scores, labeled, seed):
    """Fit the small network for stars."""
    torch.manual_seed(seed)
    for layer in scores.star[::2]:
        layer.reset_parameters()
    scores.requires_grad_()
    which = torch.nonzero(labeled.true > 0)[:, 0]
    features, star = labeled.features[which], labeled.star[which]
    share = _balanced(labeled.crowding[which])
    optimizer = torch.optim.AdamW(scores.star.parameters(), lr=3e-3,
                                  weight_decay=_DECAY)
    generator = torch.Generator().manual_seed(seed)
    n_steps = 2 * _N_STEPS
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_steps)
    for _ in range(n_steps):
        batch = torch.multinomial(share, _BATCH, replacement=True,
                                  generator=generator)
        optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(
            scores.star_logit(features[batch]), star[batch])
        loss.backward()
        optimizer.step()
        schedule.step()
    scores.requires_grad_(requires_grad=False)
    return float(F.binary_cross_entropy_with_logits(
        scores.star_logit(features), star))


def _thresholds(scores, labeled, probability):
    """
    Find for each kind of field the probabilities of some purities.

    The purity above a probability is the mean of the probabilities there,
    which are calibrated: that is less noisy than counts of true candidates.
    Bright ones do not count: a frame may have any number of them.
    """
    values, order = torch.sort(probability, descending=True)
    table = torch.zeros_like(scores.thresholds)
    weights = torch.zeros(*table.shape[:2], len(order))
    faint = labeled.features[order, 1] + 2.5 < _LOG_BRIGHT
    for row, column, weight in scores.kinds(labeled.crowding[order],
                                            labeled.lit[order]):
        weights[row, column, torch.arange(len(order))] += weight * faint
    for row in range(table.shape[0]):
        for column in range(table.shape[1]):
            weight = weights[row, column].double()
            purity = (torch.cumsum(weight * values, 0)
                      / torch.cumsum(weight, 0).clamp_min(1e-6))
            for number, wanted in enumerate(PURITIES):
                # Never below what is as likely as not to be real; and those
                # as probable as the purity can only make it better.
                pure = torch.nonzero(purity >= wanted)[:, 0]
                # Bright ones, which do not count, come first.
                last = int(pure[-1] if len(pure) else
                           torch.argmax((weight > 0).int()))
                table[row, column, number] = torch.logit(
                    values[last].clamp(min(wanted, 0.5), wanted))
    return table.cummax(2).values
