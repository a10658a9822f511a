# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Check what a file of weights says of its network before any is built.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

__all__ = ['check_stated']

_MOST_LEVELS, _WIDEST = 8, 2048
_N_PARAMETERS = 6  # of the posterior


@dataclass(frozen=True)
class _Field:
    """Rule for a value, in words, and its test."""

    words: str
    fits: Callable
    optional: bool = False


def _is_integer(value, low, high):
    return (isinstance(value, int) and not isinstance(value, bool)
            and low <= value <= high)


def _is_number(value, low=-1e12, high=1e12):
    return (isinstance(value, int | float) and not isinstance(value, bool)
            and low <= value <= high)


def _is_list(value, lengths, fits):
    return (isinstance(value, list) and len(value) in lengths
            and all(fits(each) for each in value))


def _integer(low, high):
    return _Field(f'an integer from {low} to {high}',
                  lambda value: _is_integer(value, low, high))


def _number(low, high, *, optional=False):
    return _Field(f'a number from {low} to {high}',
                  lambda value: _is_number(value, low, high), optional)


def _numbers(n):
    return _Field(f'{n} finite numbers',
                  lambda value: _is_list(value, (n,), _is_number))


def _one_of(*values):
    return _Field(f'one of {values}', lambda value: (
        isinstance(value, str) and value in values))


def _increases(values):
    return all(low < high for low, high in pairwise(values))


def _is_component(value):
    return (_is_list(value, (3,), _is_number) and value[0] > 0
            and value[2] > 0)


def _is_source(value):
    return (isinstance(value, dict) and value.keys() == {'name', 'hash'}
            and all(isinstance(each, str) for each in value.values()))


_BOOL = _Field('true or false', lambda value: isinstance(value, bool))
_NAMES = _Field('names of letters, digits and any of ._+-', lambda value: (
    _is_list(value, range(1, 33), lambda each: isinstance(each, str)
             and re.fullmatch('[A-Za-z0-9._+-]{1,40}', each))))
_WIDTHS = _Field(
    f'2 to {_MOST_LEVELS} integers from 1 to {_WIDEST}',
    lambda value: _is_list(value, range(2, _MOST_LEVELS + 1),
                           lambda each: _is_integer(each, 1, _WIDEST)))
_FWHMS = _Field(
    'no number, or 2 to 64 from 0.1 to 1000 that increase',
    lambda value: _is_list(value, (0, *range(2, 65)), lambda each:
                           _is_number(each, 0.1, 1e3)) and _increases(value))
_MIXTURE = _Field(
    '1 to 64 weights, means and widths, weights and widths above 0',
    lambda value: _is_list(value, range(1, 65), _is_component))
_RANGES = _Field(
    'pairs of numbers that increase',
    lambda value: _is_list(value, range(1, 33), lambda each: _is_list(
        each, (2,), _is_number) and _increases(each)))

# Task and configuration of each architecture. What is optional came later.
_CNN = {'outputs': _NAMES, 'ranges': _RANGES}
_POSTERIOR = {
    'width': _integer(1, _WIDEST), 'n_blocks': _integer(0, 64),
    'context': _integer(1, _WIDEST), 'transforms': _integer(1, 32),
    'lower': _numbers(_N_PARAMETERS), 'upper': _numbers(_N_PARAMETERS),
    'integer': _Field(
        f'{_N_PARAMETERS} times true or false',
        lambda value: _is_list(value, (_N_PARAMETERS,), _BOOL.fits)),
    'rank': _Field(f'null, or an integer from 1 to {_WIDEST}',
                   lambda value: value is None
                   or _is_integer(value, 1, _WIDEST))}
