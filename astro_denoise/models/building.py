# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Build a network around weights that are there already.

Nothing is drawn at random and no memory is taken for weights before they
are known to fit.
"""

import contextlib

import torch
from torch.overrides import TorchFunctionMode

__all__ = ['build_network', 'check_finite', 'unaffected']


class _Unfilled(TorchFunctionMode):
    """
    Give memory that is to be filled later, as that of weights, no place.

    What is made with values, the grids of a network for instance, is made
    as always.
    """

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function is torch.empty:
            kwargs = {**kwargs, 'device': 'meta'}
        return function(*args, **kwargs)


@contextlib.contextmanager
def unaffected():
    """
    Read and build on the processor, whatever torch is set to.

    Unlike `~astro_denoise.inference.shielded`, which the verbs use, it
    changes nothing for other threads; so the default type stays.
    """
    with (torch.device('cpu'), torch.inference_mode(mode=False),
          torch.no_grad()):
        yield


def build_network(network_class, config, tensors):
    """
    Build a network that has the weights of a file.

    Parameters
    ----------
    network_class : type
        Class of the network.

    config : dict
        Its arguments.

    tensors : dict of str to `torch.Tensor`
        Weights and buffers by their names.

    Returns
    -------
    network : `torch.nn.Module`
        The network, in single precision.

    Raises
    ------
    ValueError
        If the tensors are not those of the network: other names, shapes
        or kinds of numbers, or numbers that are not finite.
    """
    with unaffected():
        with _Unfilled():
            network = network_class(**config)
        expected = network.state_dict()
        _check_fit(expected, tensors)
        check_finite(tensors, expected)
        network.load_state_dict(
            {name: tensor.to(torch.float32 if tensor.is_floating_point()
                             else expected[name].dtype)
             for name, tensor in tensors.items()}, assign=True)
        # Whatever the default type is, or the layout in the file.
        network.float().to(memory_format=torch.channels_last)
    # As it was stored: options that came later change no hash.
    network.config = config
    return network


def _check_fit(expected, tensors):
    """
    Raise ValueError unless tensors are those that a network has.
    """
    for wrong, names in (('Missing', expected.keys() - tensors.keys()),
                         ('Unknown', tensors.keys() - expected.keys())):
        if names:
            msg = f'{wrong} weights {sorted(names)[:3]!r:.200}'
            raise ValueError(msg)
    for name, tensor in tensors.items():
        wanted = expected[name]
        if tensor.shape != wanted.shape:
            msg = (f'{name} must have the shape {tuple(wanted.shape)}, got '
                   f'{tuple(tensor.shape)}')
            raise ValueError(msg)
        if not _same_kind(tensor, wanted):
            msg = (f'{name} must be of a type like {wanted.dtype}, got '
                   f'{tensor.dtype}')
            raise ValueError(msg)


def _same_kind(tensor, wanted):
    """Tell whether both hold floating-point numbers, or the same type."""
    if wanted.is_floating_point():
        return tensor.is_floating_point()
    return tensor.dtype == wanted.dtype


def check_finite(tensors, defaults):
    """
    Refuse weights that are not finite, unless a new network has the same.

    Parameters
    ----------
    tensors : dict of str to `torch.Tensor`
        Weights and buffers.

    defaults : dict of str to `torch.Tensor`
        Those of a new network; none, or some on the device ``'meta'``,
        where they do not matter.

    Raises
    ------
    ValueError
        If there are some.

    Examples
    --------
    >>> import torch
    >>> from astro_denoise.models.building import check_finite
    >>> check_finite({'bias': torch.tensor([1.0, torch.nan])}, {})
    Traceback (most recent call last):
    ...
    ValueError: the weights 'bias' are not finite
    """
    for name, tensor in tensors.items():
        default = defaults.get(name)
        known = not (default is None or default.is_meta) and torch.equal(
            tensor.double(), default.cpu().double())
        if not known and not torch.isfinite(tensor).all():
            msg = f'the weights {name!r} are not finite'
            raise ValueError(msg)
