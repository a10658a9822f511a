# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Four kinds of noise on images between 0 and 1.
"""

import numpy as np

__all__ = ['IMAGE_NOISES', 'add_gaussian_noise', 'add_image_noise',
           'add_masked_noise', 'add_poisson_noise', 'add_saltpepper_noise']

#: The kinds of noise, with the amounts of the student project's figures.
IMAGE_NOISES = {'gaussian': 0.2, 'poisson': 1.0, 'masked': 0.5,
                'saltpepper': 0.5}


def _prepare(images, seed):
    """Make a tensor, a generator, and the way back to the type of images."""
    import torch

    tensor = torch.as_tensor(images)
    if not tensor.is_floating_point():
        msg = (f'images must be floating-point numbers, got the type '
               f'{str(tensor.dtype).removeprefix("torch.")}')
        raise TypeError(msg)
    generator = seed
    if not isinstance(seed, torch.Generator):
        generator = torch.Generator(tensor.device)
        if seed is None:
            generator.seed()
        else:
            generator.manual_seed(int(seed))
    if isinstance(images, np.ndarray):
        return tensor, generator, lambda noisy: noisy.numpy()
    return tensor, generator, lambda noisy: noisy


def _uniform(images, generator):
    import torch

    return torch.rand(images.shape, generator=generator, dtype=images.dtype,
                      device=images.device)


def add_gaussian_noise(images, noise_factor=0.1, *, seed=None):
    """
    Add Gaussian noise of one standard deviation; cut at 0 and 1.

    Parameters
    ----------
    images : `~numpy.ndarray` or `torch.Tensor`
        Values between 0 and 1, of any shape.

    noise_factor : float, optional
        The standard deviation.

    seed : int or `torch.Generator`, optional
        Same seed, same noise; a generator to go on drawing from.

    Returns
    -------
    noisy : `~numpy.ndarray` or `torch.Tensor`
        As ``images``, which are not changed.

    Raises
    ------
    TypeError
        If the images are not floating-point numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.simulation import add_gaussian_noise
    >>> noisy = add_gaussian_noise(np.full((64, 64), 0.5), 0.1, seed=1)
    >>> print(f'{noisy.std():.2f}')
    0.10
    """
    import torch

    images, generator, convert = _prepare(images, seed)
    noise = torch.randn(images.shape, generator=generator,
                        dtype=images.dtype, device=images.device)
    return convert((images + noise * noise_factor).clamp(0.0, 1.0))


def add_poisson_noise(images, noise_factor=1.0, *, seed=None):
    """
    Draw counts with the images as their means; cut at 1.

    Parameters
    ----------
    images : `~numpy.ndarray` or `torch.Tensor`
        Values between 0 and 1, of any shape.

    noise_factor : float, optional
        Counts per unit. With 1, results are 0 or 1.

    seed : int or `torch.Generator`, optional
        Same seed, same noise; a generator to go on drawing from.

    Returns
    -------
    noisy : `~numpy.ndarray` or `torch.Tensor`
        As ``images``, which are not changed.

    Raises
    ------
    TypeError, ValueError
        If the images are not floating-point numbers, or are negative,
        or ``noise_factor`` is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.simulation import add_poisson_noise
    >>> noisy = add_poisson_noise(np.full((64, 64), 0.5), seed=1)
    >>> print(np.unique(noisy))
    [0. 1.]
    """
    import torch

    images, generator, convert = _prepare(images, seed)
    if not noise_factor > 0:
        msg = f'noise_factor must be positive, got {noise_factor!r}'
        raise ValueError(msg)
    if not bool((images >= 0).all()):
        msg = 'images must not be negative or NaN for Poisson noise'
        raise ValueError(msg)
    counts = torch.poisson(images * noise_factor, generator=generator)
    return convert((counts / noise_factor).clamp(0.0, 1.0))


def add_masked_noise(images, mask_fraction=0.1, *, seed=None):
    """
    Set pixels to 0 at random.

    Parameters
    ----------
    images : `~numpy.ndarray` or `torch.Tensor`
        Values of any shape.

    mask_fraction : float, optional
        Fraction of the pixels.

    seed : int or `torch.Generator`, optional
        Same seed, same noise; a generator to go on drawing from.

    Returns
    -------
    noisy : `~numpy.ndarray` or `torch.Tensor`
        As ``images``, which are not changed.

    Raises
    ------
    TypeError
        If the images are not floating-point numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.simulation import add_masked_noise
    >>> noisy = add_masked_noise(np.full((64, 64), 0.5), 0.25, seed=1)
    >>> print(0.23 < np.mean(noisy == 0) < 0.27)
    True
    """
    import torch

    images, generator, convert = _prepare(images, seed)
    mask = _uniform(images, generator) <= mask_fraction
    return convert(torch.where(mask, 0.0, images))


def add_saltpepper_noise(images, noise_fraction=0.1, *, seed=None):
    """
    Set pixels to the least or the greatest value of all, at random.

    Parameters
    ----------
    images : `~numpy.ndarray` or `torch.Tensor`
        Values of any shape. The extremes are those of all of them
        together.

    noise_fraction : float, optional
        Fraction of the pixels; half of them get either extreme.

    seed : int or `torch.Generator`, optional
        Same seed, same noise; a generator to go on drawing from.

    Returns
    -------
    noisy : `~numpy.ndarray` or `torch.Tensor`
        As ``images``, which are not changed.

    Raises
    ------
    TypeError
        If the images are not floating-point numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.simulation import add_saltpepper_noise
    >>> image = np.linspace(0, 1, 4096).reshape(64, 64)
    >>> noisy = add_saltpepper_noise(image, 0.5, seed=1)
    >>> print(0.23 < np.mean(noisy == 1) < 0.27)
    True
    """
    import torch

    images, generator, convert = _prepare(images, seed)
    mask = _uniform(images, generator) <= noise_fraction
    salt = torch.randint(0, 2, images.shape, generator=generator,
                         device=images.device).bool()
    extreme = torch.where(salt, images.max(), images.min())
    return convert(torch.where(mask, extreme, images))


_FUNCTIONS = {'gaussian': add_gaussian_noise, 'poisson': add_poisson_noise,
              'masked': add_masked_noise, 'saltpepper': add_saltpepper_noise}


def add_image_noise(images, kind, amount=None, *, seed=None):
    """
    Add noise of a kind given by its name.

    Parameters
    ----------
    images : `~numpy.ndarray` or `torch.Tensor`
        Values between 0 and 1.

    kind : {'gaussian', 'poisson', 'masked', 'saltpepper'}
        The noise.

    amount : float, optional
        Factor or fraction; `None` takes the one in ``IMAGE_NOISES``.

    seed : int or `torch.Generator`, optional
        Same seed, same noise; a generator to go on drawing from.

    Returns
    -------
    noisy : `~numpy.ndarray` or `torch.Tensor`
        As ``images``, which are not changed.

    Raises
    ------
    ValueError
        If there is no such noise.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.simulation import add_image_noise
    >>> noisy = add_image_noise(np.full((64, 64), 0.5), 'masked', seed=1)
    >>> print(0.48 < np.mean(noisy == 0) < 0.52)
    True
    """
    if kind not in _FUNCTIONS:
        msg = f'kind must be one of {sorted(_FUNCTIONS)}, got {kind!r}'
        raise ValueError(msg)
    amount = IMAGE_NOISES[kind] if amount is None else amount
    return _FUNCTIONS[kind](images, amount, seed=seed)
