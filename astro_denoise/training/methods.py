# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Methods of training: a batch, a loss and a network for each.
"""

import copy
from dataclasses import dataclass

import numpy as np
import torch

from ..models.blind_spot import BlindSpotDenoiser
from ..models.denoiser import CCDDenoiser
from ..models.registry import load_model
from .batches import blind_spots, pair, recorrupted
from .losses import blind_spot_loss, noisy_target_loss, supervised_loss
from .noise_mixture import fit_noise_mixture
from .restoration import design_kernels

__all__ = ['METHODS', 'Method', 'MethodOptions', 'fitting_kernels']

_START = 'ccd'
N_COPIES = 4

# New restoring kernels: their widths over that of the frames, and how much
# they are made to keep flux. ccd was trained for long to add what its kernels
# lose of a star.
_AROUND = 1.19**np.arange(-3, 4)
_FAITHFULNESS = 40.0


@dataclass(frozen=True)
class MethodOptions:
    """
    Options that matter to some of the methods.

    They are those of `~astro_denoise.train_denoiser`.

    Parameters
    ----------
    masked_fraction : float, optional
        Share of the pixels of a patch that are predicted.

    radius : int, optional
        Largest distance in pixels of the neighbors that replace them.

    noise_model : {'map', 'histogram'}, optional
        Gaussian noise, or the shape that is measured on blank sky.

    recorruption : float, optional
        Noise that is added, in units of that of the frame.

    psf_fwhm : float, optional
        Width of the point-spread function in pixels.

    Raises
    ------
    ValueError
        If one of them makes no sense.
    """

    masked_fraction: float = 0.03
    radius: int = 2
    noise_model: str = 'map'
    recorruption: float = 0.5
    psf_fwhm: float | None = None

    def __post_init__(self):
        for name in ('radius', 'recorruption'):
            if not getattr(self, name) > 0:
                msg = (f'{name} must be positive, got '
                       f'{getattr(self, name)!r}')
                raise ValueError(msg)
        if not 0 < self.masked_fraction <= 0.1:
            msg = ('masked_fraction must be above 0 and at most 0.1, got '
                   f'{self.masked_fraction!r}')
            raise ValueError(msg)
        if self.noise_model not in ('map', 'histogram'):
            msg = ("noise_model must be 'map' or 'histogram', got "
                   f'{self.noise_model!r}')
            raise ValueError(msg)


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
        Names of the `MethodOptions` that its settings name.

    network : dict or `None`
        Arguments of a new `~astro_denoise.models.blind_spot.\
BlindSpotDenoiser`; `None` trains a shipped model further.

    median : bool
        Whether pixels are replaced by the median of their neighbors.

    bias_weight : float
        Weight of the bias of the flux of simulated sources; 0 for none.

    pairs : bool
        Whether exposures of one field are compared.

    simulated : bool
        Whether simulated skies take the place of frames.
    """

    summary: str
    learning_rate: float
    options: tuple = ()
    network: dict | None = None
    median: bool = False
    bias_weight: float = 0.0
    pairs: bool = False
    simulated: bool = False

    @property
    def is_blind(self):
        """True if pixels are predicted from their surroundings."""
        return self.network is not None

    def settings(self, options):
        """
        Choose the options that matter to this method.

        Parameters
        ----------
        options : `MethodOptions`
            All options.

        Returns
        -------
        settings : dict
            Some of them.
        """
        return {name: getattr(options, name) for name in self.options}

    def prepare(self, options):
        """
        Choose what is done to patches.

        Parameters
        ----------
        options : `MethodOptions`
            Options of the method.

        Returns
        -------
        prepare : callable
            For `~astro_denoise.training.batches.PatchSampler`.
        """
        if self.is_blind:
            return blind_spots(options.masked_fraction, options.radius,
                               median=self.median)
        return pair if self.pairs else recorrupted(options.recorruption)

    def build(self, start, frames, options, *, seed):
        """
        Build the network to train, and its loss.

        Parameters
        ----------
        start : str, path-like, `~astro_denoise.models.Model` or `None`
            What to start from.

        frames : list
            The training frames.

        options : `MethodOptions`
            Options of the method.

        seed : int
            Seed of new weights.

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
        if self.is_blind and start is None:
            network, name = self._new_network(frames, options, seed), None
        else:
            network, name = self._trained_network(start)
        if self.is_blind:
            return network, name, blind_spot_loss(
                network.config['noise_mixture'])
        if not (self.pairs or self.simulated):
            network = fitting_kernels(network, frames, options.psf_fwhm)
        loss = supervised_loss if self.simulated else noisy_target_loss
        return network, name, loss(N_COPIES, self.bias_weight)

    def _new_network(self, frames, options, seed):
        """Make a network with new weights."""
        config = dict(self.network)
        if config.get('n_components') and options.noise_model == 'histogram':
            config['noise_mixture'] = fit_noise_mixture(frames)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return BlindSpotDenoiser(**config)

    def _trained_network(self, start):
        """Copy a network to be trained further, and name its model."""
        model = load_model(_START if start is None else start,
                           task='denoise')
        network = copy.deepcopy(model.network).requires_grad_()
        if isinstance(network, BlindSpotDenoiser) != self.is_blind:
            msg = (f'model {model.name!r} cannot be trained by this method: '
                   f'it is a {type(network).__name__}')
            raise ValueError(msg)
        return network, model.name


def fitting_kernels(network, frames, psf_fwhm=None):
    """
    Give a network restoring kernels of the widths that frames need.

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
        'Noise2Noise, from pairs of exposures', 3e-4, bias_weight=12.0,
        pairs=True),
    'gr2r': Method(
        'ccd, trained further on frames of a survey', 3e-4,
        ('recorruption',), bias_weight=3.0),
    'supervised': Method('trained on simulated skies', 6e-4,
                         bias_weight=60.0, simulated=True),
}