_SCHEMAS = {
    'ExpectedCounts': ('denoise', {'widths': _WIDTHS}),
    'BlindSpotDenoiser': ('denoise', {
        'widths': _WIDTHS, 'n_components': _integer(0, 64),
        'top_skip': _BOOL, 'blur_pool': _BOOL, 'noise_mixture': _MIXTURE,
        'calibration_scale': _number(1e-6, 1e6, optional=True)}),
    'CCDDenoiser': ('denoise', {
        'widths': _WIDTHS, 'kernel_fwhms': _FWHMS,
        'lone_pixels': _Field(_BOOL.words, _BOOL.fits, optional=True),
        'calibration_scale': _number(1e-6, 1e6, optional=True),
        'gated': _Field(_BOOL.words, _BOOL.fits, optional=True),
        'shuffle': _Field('2 or 4', lambda value: value in (2, 4)
                          and _is_integer(value, 2, 4), optional=True)}),
    'MixedDenoiser': ('denoise', {'widths': _WIDTHS, 'noises': _NAMES}),
    'PaperAutoencoder': ('denoise', {'n_latent': _integer(1, _WIDEST),
                                     'n_hidden': _integer(1, _WIDEST)}),
    'SourceFinder': ('segment', {'widths': _WIDTHS}),
    'SkySegmenter': ('segment', {'widths': _WIDTHS}),
    'SourceSegmenter': ('segment', {'widths': _WIDTHS,
                                    'kind': _one_of('counts')}),
    'PaperUNet': ('segment', {'widths': _WIDTHS,
                              'dropout': _number(0.0, 1.0)}),
    'SingleOutputCNN': ('estimate', _CNN),
    'MultiOutputCNN': ('estimate', _CNN),
    'PosteriorNetwork': ('estimate', {
        **_POSTERIOR,
        'sources': _Field('null, or name and hash of a model',
                          lambda value: value is None or _is_source(value))}),
    'SkyPosterior': ('estimate', {
        **_POSTERIOR,
        'exposure': _Field(
            'two positive numbers that increase', lambda value: _is_list(
                value, (2,), lambda each: _is_number(each, 1e-6, 1e6))
            and _increases(value)),
        'n_nuisances': _integer(2, 64)})}

# Of the rest, only what is used is looked at.
_METADATA = {
    'summary': _Field('a text', lambda value: isinstance(value, str),
                      optional=True),
    'threshold': _Field('a number from 0 to below 1', lambda value: (
        _is_number(value, 0.0, math.nextafter(1.0, 0.0))), optional=True)}


def check_stated(metadata, architecture, config):
    """
    Refuse metadata and a configuration that no network can have.

    Parameters
    ----------
    metadata : dict
        The metadata.

    architecture : str
        Name of the class.

    config : object
        Its arguments.

    Raises
    ------
    ValueError
        If something is missing, unknown, or not what it must be.

    Examples
    --------
    >>> from astro_denoise.models.schemas import check_stated
    >>> check_stated({'task': 'denoise'}, 'PaperAutoencoder',
    ...              {'n_latent': 6, 'n_hidden': 0})
    Traceback (most recent call last):
    ...
    ValueError: n_hidden must be an integer from 1 to 2048, got 0
    """
    task, fields = _SCHEMAS[architecture]
    if metadata.get('task') != task:
        msg = (f'a network of the class {architecture} must have the task '
               f'{task!r}, got {metadata.get("task")!r:.50}')
        raise ValueError(msg)
    _check_fields(metadata, _METADATA)
    if not isinstance(config, dict):
        msg = f'its configuration must be a dictionary, got {config!r:.50}'
        raise ValueError(msg)  # noqa: TRY004
    for key in config:
        if key not in fields:
            msg = f'its configuration has the unknown {key!r:.50}'
            raise ValueError(msg)
    _check_fields(config, fields)
    for low, high in (('lower', 'upper'), ('outputs', 'ranges')):
        if low in fields and len(config[low]) != len(config[high]):
            msg = (f'{low} and {high} must have the same length, got '
                   f'{len(config[low])} and {len(config[high])}')
            raise ValueError(msg)
    if 'lower' in fields and not all(map(
            _increases, zip(config['lower'], config['upper'], strict=True))):
        msg = (f'lower must be below upper, got {config["lower"]} and '
               f'{config["upper"]}')
        raise ValueError(msg)


def _check_fields(values, fields):
    for key, field in fields.items():
        if key not in values:
            if not field.optional:
                msg = f'{key} is missing: it must be {field.words}'
                raise ValueError(msg)
        elif not field.fits(values[key]):
            msg = f'{key} must be {field.words}, got {values[key]!r:.100}'
            raise ValueError(msg)
