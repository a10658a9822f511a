# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Where the batches of a training come from.
"""

import hashlib

import numpy as np

from .batches import PatchSampler
from .calibration import calibrate_uncertainty, level_pattern
from .frame_store import FrameFolder, open_images
from .methods import N_COPIES
from .scenes import ExposureSampler, Scene, draw_scenes, draw_survey_scenes
from .scores import calibrate_from_noise

__all__ = ['SimulatedSkies', 'SurveyFrames']

_N_SCENES = 100
_N_VALIDATION = 16
_N_CALIBRATION = 64
_CALIBRATION_PATCH = 128  # of calibrate_uncertainty

# Skies that go with the frames, the share of their patches without sources,
# what tells their random numbers from those of patches, their pixels per side
# unless patches are larger, their seeing where that of the frames is not
# known, and batches for the calibration.
_N_SKIES, _EMPTY_SHARE, _SKIES = 24, 0.1, 10**6
_LARGEST_SKY = 640
_ANY_SEEING = (1.4, 8.5)
_N_BATCHES = 24


class SurveyFrames:
    """
    Batches, validation and calibration from a survey's frames.

    Parameters
    ----------
    images : object
        As in `~astro_denoise.train_denoiser`.

    folder : path-like
        Where to keep them.

    prepare : callable
        What is done to patches.

    pairs : bool
        Whether exposures of one field are compared.

    with_skies : bool
        Whether simulated skies of the seeing of the frames go with each
        batch, and calibrate the errors.

    hdu, gain, read_noise, saturation, psf_fwhm : object
        As in `~astro_denoise.train_denoiser`.

    patch, n_patches, seed, rank, size : int
        See `~astro_denoise.training.batches.PatchSampler`.
    """

    def __init__(self, images, folder, prepare, *, pairs, with_skies, hdu,
                 gain, read_noise, saturation, psf_fwhm, patch, **options):
        self._folder = FrameFolder(folder, patch=patch, gain=gain,
                                   read_noise=read_noise,
                                   saturation=saturation)
        self._folder.read(open_images(images, hdu=hdu, grouped=pairs))
        self.frames = self._folder.frames
        if pairs:
            self._check_groups()
        self._sampler = PatchSampler(self.frames, prepare, patch=patch,
                                     pairs=pairs, **options)
        self._seed = options['seed']
        self.score_kind = 'noise2noise' if pairs else 'sure'
        self.hash = self._folder.hash
        self._skies = None
        if with_skies:
            self._psf_fwhm = self._seeing(psf_fwhm)
            self._skies = ExposureSampler(
                draw_scenes(_N_SKIES, seed=self._seed,
                            size=max(patch, min(4 * patch, _LARGEST_SKY)),
                            psf_fwhm=self._psf_fwhm),
                patch=patch, n_copies=N_COPIES, empty_share=_EMPTY_SHARE,
                n_clean=max(1, options['n_patches'] // N_COPIES))

    def _seeing(self, psf_fwhm):
        """The range of the widths of the point-spread function."""
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
            `~astro_denoise.training.scenes.ExposureSampler` draws, with
            names that begin with ``sky_``. Each of several processes
            has the same skies.
        """
        batch = self._sampler.batch(seed)
        if self._skies is not None:
            batch |= {f'sky_{name}': plane for name, plane
                      in self._skies.batch([*seed, _SKIES]).items()}
        return batch

    def _check_groups(self):
        for number in {frame.group for frame in self.frames}:
            group = [frame for frame in self.frames if frame.group == number]
            if len(group) < 2:
                msg = (f'images must hold two or more exposures of each '
                       f'field, got {group[0].name} alone')
                raise ValueError(msg)
            for frame in group[1:]:
                if frame.shape != group[0].shape:
                    msg = (f'images of one field must have one shape, got '
                           f'{frame.shape} of {frame.name} and '
                           f'{group[0].shape} of {group[0].name}')
                    raise ValueError(msg)

    def validation(self):
        """
        Held-out patches for the score.

        Returns
        -------
        batch : dict of `~numpy.ndarray`
            For `~astro_denoise.training.scores.squared_errors`.
        """
        return self._sampler.validation(_N_VALIDATION, seed=self._seed)

    def calibrate(self, network, to_tensors):
        """
        Make the errors of a network as large as they say.

        Parameters
        ----------
        network : `torch.nn.Module`
            The network.

        to_tensors : callable
            Turns a batch of arrays into one of tensors.
        """
        if self._skies is None:
            batch = self._sampler.validation(_N_CALIBRATION, seed=self._seed)
            calibrate_from_noise(network, to_tensors(batch), seed=self._seed)
            return
        # The truth tells more than the noise that is left, and the skies
        # are of the seeing of the frames.
        skies = draw_survey_scenes(
            _N_SKIES, seed=self._seed, size=2 * _CALIBRATION_PATCH,
            psf_fwhm=self._psf_fwhm)
        level_pattern(network.cpu(), skies, seed=self._seed)
        calibrate_uncertainty(network, skies, n_batches=_N_BATCHES,
                              seed=self._seed)

    def description(self):
        """
        What the header of a model says of its frames.

        Returns
        -------
        description : dict
            See `~astro_denoise.training.frame_store.FrameFolder`.
        """
        return self._folder.description()


