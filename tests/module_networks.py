"""U-Net, ResNet and 3D-DIP built of PyTorch's modules, as their authors build them: what ours are held to.

Modules are made in the order in which the published classes make them, because that order decides which
random numbers each gets.
"""

from __future__ import annotations

import torch
from torch import nn

from dipedge.priors import Hourglass3d, ResNet, UNet


def conv(into: int, out: int, kernel: int, padding: str, bias: bool = True) -> nn.Sequential:
    margin = (kernel - 1) // 2
    if padding == "reflection":
        return nn.Sequential(nn.ReflectionPad2d(margin), nn.Conv2d(into, out, kernel, bias=bias))
    return nn.Sequential(nn.Conv2d(into, out, kernel, padding=margin, bias=bias))


def twice(network: UNet, into: int, out: int, norm: bool) -> nn.Sequential:
    layers = []
    for channels in (into, out):
        layers.append(conv(channels, out, 3, network.padding))
        if norm:
            kind = {"batch": nn.BatchNorm2d, "instance": nn.InstanceNorm2d}[network.norm]
            layers.append(kind(out, eps=network.eps))
        layers.append(nn.ReLU())
    return nn.Sequential(*layers)


class Up(nn.Module):
    """Twice the size, then the other branch's channels behind its own."""

    def __init__(self, network: UNet, into: int, out: int) -> None:
        super().__init__()
        if network.up == "deconv":
            self.grow = nn.ConvTranspose2d(into, out, 4, stride=2, padding=1)
        else:
            double = nn.Upsample(scale_factor=2, mode=network.up)
            self.grow = nn.Sequential(double, conv(into, out, 3, network.padding))
        self.conv = twice(network, 2 * out, out, norm=False)

    def forward(self, small: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return self.conv(torch.cat([self.grow(small), other], 1))


class UNetModules(nn.Module):
    """For sides that the poolings divide, which is all that the published class gives back whole."""

    def __init__(self, network: UNet, into: int, out: int) -> None:
        super().__init__()
        filters = network.filters
        self.start = twice(network, into, filters[0], norm=True)
        self.downs = nn.ModuleList(
            nn.Sequential(nn.MaxPool2d(2, 2), twice(network, filters[i], filters[i + 1], norm=True))
            for i in range(len(filters) - 1)
        )
        deepest_first = reversed(range(len(filters) - 1))
        self.ups = nn.ModuleList(Up(network, filters[i + 1], filters[i]) for i in deepest_first)
        self.final = nn.Sequential(conv(filters[0], out, 1, network.padding), nn.Sigmoid())

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        seen = [self.start(z)]
        for down in self.downs:
            seen.append(down(seen[-1]))
        x = seen.pop()
        for up in self.ups:
            x = up(x, seen.pop())
        return self.final(x)


class Residual(nn.Sequential):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) + x


def resnet_modules(network: ResNet, into: int, out: int) -> nn.Sequential:
    width = network.channels

    def norm() -> nn.BatchNorm2d:
        return nn.BatchNorm2d(width, eps=network.bn_eps)

    def plain(bias: bool) -> nn.Conv2d:
        return nn.Conv2d(width, width, 3, 1, 1, bias=bias)

    layers = [conv(into, width, 3, network.padding), nn.LeakyReLU(network.slope)]
    for _ in range(network.blocks):
        layers.append(Residual(plain(False), norm(), nn.LeakyReLU(network.slope), plain(False), norm()))
    layers += [plain(True), norm(), conv(width, out, 3, network.padding), nn.Sigmoid()]
    return nn.Sequential(*layers)


class Clip(nn.Module):
    """One level of 3D-DIP on [1, C, T, H, W]; ``deeper`` is the level inside it."""

    def __init__(self, network: Hourglass3d, index: int, into: int) -> None:
        super().__init__()
        self.slope = network.space.slope
        level, levels = network.space.levels[index], network.space.levels
        inner = levels[index + 1].up if index + 1 < len(levels) else level.down
        self.merge = nn.BatchNorm3d(level.skip + inner, eps=network.space.bn_eps)
        self.skip = self.block(network, into, level.skip, level.kernel_skip, 1) if level.skip else None
        self.down = self.block(network, into, level.down, level.kernel_down, 2)
        self.refine = self.block(network, level.down, level.down, level.kernel_down, 1)
        self.up = self.block(network, level.skip + inner, level.up, level.kernel_up, 1)
        self.up1x1 = self.block(network, level.up, level.up, 1, 1)
        self.deeper = Clip(network, index + 1, level.down) if index + 1 < len(levels) else nn.Identity()

    def block(self, network: Hourglass3d, into: int, out: int, kernel: int, stride: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv3d(into, out, kernel, (1, stride, stride)), nn.BatchNorm3d(out, eps=network.space.bn_eps)
        )

    def through(self, block: nn.Sequential, x: torch.Tensor) -> torch.Tensor:
        margin = (block[0].kernel_size[0] - 1) // 2
        space, time = (
            nn.ReflectionPad3d((margin,) * 4 + (0, 0)),
            nn.ReplicationPad3d((0,) * 4 + (margin,) * 2),
        )
        return nn.functional.leaky_relu(block(time(space(x))), self.slope)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        deep = self.deeper(self.through(self.refine, self.through(self.down, x)))
        rows, columns = x.shape[3:]
        deep = deep.repeat_interleave(2, 3).repeat_interleave(2, 4)[..., :rows, :columns]
        merged = deep if self.skip is None else torch.cat((self.through(self.skip, x), deep), 1)
        return self.through(self.up1x1, self.through(self.up, self.merge(merged)))


class ClipModules(nn.Module):
    """3D-DIP with nearest upsampling; frames come and go below each other."""

    def __init__(self, network: Hourglass3d, into: int, out: int) -> None:
        super().__init__()
        self.frames = 1
        self.outermost = Clip(network, 0, into)
        self.head = nn.Conv3d(network.space.levels[0].up, out, 1)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        stack, channels = z.shape[2:], z.shape[1]
        clip = z.view(1, channels, self.frames, stack[0] // self.frames, stack[1])
        return self.head(self.outermost(clip)).sigmoid().view(1, -1, *stack)


def modules_of(network: UNet | ResNet | Hourglass3d, into: int, out: int, seed: int) -> nn.Module:
    """The network in modules, with PyTorch's own initial weights for ``seed``."""
    torch.manual_seed(seed)
    made = {UNet: UNetModules, ResNet: resnet_modules, Hourglass3d: ClipModules}
    return made[type(network)](network, into, out)
