"""The network: encoder, binariser and decoder that share their weights over all iterations.

G. Toderici et al., "Full resolution image compression with recurrent neural networks", CVPR 2017
(arXiv 1608.05148), section 3. Each iteration codes what the ones before have left over:

    b_t = B(E_t(r_(t-1))),    x_t = D_t(b_t) + gamma x_(t-1),    r_t = x - x_t,

with r_0 = x, x_0 = 0, gamma = 1 for additive reconstruction and 0 for one-shot; E and D keep a
state from one iteration to the next. Where the text leaves a kernel open, the port of Zhang
("pytorch-image-comp-rnn") is followed: 3x3 for the decoder's first unit, hidden kernels of 1x1 in
the encoder and in the decoder's first two units, 3x3 in its others, and tanh / 2 for the output.

With its default settings `RecurrentNet` is the paper's. With ``pairs`` > 0 it has a linear path, an
orthogonal lapped transform of Y, Cb and Cr at the encoder's stride of 16. An iteration codes two
bits for each of so many coefficients of the residual: whether it lies above a threshold, and
whether below its negative. Which coefficients, and their thresholds, is a table that `start` makes.
What the recurrent encoder tells is a gain for each coefficient before the thresholds; the recurrent
decoder sees the picture so far, and adds to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from lic_bench.learned.lapped import added_up, mirrored

STRIDE = 16
"""Pixels on a side of the block that one site of the code stands for."""
PRODUCTS = STRIDE * STRIDE
COEFFICIENTS = 3 * PRODUCTS
"""Of the linear path, at each site."""
SEEN = 2.0
"""What the decoder sees of a picture is held between -2 and 2."""
_DETAIL = 4  # the stride at which it also sees the picture in full
_SLOPE = 2.0  # of the activations of the linear path at their threshold
_REACH = 0.5  # of the logarithm of the encoder's gains

# Rows: Y, Cb, Cr of JPEG (ITU-T T.871) from R, G, B.
_YCBCR = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))


@dataclass(frozen=True)
class Settings:
    """What makes one network differ from another; the defaults are the paper's.

    Attributes
    ----------
    encoder
        Channels of the encoder's convolution and of its three units.
    decoder
        Channels of the decoder's first convolution and of its four units; those of units are
        divided by 4 where their sites are.
    bits
        Of a site in an iteration.
    iterations
        How many there are.
    unit
        ``gru`` or ``lstm``.
    additive
        Whether an iteration adds to the picture before; else it replaces it (one-shot).
    pairs
        Coefficients of the linear path that an iteration codes, two bits each; 0: there is none.
    hard
        Whether sigmoid and tanh are made of straight lines.
    """

    encoder: tuple[int, ...] = (64, 256, 512, 512)
    decoder: tuple[int, ...] = (512, 512, 512, 256, 128)
    bits: int = 32
    iterations: int = 16
    unit: Literal["gru", "lstm"] = "gru"
    additive: bool = True
    pairs: int = 0
    hard: bool = False


class _Binarise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, stochastic: bool) -> Tensor:
        above = torch.rand_like(x) < (1 + x) / 2 if stochastic else x > 0
        return torch.where(above, 1.0, -1.0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


def binarise(x: Tensor, stochastic: bool) -> Tensor:
    """B(x), -1 or 1; its gradient is 1 (section 2).

    Parameters
    ----------
    x
        Activations between -1 and 1, of any shape.
    stochastic
        As in training: 1 with the chance (1 + x) / 2; else the sign.
    """
    return cast(Tensor, _Binarise.apply(x, stochastic))  # type: ignore[no-untyped-call]


def hard_sigmoid(x: Tensor) -> Tensor:
    """The line that has the slope of the sigmoid at 0, held between 0 and 1."""
    return (x / 4 + 0.5).clamp(0, 1)


class Unit(nn.Module):
    """A convolutional GRU or LSTM (section 3.1, equations 1 to 3 and 7 to 9).

    Parameters
    ----------
    inputs, width
        Channels that come in, and that it keeps and gives out.
    stride
        Of the convolution of its input, 3x3.
    hidden
        The side of the kernels that see its state.
    kind
        ``gru`` or ``lstm``.
    hard
        Whether sigmoid and tanh are made of straight lines.
    """

    def __init__(
        self, inputs: int, width: int, stride: int, hidden: int, kind: str, hard: bool
    ) -> None:
        super().__init__()
        self.kind, self.hard, self.stride = kind, hard, stride
        gates = 3 if kind == "gru" else 4
        self.seen = nn.Conv2d(inputs, gates * width, 3, stride=stride, padding=1)
        # Of a GRU the last part sees what its second gate leaves of the state.
        parts = (2, 1) if kind == "gru" else (4,)
        self.kept = nn.ModuleList(
            nn.Conv2d(width, part * width, hidden, padding=hidden // 2, bias=False)
            for part in parts
        )

    def forward(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """What it gives out, and its new state."""
        sigmoid = hard_sigmoid if self.hard else torch.sigmoid
        tanh = (lambda y: y.clamp(-1, 1)) if self.hard else torch.tanh
        seen = self.seen(x)
        if not state:
            size = (len(seen), self.kept[0].in_channels, *seen.shape[2:])
            state = (seen.new_zeros(size),) * (1 if self.kind == "gru" else 2)
        if self.kind == "gru":
            (h,) = state
            for_gates, for_new = seen.tensor_split([2 * h.shape[1]], 1)
            z, r = sigmoid(for_gates + self.kept[0](h)).chunk(2, 1)
            new = tanh(for_new + self.kept[1](r * h))
            h = h + (1 - z) * (new - h)
            return h, (h,)
        h, c = state
        f, i, o, j = (seen + self.kept[0](h)).chunk(4, 1)
        c = sigmoid(f) * c + sigmoid(i) * tanh(j)
        h = sigmoid(o) * tanh(c)
        return h, (h, c)


@dataclass
class State:
    """What an encoder or a decoder keeps between iterations.

    Attributes
    ----------
    picture
        x_t, less 127.5, in 8-bit steps: B x 3 x H x W.
    units
        The states of the units; none before the first iteration.
    """

    picture: Tensor
    units: list[tuple[Tensor, ...]]


class Encoder(nn.Module):
    """E: a convolution and three units at a stride of 2 each."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        first, *widths = settings.encoder
        self.first = nn.Conv2d(3, first, 3, stride=2, padding=1)
        sides = zip(settings.encoder, widths, strict=False)
        self.units = nn.ModuleList(Unit(a, b, 2, 1, settings.unit, settings.hard) for a, b in sides)

    def forward(self, x: Tensor, states: list[tuple[Tensor, ...]]) -> Tensor:
        """Features of a residual, B x 3 x H x W: B x C x H/16 x W/16. Changes the states."""
        x = self.first(x)
        for index, unit in enumerate(self.units):
            x, states[index] = unit(x, states[index])
        return x


