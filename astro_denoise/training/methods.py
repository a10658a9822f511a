# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Methods of training: a batch, a loss and a network for each.
"""

import copy
import math
from dataclasses import dataclass, field

import numpy as np
import torch

from ..models.blind_spot import BlindSpotDenoiser
from ..models.denoiser import CCDDenoiser
from ..models.registry import load_model
from .batches import (
    blind_areas,
    blind_spots,
    emphasized,
    pair,
    recorrupted,
)
from .losses import (
    blind_spot_loss,
    noisy_target_loss,
    squared_loss,
    supervised_loss,
)
from .noise_mixture import fit_noise_mixture
from .registration import ANY_FWHM
from .restoration import design_kernels

__all__ = ['METHODS', 'Method', 'MethodOptions', 'fitting_kernels',
           'noise_span']

_START = 'ccd'
N_COPIES = 4

# New restoring kernels: their widths over that of the frames, and how much
# they are made to keep flux. ccd was trained for long to add what its kernels
# lose of a star.
_AROUND = 1.19**np.arange(-3, 4)
_FAITHFULNESS = 40.0

# Correlation of noise from which on neighbors share it, and lags at most.
_LEAST_SHARED = 0.05
_MOST_LAGS = 4


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

    Examples
    --------
    >>> from astro_denoise.training import MethodOptions
    >>> MethodOptions(recorruption=0.3).recorruption
    0.3
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
    A method of training, to be subclassed.

    As it is, it trains a shipped model further with recorrupted pairs and
    the squared error. A subclass overrides ``prepare``, ``build`` or
    ``loss``, and ``finish`` where it calibrates errors in its own way.

    Parameters
    ----------
    summary : str
        For the header of the model.

    learning_rate : float, optional
        Peak of the schedule.

    options : tuple of str, optional
        Names of the `MethodOptions` that its settings name.

    bias_weight : float, optional
        Weight of the bias of the flux of simulated sources in the loss.
        Above 0, batches hold simulated skies of the seeing of the frames
        too.

    pairs : bool, optional
        Whether exposures of one field are compared.

    simulated : bool, optional
        Whether simulated skies take the place of frames.

    is_blind : bool, optional
        Whether pixels are predicted from their surroundings.

    structured : bool, optional
        Whether it is made for noise that neighbors share.

    recorruption : float, optional
        Noise that is added, in units of that of the frame, unless
        `~astro_denoise.train_denoiser` is told.

    Examples
    --------
    Pixels that are predicted from the frame with more noise:

    >>> from astro_denoise import train_denoiser
    >>> from astro_denoise.data import load_example_pair
    >>> from astro_denoise.models.blind_spot import BlindSpotDenoiser
    >>> from astro_denoise.training import Method
    >>> from astro_denoise.training.batches import recorrupted
    >>> class MoreNoise(Method):
    ...     def prepare(self, frames, options):
    ...         return recorrupted(1.0)
    ...
    ...     def build(self, start, frames, options, *, seed):
    ...         return BlindSpotDenoiser(widths=(4, 8)), None
    >>> model = train_denoiser(
    ...     load_example_pair(), MoreNoise('more noise'), epochs=1, seed=1,
    ...     patch=32, n_patches=1,
    ...     progress_bar=False)  # doctest: +IGNORE_WARNINGS
    >>> print(model.name, model.metadata['summary'])
    MoreNoise more noise
    """

    summary: str
    learning_rate: float = 3e-4
    options: tuple = ()
    bias_weight: float = 0.0
    pairs: bool = False
    simulated: bool = False
    is_blind: bool = False
    structured: bool = False
    recorruption: float = 0.5

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

    def prepare(self, frames, options):
        """
        Choose what is done to patches.

        Parameters
        ----------
        frames : list
            The training frames (``TrainingFrame`` of
            ``astro_denoise.training.frame_store``); empty for simulated
            skies.

        options : `MethodOptions`
            Options of the method.

        Returns
        -------
        prepare : callable
            ``prepare(maps, rng)`` makes the arrays of a batch of one
            patch; see ``astro_denoise.training.batches``.
        """
        return recorrupted(options.recorruption)

    def build(self, start, frames, options, *, seed):
        """
        Build the network to train.

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
            The network: a ``BlindSpotDenoiser`` or a ``CCDDenoiser`` of
            ``astro_denoise.models``.

        name : str or `None`
            Of the model that it comes from.

        Raises
        ------
        ValueError
            If the method cannot train ``start`` further.
        """
        return _trained_network(_START if start is None else start,
                                CCDDenoiser)

    def loss(self, network):
        """
        Make the loss.

        Parameters
        ----------
        network : `torch.nn.Module`
            The network to train.

        Returns
        -------
        loss_function : callable
            ``loss_function(model, batch, step, dtype)`` returns a tensor
            and a dictionary of numbers for the log.
        """
        return squared_loss

    def finish(self, network, data, to_tensors):
        """
        Make the errors of a trained network as large as they say.

        Parameters
        ----------
        network : `torch.nn.Module`
            The network.

        data : object
            The frames or skies that it was trained on, whose
            ``calibrate`` does it.

        to_tensors : callable
            Turns a batch of arrays into one of tensors.
        """
        data.calibrate(network, to_tensors)


