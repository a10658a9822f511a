# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The methods of training: for each a batch, a loss and a network.
"""

import copy
from dataclasses import dataclass

import numpy as np
import torch

from ..models.blind_spot import BlindSpotDenoiser
from ..models.denoiser import CCDDenoiser
from ..models.registry import load_model
from .batches import blind_spots, pair, recorrupted
from .frame_store import measure_noise
from .losses import blind_spot_loss, noisy_target_loss
from .restoration import design_kernels
from .supervised import supervised_loss

__all__ = ['METHODS', 'Method', 'fitting_kernels']

_START = 'ccd'
N_COPIES = 4

# New restoring kernels: their widths over that of the frames, and how much
# they are made to keep flux. ccd was trained for long to add what its kernels
# lose of a star.
_AROUND = 1.19**np.arange(-3, 4)
_FAITHFULNESS = 40.0


@dataclass(frozen=True)
class Method:
    """
    A method of training.

    Attributes
    ----------
    summary : str
        For the header of the model.

    learning_rate : float
        Peak of the schedule.

    options : tuple of str
        Names of the options of `~astro_denoise.train_denoiser` that
        matter.

    network : dict or `None`
        Arguments of a new `~astro_denoise.models.blind_spot.\
BlindSpotDenoiser`; `None` trains a shipped model further.

    median : bool
        Whether pixels are replaced by the median of their neighbours.

    bias_weight : float
        Weight of the bias of the flux of simulated sources; 0 for none.
    """

    summary: str
    learning_rate: float
    options: tuple = ()
    network: dict | None = None
    median: bool = False
    bias_weight: float = 0.0

    @property
    def is_blind(self):
        """Whether pixels are predicted from their surroundings."""
        return self.network is not None

    def settings(self, **options):
        """
        Options that matter to this method.

        Parameters
        ----------
        **options
            Of `~astro_denoise.train_denoiser`.

        Returns
        -------
        settings : dict
            Some of them.
        """
        return {name: options[name] for name in self.options}

    def prepare(self, *, masked_fraction, radius, recorruption):
        """
        What is done to patches, see `~astro_denoise.training.batches`.

        Parameters
        ----------
        masked_fraction, radius, recorruption : float
            As in `~astro_denoise.train_denoiser`.

        Returns
        -------
        prepare : callable
            For `~astro_denoise.training.batches.PatchSampler`.
        """
        if self.is_blind:
            return blind_spots(masked_fraction, radius, median=self.median)
        return recorrupted(recorruption) if 'recorruption' in (
            self.options) else pair

    def build(self, start, frames, *, seed, noise_model, psf_fwhm):
        """
        The network to train, and its loss.

        Parameters
        ----------
        start : str, path-like, `~astro_denoise.models.Model` or `None`
            What to start from.

        frames : list
            The training frames.

        seed : int
            Of new weights.

        noise_model, psf_fwhm : str, float
            As in `~astro_denoise.train_denoiser`.

        Returns
        -------
        network : `torch.nn.Module`
            The network.

        name : str or `None`
            Of the model that it comes from.

        loss_function : callable
            For `~astro_denoise.training.loop.train`.

        Raises
        ------
        ValueError
            If the method cannot train ``start`` further.
        """
        if self.is_blind:
            config = dict(self.network)
            if config.get('n_components') and noise_model == 'histogram':
                config['noise_mixture'] = measure_noise(frames)
        if self.is_blind and start is None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                network = BlindSpotDenoiser(**config)
            return network, None, blind_spot_loss(
                network.config['noise_mixture'])
        model = load_model(_START if start is None else start,
                           task='denoise')
        network = copy.deepcopy(model.network).requires_grad_()
        if isinstance(network, BlindSpotDenoiser) != self.is_blind:
            msg = (f'model {model.name!r} cannot be trained by this method: '
                   f'it is a {type(network).__name__}')
            raise ValueError(msg)
        if self.is_blind:
            return network, model.name, blind_spot_loss(
                network.config['noise_mixture'])
        if 'recorruption' in self.options:
            network = fitting_kernels(network, frames, psf_fwhm)
        loss = (supervised_loss if self is METHODS['supervised']
                else noisy_target_loss)
        return network, model.name, loss(N_COPIES, self.bias_weight)


def fitting_kernels(network, frames, psf_fwhm=None):
    """
    A network with restoring kernels of the widths that frames need.

    Parameters
    ----------
    network : `~astro_denoise.models.denoiser.CCDDenoiser`
        The network.

    frames : list of `~astro_denoise.training.frame_store.TrainingFrame`
        The frames.

    psf_fwhm : float, optional
        Their point-spread function, where it cannot be measured.

    Returns
    -------
    network : `~astro_denoise.models.denoiser.CCDDenoiser`
        The network itself if its kernels will do, else one of the same
        weights with others.
    """
    known = network.config['kernel_fwhms']
    found = [frame.fwhm for frame in frames if frame.fwhm is not None]
    if psf_fwhm is None and found:
        psf_fwhm = float(np.median(found))
    if not known or psf_fwhm is None or known[0] <= psf_fwhm <= known[-1]:
        return network
    fwhms = tuple(float(f'{psf_fwhm * factor:.4g}') for factor in _AROUND)
    other = CCDDenoiser(**{**network.config, 'kernel_fwhms': fwhms})
    state = {name: tensor for name, tensor in network.state_dict().items()
             if name != 'kernels'}
    other.load_state_dict(
        {**state, 'kernels': torch.from_numpy(
            design_kernels(fwhms, faithfulness=_FAITHFULNESS))})
    return other


_MASKING = ('masked_fraction', 'radius')
_LEVELS = (8, 16, 48, 96)

METHODS = {
    'noise2void': Method(
        'Noise2Void: pulls faint flux down', 1.5e-3, _MASKING,
        {'widths': _LEVELS}),
    'n2v2': Method(
        'N2V2, Noise2Void without checkerboard: pulls faint flux down',
        1.5e-3, _MASKING,
        {'widths': _LEVELS, 'top_skip': False, 'blur_pool': True},
        median=True),
    'pn2v': Method(
        'probabilistic Noise2Void: pulls faint flux down',
        1.5e-3, (*_MASKING, 'noise_model'),
        {'widths': _LEVELS, 'n_components': 3, 'blur_pool': True}),
    # The weight is that of ccd for 'supervised'; against a noisy target an
    # error counts less, by the noise of the target.
    'noise2noise': Method(
        'Noise2Noise, from pairs of exposures', 3e-4, bias_weight=12.0),
    'gr2r': Method(
        'ccd, trained further on frames of a survey', 3e-4,
        ('recorruption',), bias_weight=3.0),
    'supervised': Method('trained on simulated skies', 6e-4,
                         bias_weight=60.0),
}
