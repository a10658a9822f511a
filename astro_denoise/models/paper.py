# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The networks of the student project, layer by layer as it lists them.
"""

import torch
from torch import nn

from .block_scores import BlockScores

__all__ = ['MultiOutputCNN', 'PaperAutoencoder', 'PaperUNet',
           'SingleOutputCNN']

# Images that go through a network at once: bounds the memory.
_BATCH = 64

# Slope of leaky rectifiers in Keras, with which the document built its
# U-net, and other settings of its layers.
_KERAS_SLOPE = 0.3
_KERAS_BATCH_NORM = {'eps': 1e-3, 'momentum': 0.01}

# Knots of the error of the autoencoders.
_N_KNOTS = 24


def _in_batches(function, images):
    """Apply a function to images, a few at a time."""
    return torch.cat([function(part) for part in images.split(_BATCH)])


def _convolutions(*plan):
    """
    Chain 3x3 convolutions with rectifiers, and pooling.

    ``plan`` holds the number of channels at the input, then of each
    convolution, a pair where its kernel is of another size, or ``'pool'``.
    """
    layers, n_in = [], plan[0]
    for item in plan[1:]:
        if item == 'pool':
            layers.append(nn.MaxPool2d(2))
            continue
        n_out, size = item if isinstance(item, tuple) else (item, 3)
        layers += [nn.Conv2d(n_in, n_out, size, padding=size // 2),
                   nn.ReLU()]
        n_in = n_out
    return nn.Sequential(*layers)


class _PointCNN(nn.Module):
    """
    A network that answers with one number per parameter.

    Parameters
    ----------
    outputs : sequence of str
        Names of the parameters.

    ranges : sequence of tuple of float
        What is 0 and 1 to the network, for each of them.
    """

    def __init__(self, outputs, ranges):
        super().__init__()
        if len(outputs) != len(ranges):
            msg = (f'outputs and ranges must be of one length, got '
                   f'{len(outputs)} and {len(ranges)}')
            raise ValueError(msg)
        self.outputs = tuple(outputs)
        self.config = {'outputs': list(outputs),
                       'ranges': [list(map(float, pair)) for pair in ranges]}
        lower, upper = zip(*self.config['ranges'], strict=True)
        self.register_buffer('lower', torch.tensor(lower))
        self.register_buffer('upper', torch.tensor(upper))

    def scale(self, values):
        """
        Bring parameters to the scale of the network.

        Parameters
        ----------
        values : `torch.Tensor`
            Shape (n, k), the parameters in the order of ``outputs``.

        Returns
        -------
        scaled : `torch.Tensor`
            Same shape, 0 to 1 over the prior.
        """
        return (values - self.lower) / (self.upper - self.lower)

    def point_values(self, counts):
        """
        Estimate parameters.

        Parameters
        ----------
        counts : `torch.Tensor`
            Images, shape (n, 64, 64).

        Returns
        -------
        values : `torch.Tensor`
            Shape (n, k), the parameters in the order of ``outputs``, in
            their own units.
        """
        with torch.no_grad():
            scaled = _in_batches(self, counts[:, None])
        return self.lower + (self.upper - self.lower) * scaled


class SingleOutputCNN(_PointCNN):
    """
    The document's network for one parameter, of 1,447,393 weights.

    Its input are counts as they are: dividing an image by its maximum
    would lose what there is to be measured.

    Parameters
    ----------
    outputs : sequence of str, optional
        Name of the parameter.

    ranges : sequence of tuple of float, optional
        Its range in the prior.
    """

    def __init__(self, outputs=('a_dm',), ranges=((0.0, 1.0),)):
        super().__init__(outputs, ranges)
        self.convolutions = _convolutions(
            1, 32, 64, 'pool', 128, 128, 'pool', 64, 'pool', 32)
        self.dense = nn.Sequential(
            nn.Linear(2048, 512), nn.ReLU(), nn.Linear(512, 128), nn.ReLU(),
            nn.Linear(128, len(self.outputs)))

    def forward(self, counts):
        """
        Estimate parameters on the scale of the network.

        Parameters
        ----------
        counts : `torch.Tensor`
            Shape (n, 1, 64, 64).

        Returns
        -------
        scaled : `torch.Tensor`
            Shape (n, k).
        """
        return self.dense(self.convolutions(counts).flatten(1))


class MultiOutputCNN(_PointCNN):
    """
    The document's network for several parameters.

    It has 400,658 weights with two outputs.

    Parameters
    ----------
    outputs : sequence of str, optional
        Names of the parameters.

    ranges : sequence of tuple of float, optional
        Their ranges in the prior.
    """

    def __init__(self, outputs=('a_dm', 'n_ps_total'),
                 ranges=((0.0, 1.0), (1200.0, 4800.0))):
        super().__init__(outputs, ranges)
        self.convolutions = _convolutions(
            1, 16, 32, 'pool', 64, 128, 'pool', 128, 32, 'pool', (32, 5),
            (32, 5), 'pool')
        self.dense = nn.Sequential(nn.Linear(512, 128), nn.ReLU(),
                                   nn.Linear(128, 16), nn.ReLU())
        self.heads = nn.ModuleList(nn.Linear(16, 1) for _ in self.outputs)

    def forward(self, counts):
        """
        Estimate parameters on the scale of the network.

        Parameters
        ----------
        counts : `torch.Tensor`
            Shape (n, 1, 64, 64).

        Returns
        -------
        scaled : `torch.Tensor`
            Shape (n, k).
        """
        features = self.dense(self.convolutions(counts).flatten(1))
        return torch.cat([head(features) for head in self.heads], 1)


class PaperUNet(nn.Module):
    """
    The document's U-net for the pixels that hold point sources.

    Two convolutions with dropout between them, batch normalization and
    leaky rectifiers in each of four blocks, a bridge, and four transposed
    convolutions with skip connections. Convolutions of encoder and bridge
    have leaky rectifiers of their own, as its text says.

    Parameters
    ----------
    widths : sequence of int, optional
        Channels of the blocks; the last are those of the bridge.

    dropout : float, optional
        Fraction of the values dropped. The document does not name it.
    """

    def __init__(self, widths=(8, 16, 32, 64, 128), dropout=0.1):
        super().__init__()
        self.config = {'widths': list(widths), 'dropout': dropout}
        *blocks, bridge = widths

        def activation():
            return nn.LeakyReLU(_KERAS_SLOPE)

        def normalized(n_channels):
            return [nn.BatchNorm2d(n_channels, **_KERAS_BATCH_NORM),
                    activation()]

        self.encoders = nn.ModuleList()
        n_in = 1
        for width in blocks:
            self.encoders.append(nn.Sequential(
                nn.Conv2d(n_in, width, 3, padding=1), activation(),
                nn.Dropout(dropout),
                nn.Conv2d(width, width, 3, padding=1), activation(),
                *normalized(width)))
            n_in = width
        self.bridge = nn.Sequential(
            nn.Conv2d(n_in, bridge, 3, padding=1), activation(),
            *normalized(bridge), nn.Dropout(dropout),
            nn.Conv2d(bridge, bridge, 3, padding=1), activation())
        self.upward, self.decoders = nn.ModuleList(), nn.ModuleList()
        n_in = bridge
        for width in reversed(blocks):
            self.upward.append(nn.ConvTranspose2d(
                n_in, width, 3, stride=2, padding=1, output_padding=1))
            self.decoders.append(nn.Sequential(*normalized(2 * width)))
            n_in = 2 * width
        self.head = nn.Conv2d(n_in, 1, 1)
        for layer in self.modules():  # as Keras begins
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)

    @property
    def stride(self):
        """Sides of an image must be multiples of this many pixels."""
        return 2**len(self.encoders)

    def forward(self, images):
        """
        Compute logits, of which the sigmoid makes probabilities.

        Parameters
        ----------
        images : `torch.Tensor`
            Shape (n, 1, ny, nx), each divided by its maximum.

        Returns
        -------
        logits : `torch.Tensor`
            Same shape.
        """
        skips = []
        for encoder in self.encoders:
            images = encoder(images)
            skips.append(images)
            images = nn.functional.max_pool2d(images, 2)
        images = self.bridge(images)
        for upward, decoder in zip(self.upward, self.decoders, strict=True):
            images = decoder(torch.cat([upward(images), skips.pop()], 1))
        return self.head(images)

    def probabilities(self, counts):
        """
        Make the map of what the document calls probabilities.

        Parameters
        ----------
        counts : `torch.Tensor`
            Images, shape (n, ny, nx), sides multiples of 16.

        Returns
        -------
        probabilities : `torch.Tensor`
            Same shape, 0 to 1. Trained towards the flux of each pixel
            over the largest of the image, they are small: the document
            cuts at 0.02.

        Raises
        ------
        ValueError
            If the sides are no multiples of 16.
        """
        if any(size % self.stride for size in counts.shape[-2:]):
            msg = (f'counts must have sides that are multiples of '
                   f'{self.stride}, got {tuple(counts.shape)}')
            raise ValueError(msg)
        scaled, _ = divide_by_maximum(counts)
        with torch.no_grad():
            return torch.sigmoid(
                _in_batches(self, scaled[:, None])[:, 0])


class PaperAutoencoder(nn.Module):
    """
    The document's denoising autoencoder.

    Its listing gives the encoder; the decoder is its mirror image,
    without a sigmoid at the end.

    Parameters
    ----------
    n_latent : int, optional
        Numbers that an image is squeezed into.

    n_hidden : int, optional
        Width of the layer before. The document does not name it.
    """

    def __init__(self, n_latent=6, n_hidden=128):
        super().__init__()
        self.config = {'n_latent': n_latent, 'n_hidden': n_hidden}
        self.encoder = nn.Sequential()
        plan = [(1, 8, 2), (8, 16, 2), (16, 16, 2), (16, 32, 2),
                (32, 64, 1), (64, 64, 1)]
        for n_in, n_out, stride in plan:
            self.encoder.extend([
                nn.Conv2d(n_in, n_out, 3, stride=stride, padding=1),
                nn.BatchNorm2d(n_out), nn.LeakyReLU(inplace=True)])
        self.squeeze = nn.Sequential(
            nn.Linear(1024, n_hidden), nn.LeakyReLU(inplace=True),
            nn.Linear(n_hidden, n_latent), nn.LeakyReLU(inplace=True))
        self.expand = nn.Sequential(
            nn.Linear(n_latent, n_hidden), nn.LeakyReLU(inplace=True),
            nn.Linear(n_hidden, 1024), nn.LeakyReLU(inplace=True))
        self.decoder = nn.Sequential()
        for n_out, n_in, stride in reversed(plan):
            self.decoder.append(nn.ConvTranspose2d(
                n_in, n_out, 3, stride=stride, padding=1,
                output_padding=stride - 1))
            if n_out > 1:
                self.decoder.extend([nn.BatchNorm2d(n_out),
                                     nn.LeakyReLU(inplace=True)])
        # Error of an output pixel, interpolated in its value.
        self.register_buffer('error_levels',
                             torch.linspace(0.0, 1.0, _N_KNOTS))
        self.register_buffer('error_values', torch.zeros(_N_KNOTS))
        self.scores = BlockScores()

    def forward(self, images):
        """
        Denoise images of the scale of the network.

        Parameters
        ----------
        images : `torch.Tensor`
            Shape (n, 1, 64, 64), 0 to 1.

        Returns
        -------
        denoised : `torch.Tensor`
            Same shape.
        """
        latent = self.squeeze(self.encoder(images).flatten(1))
        return self.decoder(self.expand(latent).reshape(-1, 64, 4, 4))

    def ood_score(self, values, valid):
        """
        Measure how unlike the training set images are.

        Parameters
        ----------
        values, valid : `torch.Tensor`
            Shape (n, 64, 64).

        Returns
        -------
        score : `torch.Tensor`
            Shape (n,), about 1 for images like those.
        """
        return self.scores(values, valid)

    @property
    def ood_threshold(self):
        """Score that hardly any image of the training set exceeds."""
        return float(self.scores.threshold)

    def calibrate(self, noisy, clean):
        """
        Measure the error of the output, for `denoise_images` to state, and
        learn how images look.

        Parameters
        ----------
        noisy, clean : `torch.Tensor`
            Images that were not trained on, shape (n, 64, 64), on the
            scale of the network. As many output pixels go into each knot
            of the table.
        """
        self.scores.learn(noisy, torch.ones_like(noisy))
        with torch.no_grad():
            output = _in_batches(self, noisy[:, None])[:, 0]
        order = output.flatten().argsort()
        squared = (output - clean).flatten()[order].square()
        output = output.flatten()[order]
        self.error_levels.copy_(torch.stack([
            part.mean() for part in output.tensor_split(_N_KNOTS)]))
        self.error_values.copy_(torch.stack([
            part.mean().sqrt() for part in squared.tensor_split(_N_KNOTS)]))

    def denoise_images(self, values, valid):
        """
        Denoise images of any scale.

        Parameters
        ----------
        values : `torch.Tensor`
            Shape (n, 64, 64).

        valid : `torch.Tensor`
            Same shape: true where a pixel is good. The others are set to
            0 before the network sees them.

        Returns
        -------
        denoised, error : `torch.Tensor`
            Same shape: the result, and its root mean square error as it
            was on simulated images, for its value.
        """
        values = torch.where(valid.bool(), values, 0.0)
        scaled, maximum = divide_by_maximum(values)
        with torch.no_grad():
            denoised = _in_batches(self, scaled[:, None])[:, 0]
        upper = torch.searchsorted(
            self.error_levels, denoised.contiguous()).clamp(1, _N_KNOTS - 1)
        left, right = self.error_levels[upper - 1], self.error_levels[upper]
        weight = ((denoised - left) / (right - left)).clamp(0.0, 1.0)
        error = torch.lerp(self.error_values[upper - 1],
                           self.error_values[upper], weight)
        return denoised * maximum, error * maximum


def divide_by_maximum(images):
    """
    Normalize images as the document does.

    Parameters
    ----------
    images : `torch.Tensor`
        Shape (n, ny, nx).

    Returns
    -------
    scaled : `torch.Tensor`
        Each image divided by its maximum; unchanged if that is not
        positive.

    maximum : `torch.Tensor`
        What it was divided by, shape (n, 1, 1).
    """
    maximum = images.amax((1, 2), keepdim=True)
    maximum = torch.where(maximum > 0, maximum, 1.0)
    return images / maximum, maximum
