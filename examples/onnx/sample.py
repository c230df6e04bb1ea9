#!/usr/bin/env python3
"""Samples the digits of sample_onnx.cpp in Python, with torch and the equations of diffusers' DDIMScheduler, and writes samples.txt.

    python3 sample.py [output]

The weights are those of digits.onnx, which python3-onnx reads.
"""
import math
import pathlib
import sys

import numpy
import onnx
import onnx.numpy_helper
import torch

from network import NO_CLASS, DigitUNet

HERE = pathlib.Path(__file__).resolve().parent


def read_network():
    """The network with the weights of digits.onnx."""
    network = DigitUNet().eval()
    stored = {w.name: torch.tensor(onnx.numpy_helper.to_array(w)) for w in onnx.load(str(HERE / "digits.onnx")).graph.initializer}
    network.load_state_dict({name: stored[name] for name in network.state_dict()})
    return network


@torch.no_grad()
def sample(network, N=100, T=1000, steps=25, eta=1.0, scale=2.0, seed=1):
    f = [math.cos((i / T + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(T + 1)]
    alphas_cumprod = torch.tensor(numpy.cumprod([max(f[i + 1] / f[i], 0.001) for i in range(T)]))
    timesteps = numpy.round(numpy.arange(T, 0, -T / steps)).astype(int) - 1  # timestep_spacing = "trailing"

    labels = torch.cat([torch.full((N,), NO_CLASS), torch.arange(N) // 10])  # the unconditional half first
    torch.manual_seed(seed)
    x = torch.randn(N, 1, 8, 8)
    for i, t in enumerate(timesteps):
        uncond, cond = network(torch.cat([x, x]), torch.full((2 * N,), int(t)), labels).chunk(2)
        v = uncond + scale * (cond - uncond)
        abar = alphas_cumprod[t]
        abar_previous = alphas_cumprod[timesteps[i + 1]] if i + 1 < steps else torch.tensor(1.0)  # set_alpha_to_one = True
        x_0 = abar.sqrt() * x.double() - (1 - abar).sqrt() * v.double()
        eps = abar.sqrt() * v.double() + (1 - abar).sqrt() * x.double()
        deviation = eta * ((1 - abar_previous) / (1 - abar) * (1 - abar / abar_previous)).sqrt()
        x = (abar_previous.sqrt() * x_0 + (1 - abar_previous - deviation**2).sqrt() * eps).float()
        x = x + (deviation * torch.randn(N, 1, 8, 8)).float()
    return x


if __name__ == "__main__":
    path = sys.argv[1] if len(sys.argv) > 1 else HERE / "samples.txt"
    numpy.savetxt(path, sample(read_network()).reshape(-1, 64).numpy(), fmt="%.6g")
    print("wrote", path)