@dataclass(frozen=True)
class FromScratch(Method):
    """
    Train a new, small network.

    Parameters
    ----------
    network : dict
        Arguments of `~astro_denoise.models.blind_spot.BlindSpotDenoiser`.
    """

    network: dict = field(default_factory=dict)

    def build(self, start, frames, options, *, seed):
        """Build the network to train; see `Method.build`."""
        if start is not None:
            return _trained_network(start, BlindSpotDenoiser)
        config = dict(self.network)
        if config.get('n_components') and options.noise_model == 'histogram':
            config['noise_mixture'] = fit_noise_mixture(frames)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return BlindSpotDenoiser(**config), None


@dataclass(frozen=True)
class Emphasized(FromScratch):
    """
    Recorrupted pairs in which sources count more.

    The least error of all pixels takes faint sources for noise. With these
    weights more of their flux is kept, for some more noise.

    Parameters
    ----------
    emphasis : float, optional
        See `~astro_denoise.training.batches.emphasized`.
    """

    emphasis: float = 2.0

    def settings(self, options):
        """Choose the options that matter; see `Method.settings`."""
        return {**super().settings(options), 'emphasis': self.emphasis}

    def prepare(self, frames, options):
        """Choose what is done to patches; see `Method.prepare`."""
        return emphasized(options.recorruption, self.emphasis,
                          _seeing(frames, options.psf_fwhm) or ANY_FWHM)


@dataclass(frozen=True)
class BlindSpots(FromScratch):
    """
    Predict pixels, or areas of correlated ones, from their surroundings.

    Parameters
    ----------
    median : bool, optional
        Whether pixels are replaced by the median of their neighbors.
    """

    is_blind: bool = True
    median: bool = False

    def prepare(self, frames, options):
        """Choose what is done to patches; see `Method.prepare`."""
        if self.structured:
            return blind_areas(options.masked_fraction, noise_span(frames))
        return blind_spots(options.masked_fraction, options.radius,
                           median=self.median)

    def loss(self, network):
        """Make the loss; see `Method.loss`."""
        return blind_spot_loss(network.config['noise_mixture'])


@dataclass(frozen=True)
class FluxKeeping(Method):
    """
    Train a shipped network further so that flux is kept.
    """

    def prepare(self, frames, options):
        """Choose what is done to patches; see `Method.prepare`."""
        return pair if self.pairs else super().prepare(frames, options)

    def build(self, start, frames, options, *, seed):
        """Build the network to train; see `Method.build`."""
        network, name = super().build(start, frames, options, seed=seed)
        if not (self.pairs or self.simulated):
            network = fitting_kernels(network, frames, options.psf_fwhm)
        return network, name

    def loss(self, network):
        """Make the loss; see `Method.loss`."""
        loss = supervised_loss if self.simulated else noisy_target_loss
        return loss(N_COPIES, self.bias_weight)


