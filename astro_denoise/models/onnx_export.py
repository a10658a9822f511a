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
from .registry import load_model

__all__ = ['INPUTS', 'OUTPUTS', 'export_onnx', 'exported_program']

#: Names of the tensors that go in and come out.
INPUTS = ('x', 'log_sigma', 'valid', 'context')
OUTPUTS = ('noise', 'log_variance')

_LARGEST = 4096  # strides per side


def exported_program(network):
    """
    Export a network for CCD frames to a graph of torch.

    Parameters
    ----------
    network : `~astro_denoise.models.denoiser.CCDDenoiser`
        The network, in evaluation mode.

    Returns
    -------
    program : `torch.export.ExportedProgram`
        One image of any height and width that are multiples of the stride
        of the network.
    """
    side = 4 * network.stride
    # tensors of their own: one given twice would be one input
    planes = [torch.full((1, 1, side, side + network.stride), value)
              for value in (0.0, 0.0, 1.0)]
    rows, columns = (torch.export.Dim(name, min=2, max=_LARGEST)
                     for name in ('rows', 'columns'))
    shape = {2: network.stride * rows, 3: network.stride * columns}
    with torch.no_grad():
        return torch.export.export(
            network, (*planes, torch.zeros(1, 2)),
            dynamic_shapes=(shape, shape, shape, {}), strict=False)


def export_onnx(model, path, *, overwrite=False):
    """
    Write a model for CCD frames as an ONNX file.

    Parameters
    ----------
    model : str, path-like or `~astro_denoise.models.Model`
        A model such as ``'ccd'``.

    path : path-like
        The ``.onnx`` file.

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
        If the model has a network of another kind.

    ValueError
        If there is no such model, or ``path`` has another ending.

    OSError
        If the file exists, or cannot be written.

    Notes
    -----
    It needs PyTorch 2.7 or newer. The tensors are ``x``, ``log_sigma``,
    ``valid`` and ``context``, and come back as ``noise`` and
    ``log_variance``. ``x``, of shape (1, 1, ny, nx), is the frame less its
    background over its noise; ``log_sigma`` is the logarithm of the noise
    over that of the blank sky, ``valid`` is 1 for pixels that count, and 0
    elsewhere, where the others
    are 0 too; sides are multiples of 16. ``context``, of shape (1, 2), is
    the logarithm of the full width at half maximum of the point-spread
    function over 3.5 pixels, and 1; or two zeros where it is unknown.
    ``x - noise`` is the denoised frame in the same units, and
    ``log_variance`` the logarithm of the variance of its error. Noise,
    background and seeing are what `~astro_denoise.denoise` measures.

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
    model = load_model(model, task='denoise')
    if not isinstance(model.network, CCDDenoiser):
        msg = (f'model must have a network for CCD frames, got {model.name!r} '
               f'with a {type(model.network).__name__}')
        raise TypeError(msg)
    with _quiet():
        program = torch.onnx.export(
            exported_program(model.network), dynamo=True, verbose=False,
            input_names=list(INPUTS), output_names=list(OUTPUTS))
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
