# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Judge the score of a training by what costs nothing.
"""

import copy
import warnings

import numpy as np
import torch

from ..exceptions import TrainingScoreWarning
from ..models.registry import load_model
from .scores import squared_errors, surroundings

__all__ = ['GROUPS', 'judge', 'score_text', 'warn_of_score']

# Lowest and highest mean of the 24 pixels around, in sigmas of the sky.
GROUPS = {'all': (-np.inf, np.inf), 'blank': (-np.inf, 1.0),
          'faint': (1.0, 5.0), 'bright': (5.0, np.inf)}

_SHIPPED = ('ccd', 'ccd-mmse')
_FEWEST = 200           # pixels of a group
_LEAST = -0.05          # squared error, which cannot be negative
_SIGNIFICANT = 2.0      # standard errors
_TRAINED = 'trained'


class _Share(torch.nn.Module):
    """Take away a share of the frame: nothing, or all but the sky."""

    def __init__(self, share):
        super().__init__()
        self.share = share

    def forward(self, x, log_sigma, valid, context):
        return self.share * x, torch.zeros_like(x)


def judge(network, batch, *, seed=0):
    """
    Estimate squared errors of a network beside those of what is at hand.

    Parameters
    ----------
    network : `torch.nn.Module`
        What was trained.

    batch : dict of `torch.Tensor`
        As for `~astro_denoise.training.scores.squared_errors`.

    seed : int, optional
        Of the probe.

    Returns
    -------
    judged : dict of dict
        For ``'trained'``, ``'raw'`` (the frame as it is), ``'sky'`` (a
        constant), ``'ccd'`` and ``'ccd-mmse'`` the squared error in units
        of the noise, and its standard error with the ending ``_error``, of
        all pixels (``all``), of ``blank`` ones, of those with a signal of
        1 to 5 sigmas (``faint``) and more (``bright``), as the pixels
        around have it; `None` where there are too few.
    """
    counts = batch.get('weight', batch['valid']) > 0
    brightness = surroundings(batch['x'] * batch['log_sigma'].exp(),
                              batch['valid'])[counts].cpu().numpy()
    networks = {_TRAINED: network, 'raw': _Share(0.0), 'sky': _Share(1.0),
                # Copies: models that are loaded are shared.
                **{name: copy.deepcopy(load_model(name, task='denoise'
                                                  ).network)
                   for name in _SHIPPED}}
    judged = {}
    for name, each in networks.items():
        each = each.to(batch['x'].device).eval()
        squared = squared_errors(each, batch, seed=seed).cpu().numpy()
        judged[name] = {}
        for group, (low, high) in GROUPS.items():
            values = squared[(brightness >= low) & (brightness < high)]
            known = len(values) >= _FEWEST
            judged[name][group] = float(
                f'{values.mean():.4g}') if known else None
            judged[name][f'{group}_error'] = float(
                f'{values.std() / len(values)**0.5:.2g}') if known else None
    return judged


def _bounds(values, group):
    """The score of a group, and its uncertainty; that of all has none."""
    error = 0.0 if group == 'all' else _SIGNIFICANT * values[f'{group}_error']
    return values[group], error


def _doubts(judged, fwhm, rivals):
    """Say what is wrong with a score, and why it may be."""
    trained = judged[_TRAINED]
    known = [group for group in GROUPS if trained[group] is not None]
    names = {'all': 'all pixels', 'blank': 'blank sky',
             'faint': 'signals of 1 to 5 sigmas',
             'bright': 'signals above 5 sigmas'}
    high, low = [], []
    for group in known:
        score, error = _bounds(trained, group)
        text = f'{score:.3g} for {names[group]}'
        if not score - error < 1.0:
            high.append((group, text))
        elif score + error < _LEAST:
            low.append((group, text))
    if high:
        where = {group for group, _ in high}
        width = '' if fwhm is None else f' ({fwhm:.2g} pixels)'
        cause = ('it was trained too little, or its noise is not known'
                 if 'blank' in where else
                 f'the point-spread function{width} is too narrow for a '
                 f'pixel to be told from its neighbors')
        yield (f'it is {" and ".join(text for _, text in high)}, worse than '
               f'the frame itself (1): likely {cause}')
    if low:
        yield (f'it is {" and ".join(text for _, text in low)}, which no '
               f'squared error can be: likely the noise is smaller than gain '
               f'and read_noise or the uncertainty say, or correlated')
    if 'all' in known and not high:
        best = min(rivals, key=lambda name: judged[name]['all'])
        if not trained['all'] < judged[best]['all']:
            yield (f'it is {trained["all"]:.3g}, not better than {best!r} '
                   f'({judged[best]["all"]:.3g}) on the same patches: '
                   + ('likely it was trained too little, or on too few '
                      'sources' if best == 'sky' else
                      'train for longer, or take that'))


def warn_of_score(judged, *, fwhm=None, keeps_flux=False, stacklevel=3):
    """
    Warn of a score that is not good, or cannot be right.

    Parameters
    ----------
    judged : dict of dict
        From `judge`.

    fwhm : float, optional
        Of the point-spread function in pixels, for the message.

    keeps_flux : bool, optional
        Whether the training makes the bias of fluxes small, which costs
        squared error: the model is compared with the frame and ``ccd``,
        which keep flux too, alone.

    stacklevel : int, optional
        Of the warning.

    Warns
    -----
    TrainingScoreWarning
        Where the squared error is 1 or more, below -0.05, or not less than
        the least of those that it is compared with.
    """
    rivals = ('raw', 'ccd') if keeps_flux else tuple(
        name for name in judged if name != _TRAINED)
    doubts = list(_doubts(judged, fwhm, rivals))
    if doubts:
        msg = f'the held-out score is in doubt: {"; ".join(doubts)}'
        warnings.warn(msg, TrainingScoreWarning, stacklevel=stacklevel)


def score_text(judged):
    """
    Put squared errors into a table.

    Parameters
    ----------
    judged : dict of dict
        From `judge`.

    Returns
    -------
    text : str
        Lines.
    """
    lines = [f'{"squared error":14s}'
             + ''.join(f'{group:>8s}' for group in GROUPS)]
    for name, values in judged.items():
        lines.append(f'{name:14s}' + ''.join(
            f'{"-":>8s}' if values[group] is None else
            f'{values[group]:8.3f}' for group in GROUPS))
    return '\n'.join(lines)