def _trained_network(start, kind):
    """Copy a network to be trained further, and name its model."""
    model = load_model(start, task='denoise')
    if isinstance(model.network, kind):
        return copy.deepcopy(model.network).requires_grad_(), model.name
    msg = (f'model {model.name!r} cannot be trained by this method: it is a '
           f'{type(model.network).__name__}, and not a {kind.__name__}')
    raise ValueError(msg)


def noise_span(frames):
    """
    Find how far pixels share noise.

    Parameters
    ----------
    frames : list of `~astro_denoise.training.frame_store.TrainingFrame`
        Frames whose lag-1 correlation was measured.

    Returns
    -------
    span : tuple of int
        Pixels along y and x: the lag up to which a Gaussian kernel of the
        correlation measured leaves a tenth. At least 1 along one axis.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> from astro_denoise.training.methods import noise_span
    >>> frame = SimpleNamespace(correlation=(0.0, 0.5))
    >>> noise_span([frame])
    (0, 1)
    """
    span = tuple(_lags(max(abs(frame.correlation[axis]) for frame in frames))
                 for axis in (0, 1))
    return span if any(span) else (1, 1)


def _lags(correlation):
    """Count the lags at which more than a tenth is shared."""
    if correlation < _LEAST_SHARED:
        return 0
    last = math.sqrt(math.log(0.1) / math.log(min(correlation, 0.95)))
    return min(max(int(last), 1), _MOST_LAGS)


def _seeing(frames, psf_fwhm):
    """Give the width of the point-spread function, measured or known."""
    found = [frame.fwhm for frame in frames if frame.fwhm is not None]
    return (float(np.median(found)) if psf_fwhm is None and found
            else psf_fwhm)


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
    psf_fwhm = _seeing(frames, psf_fwhm)
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
_SMALL = {'widths': (8, 16, 48, 96)}

# Where skies tell the errors, those of what is found faintly are told from
# those of blank sky, of which less than a twentieth of the noise is left.
_CALIBRATED = {**_SMALL, 'calibration_scale': 0.05}

METHODS = {
    'gr2r': FluxKeeping(
        'ccd, trained further on frames of a survey', 3e-4,
        ('recorruption',), bias_weight=3.0),
    'r2r': Emphasized(
        'recorrupted pairs, from scratch: pulls faint flux down',
        1.5e-3, ('recorruption',), recorruption=1.0,
        network={**_CALIBRATED}),
    'noise2void': BlindSpots(
        'Noise2Void: pulls faint flux down', 1.5e-3, _MASKING,
        network={**_CALIBRATED}),
    'n2v2': BlindSpots(
        'N2V2, Noise2Void without checkerboard: pulls faint flux down',
        1.5e-3, _MASKING, median=True,
        network={**_CALIBRATED, 'top_skip': False, 'blur_pool': True}),
    'pn2v': BlindSpots(
        'probabilistic Noise2Void: pulls faint flux down',
        1.5e-3, (*_MASKING, 'noise_model'),
        network={**_CALIBRATED, 'n_components': 3, 'blur_pool': True}),
    'struct_n2v': BlindSpots(
        'structN2V, for noise that neighboring pixels share: pulls faint '
        'flux down', 1.5e-3, ('masked_fraction',), structured=True,
        network={**_CALIBRATED}),
    # The weight is that of ccd for 'supervised'; against a noisy target an
    # error counts less, by the noise of the target.
    'noise2noise': FluxKeeping(
        'Noise2Noise, from pairs of exposures', 3e-4, bias_weight=12.0,
        pairs=True),
    'supervised': FluxKeeping('trained on simulated skies', 6e-4,
                           bias_weight=60.0, simulated=True),
}
