# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The image that a posterior predicts, beside the one that it was made of.
"""

from dataclasses import dataclass

import numpy as np

from .core import check_integers, model_images

__all__ = ['PredictedImage', 'predict_image']


@dataclass(eq=False)
class PredictedImage:
    """
    An image of counts and what its posterior predicts for it.

    Attributes
    ----------
    counts : 2D `~numpy.ndarray`
        The image on the grid of the models, shape (64, 64); 0 where it is
        masked.

    valid : 2D bool `~numpy.ndarray`
        Pixels that were used.

    mean : 2D `~numpy.ndarray`
        Mean of the predicted counts.

    scatter : 2D `~numpy.ndarray`
        Standard deviation of the predicted counts, their Poisson noise
        included.

    Examples
    --------
    >>> from astro_denoise.data import load_fermi_map
    >>> from astro_denoise.estimation import predict_image
    >>> predicted = predict_image(load_fermi_map(), seed=1, n_images=20)
    >>> predicted.pull.shape
    (64, 64)
    """

    counts: np.ndarray
    valid: np.ndarray
    mean: np.ndarray
    scatter: np.ndarray

    @property
    def pull(self):
        """Residual over the predicted scatter; NaN where masked."""
        return np.where(self.valid, (self.counts - self.mean) / self.scatter,
                        np.nan)


def predict_image(image, model='galactic-sky', *, exposure=None, mask=None,
                  n_images=100, device=None, seed=None):
    """
    Predict an image of counts from its own posterior.

    Parameters of the posterior, with the nuisances that go with them, are
    given to the simulator. Where the image differs from what comes out,
    the model does not describe it. For ``'galactic-sky'``, layers along the
    Galactic plane and ripples are not inferred but drawn anew: there mean
    and scatter are those of what may be.

    Parameters
    ----------
    image, model, exposure, mask : optional
        As for `~astro_denoise.estimate_parameters`; one image, and a model
        with samples.

    n_images : int, optional
        Number of images that are simulated, at least 2.

    device, seed : optional
        As for `~astro_denoise.estimate_parameters`.

    Returns
    -------
    predicted : `PredictedImage`
        The image, and mean and scatter of those simulated.

    Raises
    ------
    TypeError, ValueError
        If an argument is not what it should be; the message names it.

    See Also
    --------
    astro_denoise.estimation.plot_predictive : Plot the result.

    Examples
    --------
    >>> from astro_denoise.data import load_fermi_map
    >>> from astro_denoise.estimation import predict_image
    >>> predicted = predict_image(load_fermi_map(), exposure=1.0, seed=1,
    ...                           n_images=20)
    >>> predicted.mean.shape
    (64, 64)
    """
    # torch is slow to import: not before it is needed.
    import torch

    from ..inference.devices import Runtime
    from ..inference.predictive import predict_images
    from ..inference.shield import shielded
    from ..models.registry import load_model

    check_integers(n_images=n_images, seed=seed)
    if n_images < 2:
        msg = f'n_images must be at least 2, got {n_images}'
        raise ValueError(msg)
    with shielded(), torch.inference_mode():
        model = load_model(model, task='estimate')
        if not hasattr(model.network, 'simulated'):
            msg = (f'model must be one with samples of the posterior, got '
                   f'{model.name!r}')
            raise ValueError(msg)
        runtime = Runtime.resolve(device)
        images = model_images(image, mask, exposure, model)
        if len(images.counts) != 1:
            msg = f'image must be a single one, got {len(images.counts)}'
            raise ValueError(msg)
        network = runtime.place(model.network)
        if seed is None:
            seed = int(np.random.SeedSequence().entropy % 2**62)
        rng = torch.Generator(runtime.device)
        rng.manual_seed(seed)
        tensor, options = images.tensors(0, runtime.device)
        context = network.embed(tensor, **options)
        samples = network.sampled(context, n_images, rng)[0]
        drawn = predict_images(network, samples, seed, context=context,
                               rng=rng)
        return PredictedImage(
            images.counts[0], images.valid[0],
            drawn.expected.mean(0).cpu().numpy(),
            drawn.images.std(0).clamp_min(1e-3).cpu().numpy())
