# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Batches, validation and calibration from frames or simulated skies.
"""

import hashlib
import math

import numpy as np

from ..models.denoiser import CCDDenoiser
from .batches import PatchSampler
from .calibration import calibrate_uncertainty, level_pattern
from .exposures import Conditions, ExposureSampler
from .flux_kept import measure_flux_kept
from .frame_checks import check_groups
from .methods import N_COPIES
from .registration import ANY_FWHM
from .scenes import Scene, draw_scenes, draw_survey_scenes

__all__ = ['SimulatedSkies', 'SurveyFrames']

_N_SCENES = 100
_N_VALIDATION = 16
_N_CALIBRATION = 64
_CALIBRATION_PATCH = 128  # of calibrate_uncertainty

# Skies that go with the frames, the share of their patches without sources,
# what tells their random numbers from those of patches, their pixels per side
# unless patches are larger, their seeing where that of the frames is not
# known.
_N_SKIES, _EMPTY_SHARE, _SKIES = 24, 0.1, 10**6
_LARGEST_SKY = 640
_ANY_SEEING = (1.4, 8.5)

# Batches of 16 patches that errors are calibrated on, at least and at most
# (for simulated skies as well), skies for each, and the share of the pixels
# that were trained on.
_FEWEST_BATCHES, _MOST_BATCHES, _MOST_BATCHES_OF_SKIES = 3, 24, 40
_SKIES_OF_BATCH = 4
_CALIBRATED_SHARE = 0.1


def _n_clean(plan):
    """Count the patches of sky of a batch, each in several copies."""
    return max(1, plan.n_patches // N_COPIES)


def _n_batches(n_pixels, most):
    """Choose the length of a calibration after a training of some pixels."""
    share = _CALIBRATED_SHARE * n_pixels / (16 * _CALIBRATION_PATCH**2)
    return min(max(int(min(share, most)), _FEWEST_BATCHES), most)


def _flux_kept(network, batch, fwhm, seed):
    network.eval()
    return [row.describe() for row in
            measure_flux_kept(network, batch, float(fwhm), seed=seed)]


class SurveyFrames:
    """
    Batches, validation and calibration from a survey's frames.

    Parameters
    ----------
    folder : `~astro_denoise.training.frame_store.FrameFolder`
        The frames, read.

    prepare : callable
        What is done to patches, see
        `~astro_denoise.training.batches.PatchSampler`.

    plan : `~astro_denoise.training.batches.BatchPlan`
        Size, number and seed of the patches.

    pairs : bool
        Compare exposures of one field.

    with_skies : bool
        Add simulated skies of the seeing of the frames to each batch.

    psf_fwhm : float, optional
        Width of the point-spread function in pixels, instead of those
        measured on the frames.

    Attributes
    ----------
    n_pixels : float
        Pixels that a network was trained on, by which it is calibrated
        for longer or shorter.
    """

    n_pixels = math.inf

    def __init__(self, folder, prepare, plan, *, pairs, with_skies,
                 psf_fwhm=None):
        self._folder = folder
        self.frames = folder.frames
        if pairs:
            check_groups(self.frames)
        self._sampler = PatchSampler(self.frames, prepare, plan, pairs=pairs)
        self._seed = plan.seed
        self.score_kind = 'noise2noise' if pairs else 'sure'
        self.hash = folder.hash
        self._given_fwhm = psf_fwhm
        self._sky_sampler = None
        self._psf_fwhm = self._seeing(psf_fwhm)
        if with_skies:
            self._sky_sampler = ExposureSampler(
                draw_scenes(_N_SKIES, seed=plan.seed,
                            size=max(plan.patch, min(4 * plan.patch,
                                                     _LARGEST_SKY)),
                            psf_fwhm=self._psf_fwhm),
                patch=plan.patch, n_copies=N_COPIES,
                empty_share=_EMPTY_SHARE, n_clean=_n_clean(plan))

    def _seeing(self, psf_fwhm):
        """Find the range of the widths of the point-spread function."""
        widths = [frame.fwhm for frame in self.frames
                  if frame.fwhm is not None]
        if psf_fwhm is not None:
            widths = [psf_fwhm]
        if not widths:
            return _ANY_SEEING
        return 0.95 * min(widths), 1.05 * max(widths)

    def batch(self, seed):
        """
        Draw a batch.

        Parameters
        ----------
        seed : sequence of int
            Same seed, same batch.

        Returns
        -------
        batch : dict of `~numpy.ndarray`
            From `~astro_denoise.training.batches.PatchSampler`; with
            skies also what
            `~astro_denoise.training.exposures.ExposureSampler` draws, with
            names that begin with ``sky_``. Each of several processes
            has the same skies.
        """
        batch = self._sampler.batch(seed)
        if self._sky_sampler is not None:
            batch |= {f'sky_{name}': plane for name, plane
                      in self._sky_sampler.batch([*seed, _SKIES]).items()}
        return batch

    def validation(self):
        """
        Draw held-out patches for the score.

        Returns
        -------
        batch : dict of `~numpy.ndarray`
            For `~astro_denoise.training.scores.squared_errors`.
        """
        return self._sampler.validation(_N_VALIDATION, seed=self._seed)

    def calibrate(self, network, to_tensors):
        """
        Make the errors of a network as large as they say.

        On simulated skies of the seeing of the frames, exposed as these
        were: the truth tells more than the noise that is left.

        Parameters
        ----------
        network : `torch.nn.Module`
            The network.

        to_tensors : callable
            Not used.
        """
        n_batches = _n_batches(self.n_pixels, _MOST_BATCHES)
        skies = draw_survey_scenes(
            min(_SKIES_OF_BATCH * n_batches, _N_SKIES), seed=self._seed,
            size=2 * _CALIBRATION_PATCH, psf_fwhm=self._psf_fwhm)
        like = [Conditions.of_frame(frame.noise, frame.correlation)
                for frame in self.frames]
        network.cpu()
        if isinstance(network, CCDDenoiser):
            level_pattern(network, skies, seed=self._seed, like=like,
                          n_batches=min(n_batches, 8))
        calibrate_uncertainty(network, skies, n_batches=n_batches,
                              seed=self._seed, like=like)

    def flux_kept(self, network, to_tensors):
        """
        Measure the flux that a network keeps in what is held out.

        Parameters
        ----------
        network : `torch.nn.Module`
            The network.

        to_tensors : callable
            Turns a batch of arrays into one of tensors.

        Returns
        -------
        rows : list of dict
            From `~astro_denoise.training.flux_kept.measure_flux_kept`.
        """
        batch = self._sampler.validation(_N_CALIBRATION, seed=self._seed)
        widths = [frame.fwhm for frame in self.frames
                  if frame.fwhm is not None]
        fwhm = self._given_fwhm or (np.median(widths) if widths
                                    else ANY_FWHM)
        return _flux_kept(network, to_tensors(batch), fwhm, self._seed)

    def description(self):
        """
        Describe the frames for the header of a model.

        Returns
        -------
        description : dict
            See `~astro_denoise.training.frame_store.FrameFolder`.
        """
        return self._folder.description()


class SimulatedSkies:
    """
    Batches, validation and calibration from skies of known truth.

    Parameters
    ----------
    scenes : list of `~astro_denoise.training.scenes.Scene` or `None`
        The skies; `None` draws them.

    plan : `~astro_denoise.training.batches.BatchPlan`
        Size, number and seed of the patches.

    Raises
    ------
    TypeError, ValueError
        If the skies cannot be used.

    Attributes
    ----------
    n_pixels : float
        As of `SurveyFrames`.
    """

    n_pixels = math.inf
    frames = ()
    score_kind = 'truth'

    def __init__(self, scenes, plan):
        if scenes is None:
            scenes = draw_scenes(_N_SCENES, seed=plan.seed)
        scenes = list(scenes)
        if len(scenes) < 2 or not all(isinstance(scene, Scene)
                                      for scene in scenes):
            msg = ('images must be None or two or more noise-free Scene '
                   "objects for method='supervised', got "
                   f'{[type(scene).__name__ for scene in scenes[:3]]}')
            raise TypeError(msg)
        smallest = min(min(scene.image.shape) for scene in scenes)
        fewest = max(plan.patch, _CALIBRATION_PATCH)
        if smallest < fewest:
            msg = (f'images must have {fewest} or more pixels per side, got '
                   f'{smallest}')
            raise ValueError(msg)
        n_out = max(1, len(scenes) // 10)
        self._held_out, self._training = scenes[:n_out], scenes[n_out:]
        self._plan = plan
        self.hash = hashlib.sha256(b''.join(
            np.ascontiguousarray(scene.image).tobytes()
            for scene in scenes)).hexdigest()

    def batch(self, seed):
        """
        Draw a batch.

        Parameters
        ----------
        seed : sequence of int
            Same seed, same batch.

        Returns
        -------
        batch : dict of `~numpy.ndarray`
            From `~astro_denoise.training.exposures.ExposureSampler`.
        """
        sampler = ExposureSampler(self._training, patch=self._plan.patch,
                                  n_clean=1, n_copies=N_COPIES)
        parts = [sampler.batch([*seed, number])
                 for number in self._plan.mine(_n_clean(self._plan))]
        batch = {name: np.concatenate([part[name] for part in parts])
                 for name in parts[0]}
        return {**batch, 'weight': batch['valid']}

    def validation(self):
        """
        Draw held-out patches for the score.

        Returns
        -------
        batch : dict of `~numpy.ndarray`
            For `~astro_denoise.training.scores.squared_errors`.
        """
        batch = ExposureSampler(
            self._held_out, patch=self._plan.patch, n_clean=_N_VALIDATION,
            n_copies=1).batch([self._plan.seed, 3])
        return {**batch, 'target': batch['truth'], 'weight': batch['valid'],
                'target_variance': np.zeros_like(batch['x'])}

    def calibrate(self, network, to_tensors):
        """
        Make the errors of a network as large as they say.

        Parameters
        ----------
        network : `torch.nn.Module`
            The network.

        to_tensors : callable
            Not used.
        """
        network.cpu()
        calibrate_uncertainty(
            network, self._held_out, seed=self._plan.seed,
            n_batches=_n_batches(self.n_pixels, _MOST_BATCHES_OF_SKIES))

    def flux_kept(self, network, to_tensors):
        """
        Measure the flux that a network keeps in what is held out.

        Parameters
        ----------
        network : `torch.nn.Module`
            The network.

        to_tensors : callable
            Turns a batch of arrays into one of tensors.

        Returns
        -------
        rows : list of dict
            From `~astro_denoise.training.flux_kept.measure_flux_kept`.
        """
        fwhm = np.median([scene.psf_fwhm for scene in self._held_out])
        return _flux_kept(network, to_tensors(self.validation()), fwhm,
                          self._plan.seed)

    def description(self):
        """
        Describe the skies for the header of a model.

        Returns
        -------
        description : dict
            Their number and hash.
        """
        return {'n_scenes': len(self._training) + len(self._held_out),
                'sha256': self.hash, 'noise': ['simulated']}
