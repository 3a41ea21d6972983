"""PyTorch's side of the training comparisons in benchmark.py: eager, channels last, fused Adam, data in memory."""

import os
from pathlib import Path

import numpy as np
import torch
from benchmark_process import serve
from torch import nn
from torch.nn import functional as F


def network(description, shape, weights):
    """Returns the network of a list of layers, with weights in the order and layout of tfcore (HWIO, [I, O]).

    shape: (H, W, C) of a picture.
    """
    layers, weights = [], iter(weights)
    x = torch.zeros(1, shape[2], shape[0], shape[1])  # its shape follows the layers
    before = x.shape[1:]
    for kind, *options in description:
        if kind in ("conv", "dense"):
            w, b = (torch.from_numpy(next(weights)) for _ in range(2))
            new = [conv(w, b) if kind == "conv" else dense(w, b, before), *[nn.ReLU()] * (options[1] == "relu")]
        else:
            new = [nn.MaxPool2d(2) if kind == "pool" else nn.Flatten()]
        before = x.shape[1:]
        x = nn.Sequential(*new)(x)
        layers += new
    return nn.Sequential(*layers)


def conv(w, b):
    """Returns a convolution. w: [kh, kw, I, O]."""
    layer = nn.Conv2d(w.shape[2], w.shape[3], tuple(w.shape[:2]))
    return with_weights(layer, w.permute(3, 2, 0, 1), b)


def dense(w, b, before):
    """Returns a dense layer. w: [I, O]; `before` is (C, H, W) where the layer before it flattened that."""
    if len(before) == 3:
        w = w.reshape(before[1], before[2], before[0], -1).permute(2, 0, 1, 3).reshape(w.shape)
    return with_weights(nn.Linear(*w.shape), w.T, b)


def with_weights(layer, w, b):
    """Returns the layer with these values."""
    with torch.no_grad():
        layer.weight.copy_(w)
        layer.bias.copy_(b)
    return layer


def train(job):
    """Training on tensors in memory, batches chosen by a permutation."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    with np.load(Path(job["folder"]) / "data.npz") as arrays:
        images, labels = torch.from_numpy(arrays["images"]), torch.from_numpy(arrays["labels"]).long()
        weights = [arrays[f"weight{i}"] for i in range(len(arrays.files) - 2)]
    model = network(job["network"], images.shape[1:], weights).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), job["learning_rate"], eps=1e-7, fused=True)
    size = job["batch_size"]

    def loss_of(logits, labels):
        if job["loss"] == "sigmoid":
            return F.binary_cross_entropy_with_logits(logits[:, 0], labels.float())
        return F.cross_entropy(logits, labels)

    def take_steps(order):
        total = torch.zeros([])
        for rows in order.split(size):
            x = images[rows].permute(0, 3, 1, 2).float() * job["scale"]  # strides stay: channels last
            optimizer.zero_grad(set_to_none=True)
            loss = loss_of(model(x), labels[rows])
            loss.backward()
            optimizer.step()
            total += loss.detach()
        return {"loss": total.item() / (len(order) // size)}

    torch.manual_seed(0)
    return {"step": lambda: take_steps(torch.arange(size)), "epoch": lambda: take_steps(torch.randperm(len(labels)))}


if __name__ == "__main__":
    serve({"train": train}, {"torch": torch.__version__})
