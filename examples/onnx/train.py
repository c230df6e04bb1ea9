#!/usr/bin/env python3
"""Trains the networks of network.py and exports them as digits.onnx and policy.onnx, in about three minutes each on two cores.

    python3 train.py [digits] [policy]

It also writes checksums.txt: the checksums of what the networks were made from, and of the networks (sha256sum -c checksums.txt).
"""
import copy
import hashlib
import math
import pathlib
import sys

import numpy
import torch

from network import NO_CLASS, DigitUNet, Policy

HERE = pathlib.Path(__file__).resolve().parent
FILES = ["train.py", "network.py", "../data/digits.csv", "digits.onnx", "policy.onnx"]


def cosine_schedule(T):
    """alpha and sigma of every timestep (Nichol and Dhariwal 2021): alpha^2 = prod (1 - beta_s), beta_s at most 0.999."""
    f = [math.cos((i / T + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(T + 1)]
    alphas_cumprod = numpy.cumprod([max(f[i + 1] / f[i], 0.001) for i in range(T)])
    return torch.tensor(alphas_cumprod).sqrt().float(), torch.tensor(1 - alphas_cumprod).sqrt().float()


def train(network, steps, rate, loss):
    """Minimises loss(network), and returns the exponential moving average of the weights."""
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    average, recent = copy.deepcopy(network), 0.0
    for step in range(1, steps + 1):
        optimiser.zero_grad()
        value = loss(network)
        value.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        decay = min(0.998, step / (step + 10))
        with torch.no_grad():
            for mean, now in zip(average.parameters(), network.parameters()):
                mean.lerp_(now, 1 - decay)
        recent += value.item()
        if step % 250 == 0:
            print(f"step {step:5d} of {steps}, loss {recent / 250:.4f}", flush=True)
            recent = 0.0
    return average.eval()


def train_digits(steps=3000, N=128, T=1000):
    """The digits of ../data/digits.csv, with values from -1 (paper) to 1 (ink). A tenth is shown without its class."""
    table = torch.tensor(numpy.loadtxt(HERE / "../data/digits.csv", delimiter=",", skiprows=1))
    digits, classes = (table[:, :64] / 8 - 1).float().reshape(-1, 1, 8, 8), table[:, 64].long()
    alpha, sigma = cosine_schedule(T)

    def loss(network):
        chosen, t = torch.randint(len(digits), (N,)), torch.randint(T, (N,))
        labels = torch.where(torch.rand(N) < 0.1, torch.full((N,), NO_CLASS), classes[chosen])
        x_0, noise = digits[chosen], torch.randn(N, 1, 8, 8)
        a, s = alpha[t].reshape(-1, 1, 1, 1), sigma[t].reshape(-1, 1, 1, 1)
        return (network(a * x_0 + s * noise, t, labels) - (a * noise - s * x_0)).pow(2).mean()

    return train(DigitUNet(), steps, 2e-3, loss)


def smooth_trajectories(N, H=16, D=7, a=0.02, b=0.01):
    """N random smooth trajectories [N, H, D] and observations [N, 2 D], the start and the goal (../common/smooth_trajectories.hpp)."""
    unit = numpy.eye(H)
    rows = [(unit[i - 1] - 2 * unit[i] + unit[i + 1]) / a for i in range(1, H - 1)]
    rows += [unit[0] / b, unit[H - 1] / b, (unit[H - 1] - unit[H - 2]) / b]
    covariance = numpy.linalg.inv(sum(numpy.outer(row, row) for row in rows))
    root, to_mean = torch.tensor(numpy.linalg.cholesky(covariance)).float(), torch.tensor(covariance / b**2).float()
    ends = 1.8 * torch.rand(N, 2, D) - 0.9
    mean = to_mean[:, [0, H - 1]] @ ends
    return mean + root @ torch.randn(N, H, D), ends.reshape(N, 2 * D)


def train_policy(steps=4000, N=256, T=100):
    """Plans of a robot with 7 joints from an observation. The timestep is a float, as in many exports of policies."""
    alpha, sigma = cosine_schedule(T)

    def loss(network):
        x_0, observation = smooth_trajectories(N)
        t, noise = torch.randint(T, (N,)), torch.randn(N, 16, 7)
        x_t = alpha[t].reshape(-1, 1, 1) * x_0 + sigma[t].reshape(-1, 1, 1) * noise
        return (network(x_t, t.float(), observation) - noise).pow(2).mean()

    return train(Policy(), steps, 2e-3, loss)


def export(network, name, inputs):
    """Writes the network as an ONNX file whose batch size is free. Without constant folding, the weights keep their names."""
    names = list(inputs)
    torch.onnx.export(network, tuple(inputs.values()), HERE / name, input_names=names, output_names=["output"], opset_version=13,
                      do_constant_folding=False, dynamic_axes={name: {0: "batch"} for name in names + ["output"]})
    print("wrote", name)


def main():
    torch.manual_seed(1)
    names = sys.argv[1:] or ["digits", "policy"]
    label = torch.zeros(2, dtype=torch.long)
    for name in names:
        if name == "digits":
            export(train_digits(), "digits.onnx", {"sample": torch.zeros(2, 1, 8, 8), "timestep": label, "class_labels": label})
        elif name == "policy":
            export(train_policy(), "policy.onnx",
                   {"sample": torch.zeros(2, 16, 7), "timestep": torch.zeros(2), "observation": torch.zeros(2, 14)})
        else:
            sys.exit(f"train.py: unknown network {name}; the networks are digits and policy")
    sums = [f"{hashlib.sha256((HERE / file).read_bytes()).hexdigest()}  {file}\n" for file in FILES]
    (HERE / "checksums.txt").write_text("".join(sums))


if __name__ == "__main__":
    main()
