"""The mechanics of a convolutional network in NumPy, one idea a function: to be read, not to be fast.

Pictures are [H, W, C], kernels [kh, kw, C, O], without a batch. "Convolution" is what networks call so: the kernel is
not turned around. `padding` is "VALID" (none) or "SAME" (zeros, so that stride 1 keeps the size).
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

VERTICAL_EDGES = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], np.float64)  # dark left of bright
HORIZONTAL_EDGES = VERTICAL_EDGES.T  # dark above bright
VERTICAL_STROKE = np.array([[-1, 2, -1]] * 3, np.float64)
DIAGONAL_STROKE = np.array([[-1, -1, 2], [-1, 2, -1], [2, -1, -1]], np.float64)


def margins(size: int, kernel: int, stride: int, padding: str) -> tuple[int, int]:
    """How many zeros come before and after a side of `size`: (0, 0), or for "SAME" as TensorFlow puts them."""
    if padding == "VALID":
        return 0, 0
    lacking = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return lacking // 2, lacking - lacking // 2


def padded(x: np.ndarray, kernel: tuple[int, int], stride: int = 1, padding: str = "VALID") -> np.ndarray:
    """x with its zeros around it. x: [H, W, C], kernel: (kh, kw) -> [H + .., W + .., C]."""
    around = [margins(size, side, stride, padding) for size, side in zip(x.shape, kernel)]
    return np.pad(x, [*around, (0, 0)])


def windows(
    x: np.ndarray, kernel: tuple[int, int], stride: int = 1, padding: str = "VALID"
) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yields (i, j, window) for each place that a kernel of (kh, kw) slides to; window: [kh, kw, C]."""
    x, (kh, kw) = padded(x, kernel, stride, padding), kernel
    rows, columns = ((size - side) // stride + 1 for size, side in zip(x.shape, kernel))
    for i, j in itertools.product(range(rows), range(columns)):
        yield i, j, x[i * stride : i * stride + kh, j * stride : j * stride + kw]


def output_size(x: np.ndarray, kernel: tuple[int, int], stride: int = 1, padding: str = "VALID") -> tuple[int, int]:
    """(H', W'): how many places there are, (H + zeros - kh) // stride + 1 of them along the height."""
    return tuple((n - k) // stride + 1 for n, k in zip(padded(x, kernel, stride, padding).shape, kernel))


def conv2d(x: np.ndarray, w: np.ndarray, stride: int = 1, padding: str = "VALID") -> np.ndarray:
    """At each place the dot product of kernel and window. x: [H, W, C], w: [kh, kw, C, O] -> [H', W', O]."""
    y = np.zeros([*output_size(x, w.shape[:2], stride, padding), w.shape[3]])
    for i, j, window in windows(x, w.shape[:2], stride, padding):
        y[i, j] = np.tensordot(window, w, 3)
    return y


def im2col(x: np.ndarray, kernel: tuple[int, int], stride: int = 1, padding: str = "VALID") -> np.ndarray:
    """Every window as a row. -> [H' W', kh kw C]: with the kernels as columns, a convolution is a matrix product."""
    return np.stack([window.ravel() for _, _, window in windows(x, kernel, stride, padding)])


def conv2d_as_product(x: np.ndarray, w: np.ndarray, stride: int = 1, padding: str = "VALID") -> np.ndarray:
    """`conv2d` as im2col(x) w: how libraries do it. Shapes as there."""
    rows = im2col(x, w.shape[:2], stride, padding) @ w.reshape(-1, w.shape[3])
    return rows.reshape(*output_size(x, w.shape[:2], stride, padding), -1)


def as_dense(w: np.ndarray, shape: tuple[int, int, int], stride: int = 1, padding: str = "VALID") -> np.ndarray:
    """The matrix of a dense layer that does what the kernels do: mostly zeros, and the same few numbers.

    w: [kh, kw, C, O], shape: (H, W, C) of the picture -> [H W C, H' W' O].
    """
    pixels = np.eye(int(np.prod(shape))).reshape(-1, *shape)  # each pixel alone, in turn
    return np.stack([conv2d(pixel, w, stride, padding).ravel() for pixel in pixels])


def conv2d_gradients(
    x: np.ndarray, w: np.ndarray, dy: np.ndarray, padding: str = "VALID"
) -> tuple[np.ndarray, np.ndarray]:
    """dL/dw and dL/dx from dL/dy, of a convolution with stride 1. dy: [H', W', O].

    dL/dw is the convolution of the picture with dL/dy. dL/dx is the full convolution of dL/dy with the kernels turned
    by half a turn: the chain rule, pixel by pixel, adds up to these.
    """
    kh, kw = w.shape[:2]
    bordered = padded(x, (kh, kw), 1, padding)
    dw = np.stack([conv2d(bordered[..., c : c + 1], dy[:, :, np.newaxis]) for c in range(x.shape[2])], axis=2)
    turned = w[::-1, ::-1].transpose(0, 1, 3, 2)  # [kh, kw, O, C]
    full = conv2d(np.pad(dy, [(kh - 1, kh - 1), (kw - 1, kw - 1), (0, 0)]), turned)
    (top, _), (left, _) = (margins(size, side, 1, padding) for size, side in zip(x.shape, (kh, kw)))
    return dw, full[top : top + x.shape[0], left : left + x.shape[1]]


def max_pool(x: np.ndarray, size: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """The largest of each size x size window, and where it stood: y [H', W', C], places [H', W', C] in the window."""
    found = [window.reshape(-1, x.shape[2]) for _, _, window in windows(x, (size, size), size)]
    shape = [*output_size(x, (size, size), size), x.shape[2]]
    y, places = (np.array([of(window, axis=0) for window in found]).reshape(shape) for of in (np.max, np.argmax))
    return y, places


def max_pool_gradient(dy: np.ndarray, places: np.ndarray, shape: tuple[int, int, int], size: int = 2) -> np.ndarray:
    """dL/dx of `max_pool`: each gradient goes to the one pixel that was largest, the others get nothing."""
    dx = np.zeros(shape)
    for (i, j, c), place in np.ndenumerate(places):
        dx[i * size + place // size, j * size + place % size, c] += dy[i, j, c]
    return dx


def avg_pool(x: np.ndarray, size: int = 2) -> np.ndarray:
    """The mean of each size x size window. [H, W, C] -> [H', W', C]."""
    means = [window.mean((0, 1)) for _, _, window in windows(x, (size, size), size)]
    return np.array(means).reshape(*output_size(x, (size, size), size), -1)


def avg_pool_gradient(dy: np.ndarray, shape: tuple[int, int, int], size: int = 2) -> np.ndarray:
    """dL/dx of `avg_pool`: every pixel of a window gets the same share."""
    dx = np.zeros(shape)
    spread = np.repeat(np.repeat(dy, size, 0), size, 1) / size**2
    dx[: spread.shape[0], : spread.shape[1]] = spread
    return dx


def relu(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """max(x, 0), and its slope: 1 where x is positive, else 0."""
    return np.maximum(x, 0), (x > 0).astype(x.dtype)


def softmax_cross_entropy(logits: np.ndarray, label: int) -> tuple[float, np.ndarray]:
    """The loss of one example, and its gradient: the probabilities, less 1 at the true class. logits: [C]."""
    p = np.exp(logits - logits.max())
    p /= p.sum()
    return -np.log(p[label]), p - np.eye(len(p))[label]


def touches(shape: tuple[int, int], kernel: tuple[int, int], padding: str = "VALID") -> np.ndarray:
    """How many windows see each pixel, stride 1: a corner is seen once without padding. shape: (H, W) -> [H, W]."""
    x, w = np.zeros([*shape, 1]), np.ones([*kernel, 1, 1])
    return conv2d_gradients(x, w, np.ones_like(conv2d(x, w, 1, padding)), padding)[1][..., 0]


def dense_parameters(inputs: int, outputs: int) -> int:
    """The weights and biases of a dense layer: every output has its own number for every input."""
    return (inputs + 1) * outputs


def conv_parameters(kernel: tuple[int, int], channels: int, outputs: int) -> int:
    """The weights and biases of a convolution: the same for a stamp as for a poster. kernel: (kh, kw)."""
    return (kernel[0] * kernel[1] * channels + 1) * outputs


def receptive_field(layers: Iterable[tuple[int, int]]) -> int:
    """The side of the square of pixels that one output sees. layers: [(side of the window, stride), ...] from below."""
    field, step = 1, 1
    for side, stride in layers:
        field, step = field + (side - 1) * step, step * stride
    return field


class Layer(NamedTuple):
    """A convolution to so many `channels`, or a pool where they are None."""

    name: str
    side: int  # of its window
    stride: int
    channels: int | None
    padding: str = "VALID"


LENET5 = (  # LeCun, Bottou, Bengio, Haffner, 1998. On a picture of one pixel a dense layer is a convolution of 1x1.
    Layer("C1", 5, 1, 6, "SAME"),
    Layer("S2", 2, 2, None),
    Layer("C3", 5, 1, 16),
    Layer("S4", 2, 2, None),
    Layer("C5", 5, 1, 120),
    Layer("F6", 1, 1, 84),
    Layer("output", 1, 1, 10),
)


def stages(shape: tuple[int, int, int], layers: Sequence[Layer]) -> Iterator[tuple[tuple[int, int, int], int, int]]:
    """Yields of each layer the shape of what comes out, how many numbers it learns, and its receptive field.

    shape: (H, W, C) of the picture, layers: `Layer`s from below -> (H', W', C'), parameters, side in pixels.
    """
    for number, layer in enumerate(layers, 1):
        kernel, channels = (layer.side, layer.side), shape[2]
        shape = (*output_size(np.zeros(shape), kernel, layer.stride, layer.padding), layer.channels or channels)
        parameters = conv_parameters(kernel, channels, layer.channels) if layer.channels else 0
        yield shape, parameters, receptive_field([(below.side, below.stride) for below in layers[:number]])


def drawn(rows: str) -> np.ndarray:
    """A picture from characters: 1 where there is a #. -> [H, W]."""
    return np.array([[float(mark == "#") for mark in row] for row in rows.split()])


E = drawn("""
    ..#####..
    ..#......
    ..####...
    ..#......
    ..#####..
""")
A = drawn("""
    ....#....
    ...#.#...
    ..#...#..
    .#######.
    #.......#
""")


def letters(rng: np.random.Generator, count: int, size: int = 11, noise: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    """Draws pictures of E (label 0) and A (label 1), each somewhere and in noise. -> [N, size, size, 1], [N]."""
    labels = rng.integers(0, 2, count)
    pictures = noise * rng.normal(size=[count, size, size, 1])
    for picture, label in zip(pictures, labels):
        letter = (E, A)[label]
        top, left = (rng.integers(0, size - side + 1) for side in letter.shape)
        picture[top : top + letter.shape[0], left : left + letter.shape[1], 0] += letter
    return pictures, labels


def strongest(x: np.ndarray, kernels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How strongly each kernel answers to a square picture, wherever that is: a convolution, then one pool over it all.

    x: [H, H, C], kernels: [k, k, C, O] -> the answers [O], where they stood [1, 1, O], the convolution [H', H', O].
    """
    y = conv2d(x, kernels)
    answers, places = max_pool(y, len(y))
    return answers[0, 0], places, y


def strongest_gradients(x: np.ndarray, label: int, kernels: np.ndarray) -> tuple[float, np.ndarray]:
    """The loss of a picture whose class is that of the strongest kernel, and dL/dkernels: back the way it came."""
    answers, places, y = strongest(x, kernels)
    loss, error = softmax_cross_entropy(answers, label)
    dy = max_pool_gradient(error[np.newaxis, np.newaxis], places, y.shape, len(y))
    return loss, conv2d_gradients(x, kernels, dy)[0]


def learn(
    kernels: np.ndarray, pictures: np.ndarray, labels: np.ndarray, learning_rate: float = 0.1
) -> Iterator[tuple[float, np.ndarray]]:
    """Gradient descent, one picture a step: yields the loss before each step and the kernels after it."""
    for x, label in zip(pictures, labels):
        loss, gradient = strongest_gradients(x, label, kernels)
        kernels = kernels - learning_rate * gradient
        yield loss, kernels
