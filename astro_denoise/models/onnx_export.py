# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Export a network so that programs without torch can run it.
"""

import contextlib
import logging
import warnings

import torch

from ..exceptions import needs_extra
from ..io.output import atomic_output, check_output
from .denoiser import CCDDenoiser
from .galactic_center import SourceSegmenter
from .registry import load_model
from .sky_segmenter import SkySegmenter
from .source_finder import HEADS, SourceFinder

__all__ = ['export_onnx', 'exported_program', 'graph_of']

# What segmenters of counts say.
_COUNTS = 'logit', 'flux', 'log_variance', 'dx', 'dy'

# Names of the tensors that go in and come out, by network.
_GRAPHS = {
    CCDDenoiser: (('x', 'log_sigma', 'valid', 'context'),
                  ('noise', 'log_variance')),
    SourceFinder: (('image', 'valid', 'context'), HEADS),
    SourceSegmenter: (('image', 'valid', 'position'), _COUNTS),
    SkySegmenter: (('image', 'valid', 'position'),
                   (*_COUNTS, 'near_log_variance'))}

# Planes of what is no image.
_N_PLANES = {'position': 3}

_LARGEST = 4096  # strides per side


class _Named(torch.nn.Module):
    """A network whose answers come in order, not by name."""

    def __init__(self, network, outputs):
        super().__init__()
        self.network = network
        self.outputs = outputs

    def forward(self, *planes):
        """Answer in the order of the names."""
        answer = self.network(*planes)
        if isinstance(answer, dict):
            answer = tuple(answer[name] for name in self.outputs)
        return answer


def graph_of(network):
    """
    Name what goes into a network and comes out.

    Parameters
    ----------
    network : `torch.nn.Module`
        The network.

    Returns
    -------
    inputs, outputs : tuple of str
        Names of the tensors, in order.

    Raises
    ------
    TypeError
        If it is a network of a kind that is not exported.
    """
    try:
        return _GRAPHS[type(network)]
    except KeyError:
        kinds = ', '.join(kind.__name__ for kind in _GRAPHS)
        msg = (f'model must have one of the networks {kinds}, got a '
               f'{type(network).__name__}')
        raise TypeError(msg) from None


def exported_program(network):
    """
    Export a network to a graph of torch.

    Parameters
    ----------
    network : `torch.nn.Module`
        The network, in evaluation mode, of a kind that `graph_of` knows.

    Returns
    -------
    program : `torch.export.ExportedProgram`
        One image of any height and width that are multiples of the stride
        of the network. What comes out is a tuple.
    """
    inputs, outputs = graph_of(network)
    side = 4 * network.stride
    rows, columns = (torch.export.Dim(name, min=2, max=_LARGEST)
                     for name in ('rows', 'columns'))
    given, shapes = [], []
    for name in inputs:
        if name == 'context':
            given.append(torch.zeros(1, 2))
            shapes.append({})
            continue
        # tensors of their own: one given twice would be one input
        given.append(torch.full(
            (1, _N_PLANES.get(name, 1), side, side + network.stride),
            float(name == 'valid')))
        shapes.append({2: network.stride * rows, 3: network.stride * columns})
    with torch.no_grad():
        return torch.export.export(
            _Named(network, outputs), tuple(given),
            dynamic_shapes=(tuple(shapes),), strict=False)


def export_onnx(model, path, *, task=None, overwrite=False):
    """
    Write a denoiser of CCD frames or a finder of sources as an ONNX file.

    Parameters
    ----------
    model : str, path-like or `~astro_denoise.models.Model`
        A model such as ``'ccd'``.

    path : path-like
        The ``.onnx`` file.

    task : {'denoise', 'segment'}, optional
        What the model must be for, see `~astro_denoise.load_model`.

    overwrite : bool, optional
        Whether to replace a file that exists.

    Returns
    -------
    path : `~pathlib.Path`
        The file.

    Raises
    ------
    ModuleNotFoundError
        If onnx or onnxscript is not installed.

    TypeError
        If the model has a network of a kind that is not exported.

    ValueError
        If there is no such model, or ``path`` has another ending.

    OSError
        If the file exists, or cannot be written.

    Notes
    -----
    It needs PyTorch 2.7 or newer. The sides of images are multiples of the
    stride of the network, 16 for denoisers and 8 for finders of sources;
    ``valid`` is 1 for pixels that count, and 0 elsewhere, where the other
    planes are 0 too. The numbers are those of torch up to rounding, 1e-4 of
    ``log_variance`` and 1e-5 of all others.

    The tensors of a denoiser are ``x``, ``log_sigma``, ``valid`` and
    ``context``, and come back as ``noise`` and ``log_variance``. ``x``, of
    shape (1, 1, ny, nx), is the frame less its background over its noise;
    ``log_sigma`` is the logarithm of the noise over that of the blank sky.
    ``context``, of shape (1, 2), is the
    logarithm of the full width at half maximum of the point-spread function
    over 3.5 pixels, and 1; or two zeros where it is unknown.
    ``x - noise`` is the denoised frame in the same units, and
    ``log_variance`` the logarithm of the variance of its error. Noise,
    background and seeing are what `~astro_denoise.denoise` measures.

    Those of ``ccd-sources`` are ``image``, the same as ``x``, ``valid`` and
    ``context``; for each pixel there come back the logits ``center`` (of a
    source), ``star`` and ``artefact``, and the offset ``dx``, ``dy`` of the
    center of the nearest source. Those of the segmenters of counts are
    ``image``, ``valid`` and ``position``, three planes: Galactic longitude
    and latitude over 15 degrees and 1, or 0 where unknown; there come back
    the ``logit`` of a source in the pixel, its ``flux`` with the
    ``log_variance`` of that, the offset, and from ``galactic-sky`` the
    ``near_log_variance`` of the flux in 3x3 pixels. Candidates, their
    probabilities and the catalog are made of them by
    `~astro_denoise.segment_point_sources`.

    Examples
    --------
    >>> from astro_denoise.models import export_onnx
    >>> path = export_onnx('ccd', 'ccd.onnx')  # doctest: +SKIP
    """
    path = check_output(path, name='path', endings=('.onnx',),
                        overwrite=overwrite)
    with needs_extra('onnx', 'to export a model'):
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    network = load_model(model, task=task).network
    inputs, outputs = graph_of(network)
    with _quiet():
        program = torch.onnx.export(
            exported_program(network), dynamo=True, verbose=False,
            input_names=list(inputs), output_names=list(outputs))
    with atomic_output(path, overwrite=overwrite) as temporary:
        program.save(temporary)
    return path


@contextlib.contextmanager
def _quiet():
    """
    Keep from the user what the exporter says to its developers.
    """
    logger = logging.getLogger('torch.onnx')
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        logger.setLevel(level)
