"""PyTorch's side of the training: uint8 in memory, fused Adam; memory format, threads and compiler as measured."""

import os

os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"  # no processes that stay beside the measured one

import torch
from process import serve
from sides import has_convolutions, in_best_form, read_arrays
from torch.nn import functional as F

CORES = len(os.sched_getaffinity(0))
DENSE = [{"threads": CORES}, {"threads": 1}, {"threads": CORES, "compile": True}]
CONVOLUTIONS = [
    {"threads": CORES, "channels_last": True},
    {"threads": CORES},
    {"threads": 1, "channels_last": True},
    {"threads": CORES, "channels_last": True, "compile": True},
]


def own(array, layout):
    """Returns a weight of ours as a parameter of PyTorch. array: [kh, kw, I, O], [I, O] or [O]."""
    w = torch.from_numpy(array)
    w = w.permute(3, 2, 0, 1).contiguous(memory_format=layout) if w.ndim == 4 else w.t().contiguous()
    return w.clone().requires_grad_()


def forward(description, weights, x):
    """Returns the logits. weights: [w, b, ...] in the order of the layers; x: [N, C, H, W]."""
    weights = iter(weights)
    for kind, *options in description:
        if kind == "conv":
            x = F.conv2d(x, next(weights), next(weights))
        elif kind == "dense":
            x = F.linear(x, next(weights), next(weights))
        else:
            x = F.max_pool2d(x, 2) if kind == "pool" else x.permute(0, 2, 3, 1).flatten(1)  # tfcore's order
        x = F.relu(x) if "relu" in options else x
    return x


def train(job):
    """A Python loop over batches that a permutation chooses."""
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = job["folder"]
    images, labels, first = read_arrays(job)
    images, labels = torch.from_numpy(images), torch.from_numpy(labels).long()
    size = job["batch_size"]
    torch.manual_seed(0)

    def make(threads, channels_last=False, compile=False):
        torch.set_num_threads(threads)
        layout = torch.channels_last if channels_last else torch.contiguous_format
        weights = [own(array, layout) for array in first]
        optimizer = torch.optim.Adam(weights, job["learning_rate"], eps=1e-7, fused=True)

        def loss_of(x, y):
            x = x.permute(0, 3, 1, 2).to(torch.float32, memory_format=layout) * job["scale"]
            with torch.autocast("cpu", torch.bfloat16, enabled=job["recipe"]["precision"] == "bfloat16"):
                logits = forward(job["network"], weights, x)
            logits = logits.float()
            if job["loss"] == "sigmoid":
                return F.binary_cross_entropy_with_logits(logits[:, 0], y.float())
            return F.cross_entropy(logits, y)

        loss_of = torch.compile(loss_of) if compile else loss_of

        def take_steps(count):
            total = torch.zeros([])
            for rows in torch.randperm(count * size).split(size):
                optimizer.zero_grad(set_to_none=True)
                loss = loss_of(images[rows], labels[rows])
                loss.backward()
                optimizer.step()
                total += loss.detach()
            return {"result": total.item() / count}

        return take_steps

    return in_best_form(job, CONVOLUTIONS if has_convolutions(job) else DENSE, make)


if __name__ == "__main__":
    serve({"train": train}, {"torch": torch.__version__})