class Decoder(nn.Module):
    """D: a 1x1 convolution, four units with depth to space behind each, a 1x1 convolution.

    With a linear path it sees the picture so far instead of bits: blocks of 16x16 at the
    beginning, and blocks of 4x4 at the third unit, beside what comes from the second.
    """

    HIDDEN = (1, 1, 3, 3)

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        first, *widths = settings.decoder
        inputs = [first, *(width // 4 for width in widths)]
        self.linear = settings.pairs > 0
        if self.linear:
            inputs[2] += 3 * _DETAIL**2
        self.first = nn.Conv2d(COEFFICIENTS if self.linear else settings.bits, first, 1)
        self.units = nn.ModuleList(
            Unit(a, b, 1, hidden, settings.unit, settings.hard)
            for a, b, hidden in zip(inputs, widths, self.HIDDEN, strict=False)
        )
        self.last = nn.Conv2d(inputs[-1], 3, 1)

    def forward(self, x: Tensor, states: list[tuple[Tensor, ...]]) -> Tensor:
        """What is added to a picture, B x 3 x H x W, of bits or of the picture so far."""
        y = self.first(pixel_unshuffle(x, STRIDE) if self.linear else x)
        if self.linear:
            y = y.clamp(-SEEN, SEEN)
        for index, unit in enumerate(self.units):
            if self.linear and index == 2:
                y = torch.cat([y, pixel_unshuffle(x, _DETAIL)], 1)
            y, states[index] = unit(y, states[index])
            y = pixel_shuffle(y, 2)
        out: Tensor = self.last(y)
        return out


class Linear(nn.Module):
    """The linear path: a lapped transform, and what each iteration codes of it."""

    windows: Tensor
    chosen: Tensor
    threshold: Tensor
    scale: Tensor

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        table = (settings.iterations, settings.pairs)
        self.register_buffer("windows", torch.zeros(STRIDE, 2 * STRIDE))
        # Which coefficient: 256 p + 16 i + j for row i and column j of plane p.
        self.register_buffer("chosen", torch.zeros(table, dtype=torch.int16))
        self.register_buffer("threshold", torch.ones(table))  # in 8-bit steps
        self.register_buffer("scale", torch.ones(settings.iterations))  # of their sizes
        self.value = nn.Parameter(torch.ones(table))  # what a coefficient beyond it adds
        self.log_gain = nn.Parameter(torch.zeros(settings.iterations))  # of what D sees

    def analysis(self, x: Tensor) -> Tensor:
        """Planes, B x 3 x H x W, to coefficients: B x 768 x H/16 x W/16."""
        x = mirrored(x, STRIDE // 2)
        rows = x.unfold(2, 2 * STRIDE, STRIDE) @ self.windows.T  # B 3 h W 16
        both = rows.unfold(3, 2 * STRIDE, STRIDE) @ self.windows.T  # B 3 h w 16 16
        return both.permute(0, 1, 4, 5, 2, 3).flatten(1, 3)

    def synthesis(self, y: Tensor) -> Tensor:
        """The inverse of `analysis`."""
        batch, _, rows, columns = y.shape
        y = y.view(batch, 3, STRIDE, STRIDE, rows, columns).permute(0, 1, 4, 5, 2, 3)
        y = (y @ self.windows).transpose(4, 5) @ self.windows  # B 3 h w 32 32, columns first
        y = y.permute(0, 1, 5, 4, 2, 3).reshape(batch, -1, rows * columns)
        return added_up(y, rows, columns, STRIDE)


class RecurrentNet(nn.Module):
    """Encoder, binariser, decoder.

    Pictures are R, G and B less 127.5, in 8-bit steps; with a linear path Y, Cb and Cr. Sides are
    multiples of 16.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings
        self.encoder, self.decoder = Encoder(settings), Decoder(settings)
        outputs = COEFFICIENTS if settings.pairs else settings.bits
        self.binariser = nn.Conv2d(settings.encoder[-1], outputs, 1)
        if settings.pairs:
            self.linear = Linear(settings)

    def begin(self, x: Tensor) -> tuple[State, State]:
        """The states of encoder and decoder before the first iteration of pictures like x."""
        zero = torch.zeros_like(x)
        return State(zero, [()] * len(self.encoder.units)), State(
            zero, [()] * len(self.decoder.units)
        )

    def encode(self, x: Tensor, iteration: int, state: State) -> Tensor:
        """Activations between -1 and 1, B x bits x H/16 x W/16, that B makes bits of.

        Parameters
        ----------
        x
            The pictures.
        iteration
            From 0.
        state
            Of the encoder, with the decoder's picture; its units are changed.
        """
        residual = x - state.picture
        if not self.settings.pairs:
            features = self.encoder(residual / 255, state.units)
            return torch.tanh(self.binariser(features))
        own = self.linear.chosen[iteration].long()
        seen = residual / self.linear.scale[iteration]
        gain = (_REACH * torch.tanh(self.binariser(self.encoder(seen, state.units)))).exp()
        z = (self.linear.analysis(residual) * gain)[:, own]
        z = z / self.linear.threshold[iteration][:, None, None]
        return torch.tanh(_SLOPE * (torch.cat([z, -z], 1) - 1))

    def decode(self, bits: Tensor, iteration: int, state: State) -> Tensor:
        """The picture with the bits of one iteration more; the state is changed.

        Parameters
        ----------
        bits
            -1 or 1: B x bits x H/16 x W/16. With a linear path, first whether each coefficient
            lies above its threshold, then whether below.
        """
        if not self.settings.pairs:
            out = 127.5 * torch.tanh(self.decoder(bits, state.units))
            state.picture = out + state.picture if self.settings.additive else out
            return state.picture
        above, below = bits.chunk(2, 1)
        y = bits.new_zeros(len(bits), COEFFICIENTS, *bits.shape[2:])
        value = self.linear.value[iteration][:, None, None]
        y = y.index_copy(1, self.linear.chosen[iteration].long(), (above - below) / 2 * value)
        picture = state.picture + self.linear.synthesis(y)
        scale = self.linear.scale[iteration]
        seen = picture * (self.linear.log_gain[iteration].exp() / scale)
        out = scale * self.decoder(seen.clamp(-SEEN, SEEN), state.units)
        state.picture = picture + out
        return state.picture


def ycbcr(rgb: Tensor) -> Tensor:
    """8-bit samples, B x 3 x H x W, 0 to 255, to Y, Cb and Cr less 127.5."""
    return torch.einsum("pc,bchw->bphw", rgb.new_tensor(_YCBCR), rgb - 127.5)
