"""The two networks that train.py trains and exports, and that sample.py runs: a small UNet for digits, and a policy for plans."""
import math

import torch
from torch import nn
from torch.nn import functional

NO_CLASS = 10  # the label of a digit whose class is not given; the classes are 0 to 9


def waves(t, frequencies=16):
    """Cosines and sines of the time t [N], as [N, 2 frequencies]."""
    phase = t.float().unsqueeze(1) * torch.exp(torch.arange(frequencies) * (-math.log(1000.0) / frequencies))
    return torch.cat([phase.cos(), phase.sin()], 1)


def zero(layer):
    """Sets a layer to 0. The last layer of each branch starts at 0, so that a new residual block is the identity."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class Block(nn.Module):
    """Two convolutions, of images (convolution = nn.Conv2d) or of sequences (nn.Conv1d), shifted by an embedding."""

    def __init__(self, convolution, width_in, width, embedding, size=3):
        super().__init__()
        self.norm_1, self.norm_2 = nn.GroupNorm(4, width_in), nn.GroupNorm(4, width)
        self.convolution_1 = convolution(width_in, width, size, padding=size // 2)
        self.convolution_2 = zero(convolution(width, width, size, padding=size // 2))
        self.embedding = nn.Linear(embedding, width)
        self.skip = convolution(width_in, width, 1) if width_in != width else nn.Identity()

    def forward(self, x, embedding):
        h = self.convolution_1(functional.silu(self.norm_1(x)))
        shift = self.embedding(embedding)
        h = h + shift.reshape(shift.shape + (1,) * (h.dim() - 2))
        return self.skip(x) + self.convolution_2(functional.silu(self.norm_2(h)))


class DigitUNet(nn.Module):
    """Predicts v = alpha eps - sigma x_0 of noisy digits [N, 1, 8, 8] from timesteps [N] and class labels [N]."""

    def __init__(self, width=32, embedding=64):
        super().__init__()
        self.time = nn.Linear(32, embedding)
        self.label = nn.Embedding(NO_CLASS + 1, embedding)
        self.first = nn.Conv2d(1, width, 3, padding=1)
        self.high = Block(nn.Conv2d, width, width, embedding)
        self.down = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.low = Block(nn.Conv2d, 2 * width, 2 * width, embedding)
        self.up = nn.Conv2d(2 * width, width, 1)
        self.join = Block(nn.Conv2d, 2 * width, width, embedding)
        self.norm = nn.GroupNorm(4, width)
        self.last = zero(nn.Conv2d(width, 1, 3, padding=1))

    def forward(self, sample, timestep, class_labels):
        embedding = functional.silu(self.time(waves(timestep)) + self.label(class_labels))
        high = self.high(self.first(sample), embedding)
        low = self.low(self.down(high), embedding)
        low = functional.interpolate(self.up(low), scale_factor=2.0, mode="nearest")
        return self.last(functional.silu(self.norm(self.join(torch.cat([high, low], 1), embedding))))


class Policy(nn.Module):
    """Predicts the noise of plans [N, 16, 7] from timesteps [N] and the observation [N, 14]: the joints now, and at the goal."""

    def __init__(self, width=48, embedding=64):
        super().__init__()
        self.time, self.observation = nn.Linear(32, embedding), nn.Linear(14, embedding)
        self.first = nn.Conv1d(7, width, 5, padding=2)
        self.middle = nn.ModuleList([Block(nn.Conv1d, width, width, embedding, size=5) for _ in range(5)])
        self.norm = nn.GroupNorm(4, width)
        self.last = zero(nn.Conv1d(width, 7, 5, padding=2))

    def forward(self, sample, timestep, observation):
        embedding = functional.silu(self.time(waves(timestep)) + self.observation(observation))
        h = self.first(sample.transpose(1, 2))
        for block in self.middle:
            h = block(h, embedding)
        return self.last(functional.silu(self.norm(h))).transpose(1, 2)
