# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Network for point sources anywhere in the pixels of real gamma-ray skies.
"""

import torch

from .galactic_center import SourceSegmenter
from .layers import box_sum

__all__ = ['KNOTS', 'SkySegmenter']

#: Logarithms (base 2) of the flux in 3x3 pixels over its error between which
#: fluxes and errors are calibrated.
KNOTS = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0)


class SkySegmenter(SourceSegmenter):
    """
    Find point sources that stand out, wherever in a pixel they are.

    Of a source between pixels nobody can tell in which it is: the answers
    of each, which are means over what is not known, share it out among
    them, and their sums over 3x3 pixels are those of the source. The error
    of the flux in such a sum is an answer of its own.

    Parameters
    ----------
    widths : tuple of int, optional
        Channels of the levels, from half resolution downwards.
    """

    _HEADS = (*SourceSegmenter._HEADS, 'near_log_variance')

    def __init__(self, widths=(40, 80, 112)):
        super().__init__(widths)
        del self.config['kind']
        # Factors of fluxes and of their errors at the knots.
        for name in ('flux_factors', 'error_factors'):
            self.register_buffer(name, torch.ones(len(KNOTS)))

    @property
    def kind(self):
        """Kind of the images: ``'counts'``."""
        return 'counts'

    def answered(self, answer, scale):
        """
        Turn the answer of `described` into that of `forward`.

        Parameters
        ----------
        answer : dict of `torch.Tensor`
            From `described`.

        scale : `torch.Tensor`
            The noise there.

        Returns
        -------
        answer : dict of `torch.Tensor`
            As of `forward`, and ``near_log_variance``: of the flux in the
            pixel and those around it.
        """
        answer = super().answered(answer, scale)
        with torch.autocast(scale.device.type, enabled=False):
            answer['near_log_variance'] = answer['near_log_variance'].clamp(
                -12.0, 12.0) + 2.0 * torch.log(scale)
            if not self.training:
                self._calibrate(answer)
        return answer

    def _calibrate(self, answer):
        """Correct fluxes and errors, in place."""
        flux, error = self.factors(self.near_snr(answer))
        answer['flux'] = answer['flux'] * flux
        factor = 2.0 * torch.log(flux * error)
        for name in ('log_variance', 'near_log_variance'):
            answer[name] = answer[name] + factor

    @staticmethod
    def near_snr(answer):
        """
        Compute the flux in 3x3 pixels over its error.

        Parameters
        ----------
        answer : dict of `torch.Tensor`
            Not calibrated.

        Returns
        -------
        snr : `torch.Tensor`
            Shape (n, 1, ny, nx).
        """
        return box_sum(answer['flux'], 3) * torch.exp(
            -0.5 * answer['near_log_variance'])

    def factors(self, snr):
        """
        Interpolate the factors of fluxes and of their errors.

        Parameters
        ----------
        snr : `torch.Tensor`
            Of `near_snr`.

        Returns
        -------
        flux, error : `torch.Tensor`
            Same shape.
        """
        hats = self.hats(snr)
        return hats @ self.flux_factors, hats @ self.error_factors

    @staticmethod
    def hats(snr):
        """
        Compute the weights of the knots in a linear interpolation.

        Parameters
        ----------
        snr : `torch.Tensor`
            Of `near_snr`.

        Returns
        -------
        hats : `torch.Tensor`
            Shape (..., 7).
        """
        # ONNX has no search: the knots are 1 apart.
        place = torch.log2(snr.clamp_min(1.0)).clamp_max(KNOTS[-1])
        return torch.stack([(1.0 - (place - knot).abs()).clamp_min(0.0)
                            for knot in KNOTS], -1)