class SimulatedSkies:
    """
    The same from simulated skies, whose truth is known.

    Parameters
    ----------
    scenes : list of `~astro_denoise.training.scenes.Scene` or `None`
        The skies; `None` draws them.

    patch, n_patches, seed, rank, size : int
        See `~astro_denoise.training.batches.PatchSampler`.
    """

    frames = ()
    score_kind = 'truth'

    def __init__(self, scenes, *, patch, n_patches, seed, rank, size):
        if scenes is None:
            scenes = draw_scenes(_N_SCENES, seed=seed)
        scenes = list(scenes)
        if len(scenes) < 2 or not all(isinstance(scene, Scene)
                                      for scene in scenes):
            msg = ('images must be None or two or more noise-free Scene '
                   "objects for method='supervised', got "
                   f'{[type(scene).__name__ for scene in scenes[:3]]}')
            raise TypeError(msg)
        smallest = min(min(scene.image.shape) for scene in scenes)
        if smallest < max(patch, _CALIBRATION_PATCH):
            msg = (f'images must have {max(patch, _CALIBRATION_PATCH)} or '
                   f'more pixels per side, got {smallest}')
            raise ValueError(msg)
        n_out = max(1, len(scenes) // 10)
        self._held_out, self._training = scenes[:n_out], scenes[n_out:]
        self._patch = patch
        self._seed = seed
        self._rank, self._size = rank, size
        self._n_clean = max(1, n_patches // N_COPIES)
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
            From `~astro_denoise.training.scenes.ExposureSampler`.
        """
        parts = []
        sampler = ExposureSampler(self._training, patch=self._patch,
                                  n_clean=1, n_copies=N_COPIES)
        for number in range(self._rank, self._n_clean, self._size):
            parts.append(sampler.batch([*seed, number]))
        batch = {name: np.concatenate([part[name] for part in parts])
                 for name in parts[0]}
        return {**batch, 'weight': batch['valid']}

    def validation(self):
        """
        Held-out patches for the score.

        Returns
        -------
        batch : dict of `~numpy.ndarray`
            For `~astro_denoise.training.scores.squared_errors`.
        """
        batch = ExposureSampler(
            self._held_out, patch=self._patch, n_clean=_N_VALIDATION,
            n_copies=1).batch([self._seed, 3])
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
        calibrate_uncertainty(network, self._held_out, seed=self._seed)

    def description(self):
        """
        What the header of a model says of its skies.

        Returns
        -------
        description : dict
            Their number and hash.
        """
        return {'n_scenes': len(self._training) + len(self._held_out),
                'sha256': self.hash, 'noise': ['simulated']}
