"""Draws the bundled images, of the project's own making: ``python coupling/data/make_images.py``.

Fourteen pictures of different statistics: shapes, textures, gradients, letters, a fractal and simple scenes. Each has
192 x 192 pixels and few colors, so that it takes a few kilobytes.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIDE = 192
FOLDER = Path(__file__).parent / "images"
Y, X = np.mgrid[0:SIDE, 0:SIDE] / (SIDE - 1)
"""Coordinates of the pixels, from 0 to 1; row 0 is at the top."""


def from_channels(*channels: np.ndarray) -> Image.Image:
    """An image from values between 0 and 1, of one channel or three."""
    values = np.stack(channels if len(channels) == 3 else channels * 3, axis=-1)
    return Image.fromarray(np.rint(255 * values.clip(0, 1)).astype(np.uint8))


def blank(color: str) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """An empty image, and what draws on it."""
    image = Image.new("RGB", (SIDE, SIDE), color)
    return image, ImageDraw.Draw(image)


def checkerboard() -> Image.Image:
    """Squares of two colors."""
    squares = ((X * 8).astype(int) + (Y * 8).astype(int)) % 2
    return from_channels(0.2 + 0.7 * squares, 0.3 + 0.5 * squares, 0.5 - 0.2 * squares)


def gratings() -> Image.Image:
    """Sine waves of four orientations and frequencies."""
    angle = np.pi / 4 * (2 * (Y > 0.5) + (X > 0.5))
    frequency = 6 + 5 * (2 * (Y > 0.5) + (X > 0.5))
    return from_channels(0.5 + 0.5 * np.sin(2 * np.pi * frequency * (X * np.cos(angle) + Y * np.sin(angle))))


def sunset() -> Image.Image:
    """A sun that sets over the sea."""
    sun = np.hypot(X - 0.6, Y - 0.52) < 0.16
    glow = np.exp(-4 * np.hypot(X - 0.6, Y - 0.52))
    sky = np.stack([0.55 + 0.5 * glow, 0.35 + 0.35 * glow - 0.1 * Y, 0.55 - 0.4 * Y + 0.1 * glow], -1)
    waves = 0.12 * np.sin(60 * Y**2 + 4 * np.sin(14 * X)) + 0.3 * glow
    sea = np.stack([0.15 + waves, 0.2 + waves * 0.8, 0.4 + waves * 0.4], -1)
    picture = np.where((Y > 0.6)[..., None], sea, np.where(sun[..., None], [1, 0.9, 0.5], sky))
    return from_channels(*np.moveaxis(picture, -1, 0))


def julia() -> Image.Image:
    """The Julia set of z^2 - 0.8 + 0.156 i, by the number of steps to escape."""
    z = (3 * X - 1.5) + 1j * (2.6 * Y - 1.3)
    steps = np.zeros((SIDE, SIDE))
    for _ in range(48):
        inside = np.abs(z) < 2
        z = np.where(inside, z * z - 0.8 + 0.156j, z)
        steps += inside
    share = steps / 48
    return from_channels(share**0.5, share**1.5, 0.3 + 0.6 * share - 0.5 * share**3)


def cells() -> Image.Image:
    """Voronoi cells of thirty random points."""
    rng = np.random.default_rng(3)
    points, colors = rng.random((30, 2)), rng.uniform(0.15, 0.95, (30, 3))
    distances = np.hypot(X[..., None] - points[:, 0], Y[..., None] - points[:, 1])
    nearest = np.sort(distances, axis=-1)
    picture = colors[distances.argmin(-1)] * np.where(nearest[..., 1] - nearest[..., 0] < 0.012, 0.1, 1)[..., None]
    return from_channels(*np.moveaxis(picture, -1, 0))


def clouds() -> Image.Image:
    """Smooth random fields of three scales."""
    rng = np.random.default_rng(5)
    field = np.zeros((SIDE, SIDE))
    for size, weight in ((4, 0.6), (9, 0.3), (20, 0.15)):
        small = Image.fromarray((255 * rng.random((size, size))).astype(np.uint8))
        field += weight * np.asarray(small.resize((SIDE, SIDE), Image.Resampling.BICUBIC)) / 255
    return from_channels(0.3 + 0.7 * field, 0.45 + 0.55 * field, 0.75 + 0.25 * field)


def house() -> Image.Image:
    """A house with a door and windows, a tree and a fence."""
    image, draw = blank("#9fd0f0")
    draw.rectangle((0, 140, SIDE, SIDE), fill="#6aa84f")
    draw.rectangle((50, 80, 140, 155), fill="#d9a066", outline="#5a3a22", width=2)
    draw.polygon([(40, 82), (95, 38), (150, 82)], fill="#a03030")
    draw.rectangle((86, 112, 106, 155), fill="#5a3a22")
    for left in (60, 114):
        draw.rectangle((left, 96, left + 18, 114), fill="#fff2a8", outline="#5a3a22", width=2)
    draw.rectangle((164, 112, 172, 156), fill="#5a3a22")
    draw.ellipse((148, 62, 190, 120), fill="#2e7d32")
    for left in range(0, 48, 10):
        draw.rectangle((left, 150, left + 4, 176), fill="#f5f5f5")
    draw.ellipse((14, 12, 42, 40), fill="#ffd93b")
    return image


def face() -> Image.Image:
    """A round face."""
    image, draw = blank("#f4e3c1")
    draw.ellipse((32, 24, 160, 172), fill="#f2b27e", outline="#663a1e", width=3)
    for left in (62, 108):
        draw.ellipse((left, 72, left + 24, 92), fill="white", outline="#333333")
        draw.ellipse((left + 8, 76, left + 18, 88), fill="#2b4c7e")
    draw.line([(96, 92), (88, 118), (100, 120)], fill="#663a1e", width=3)
    draw.arc((66, 110, 126, 152), 20, 160, fill="#9c2b2b", width=5)
    draw.chord((30, 14, 162, 90), 180, 360, fill="#3b2412")
    return image


def fish() -> Image.Image:
    """Three fish under water."""
    image, draw = blank("#0f6d9c")
    for x, y, color in ((40, 50, "#ff8c42"), (96, 104, "#ffd23f"), (30, 140, "#ee4266")):
        draw.ellipse((x, y, x + 64, y + 32), fill=color)
        draw.polygon([(x + 60, y + 16), (x + 86, y), (x + 86, y + 32)], fill=color)
        draw.ellipse((x + 10, y + 8, x + 18, y + 16), fill="white")
        draw.ellipse((x + 12, y + 10, x + 16, y + 14), fill="black")
    rng = np.random.default_rng(9)
    for x, y, size in zip(rng.integers(0, SIDE, 16), rng.integers(0, SIDE, 16), rng.integers(2, 7, 16), strict=True):
        draw.ellipse((int(x), int(y), int(x + size), int(y + size)), outline="#bfe6f5")
    return image


def city() -> Image.Image:
    """A skyline at night, with lit windows."""
    image, draw = blank("#0b1033")
    rng = np.random.default_rng(11)
    for x, y in rng.integers(0, SIDE, (50, 2)):
        draw.point((int(x), int(y) // 2), fill="#ffffff")
    left = 0
    while left < SIDE:
        width, height = int(rng.integers(18, 34)), int(rng.integers(50, 140))
        draw.rectangle((left, SIDE - height, left + width, SIDE), fill="#222b3f", outline="#0b1033")
        for x in range(left + 4, left + width - 4, 7):
            for y in range(SIDE - height + 6, SIDE - 6, 9):
                if rng.random() < 0.5:
                    draw.rectangle((x, y, x + 3, y + 4), fill="#ffe08a")
        left += width + 2
    return image


def flower() -> Image.Image:
    """A flower with twelve petals, by its polar coordinates."""
    radius, angle = 2.2 * np.hypot(X - 0.5, Y - 0.5), np.arctan2(Y - 0.5, X - 0.5)
    petals = radius < 0.55 + 0.35 * np.cos(12 * angle)
    core = radius < 0.28
    picture = np.where(petals[..., None], [0.85, 0.25, 0.55], [0.2, 0.5, 0.25])
    picture = np.where(core[..., None], [0.95, 0.8, 0.2], picture) * (1 - 0.25 * radius[..., None])
    return from_channels(*np.moveaxis(picture, -1, 0))


def maze() -> Image.Image:
    """A maze: a random spanning tree of a grid of 12 x 12 cells."""
    image, draw = blank("white")
    rng = np.random.default_rng(13)
    cell, n = SIDE // 12, 12
    reached, stack, open_walls = {(0, 0)}, [(0, 0)], set()
    while stack:
        row, column = stack[-1]
        around = [(row + dr, column + dc) for dr, dc in ((0, 1), (1, 0), (0, -1), (-1, 0))]
        fresh = [c for c in around if 0 <= c[0] < n and 0 <= c[1] < n and c not in reached]
        if not fresh:
            stack.pop()
            continue
        chosen = fresh[int(rng.integers(len(fresh)))]
        open_walls.add(frozenset(((row, column), chosen)))
        reached.add(chosen)
        stack.append(chosen)
    for row in range(n):
        for column in range(n):
            x, y = column * cell, row * cell
            if frozenset(((row, column), (row, column + 1))) not in open_walls:
                draw.line([(x + cell, y), (x + cell, y + cell)], fill="#1a237e", width=3)
            if frozenset(((row, column), (row + 1, column))) not in open_walls:
                draw.line([(x, y + cell), (x + cell, y + cell)], fill="#1a237e", width=3)
    return image


def letters() -> Image.Image:
    """Letters and digits in several sizes."""
    image, draw = blank("#fbfbf5")
    for index, (text, size) in enumerate((("Jacobian", 34), ("U S V", 52), ("0123456", 40), ("block", 28))):
        draw.text((12, 10 + 46 * index), text, fill=("#222222", "#b3261e", "#1b5e20", "#0d47a1")[index],
                  font=ImageFont.load_default(size))  # fmt: skip
    return image


def noise() -> Image.Image:
    """Blocks of independent random gray values."""
    values = np.random.default_rng(17).random((48, 48))
    return from_channels(np.kron(values, np.ones((4, 4))))


PICTURES: tuple[Callable[[], Image.Image], ...] = (
    house, face, fish, city, flower, sunset, letters, maze, checkerboard, gratings, julia, cells, clouds, noise,
)  # fmt: skip


def draw_all(folder: Path) -> list[Path]:
    """Write all pictures as PNG with at most 64 colors each.

    Args:
        folder: an existing folder.

    Returns:
        The files.
    """
    paths = []
    for number, picture in enumerate(PICTURES):
        path = folder / f"{number:02d}-{picture.__name__}.png"
        few = picture().quantize(64, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        few.save(path, optimize=True)
        paths.append(path)
    return paths


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for file in draw_all(FOLDER):
        print(f"{file.name}: {file.stat().st_size} bytes", file=sys.stdout)
