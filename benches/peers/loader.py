"""Makes the JPEG files that benches/loader.py reads: `train/CLASS/*.jpg`, 500x375 pixels of quality 90
with gradients, shapes and noise.

Run: python loader.py FOLDER COUNT
"""
import sys
from pathlib import Path


def make(folder, count):
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(3)
    y, x = np.mgrid[0:375, 0:500]
    for i in range(count):
        place = Path(folder) / "train" / str(i % 4)
        place.mkdir(parents=True, exist_ok=True)
        a, b, c = rng.uniform(0.005, 0.05, 3)
        image = np.stack([127 + 110 * np.sin(x * a + y * b), x * 200 / 500 + 30, 127 + 110 * np.cos(y * c)], -1)
        for _ in range(12):
            cy, cx, r = rng.integers(0, 375), rng.integers(0, 500), rng.integers(10, 90)
            image[(x - cx) ** 2 + (y - cy) ** 2 < r * r] = rng.integers(0, 256, 3)
        image += rng.normal(0, 8, image.shape)
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(place / f"{i}.jpg", quality=90)


if __name__ == "__main__":
    make(sys.argv[1], int(sys.argv[2]))
