"""Images per second of torchvision and Pillow in a DataLoader: decode, RandomResizedCrop 224, flip, normalise.

Run: python loader.py FOLDER WORKERS PASSES; the folder holds `train/CLASS/*.jpg` (`make FOLDER COUNT` writes one:
500x375 JPEGs of quality 90 with gradients, shapes and noise). kiln's side is crates/kiln-data/examples/loader_speed.rs.
"""
import sys
import time
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


def run(folder, workers, passes):
    import torch
    from torchvision import transforms as T
    from torchvision.datasets import ImageFolder

    chain = T.Compose([T.RandomResizedCrop(224), T.RandomHorizontalFlip(), T.ToTensor(),
                       T.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])])
    data = ImageFolder(Path(folder) / "train", chain)
    loader = torch.utils.data.DataLoader(data, 64, shuffle=True, num_workers=workers, persistent_workers=workers > 0)
    for _ in range(passes):
        start = time.perf_counter()
        images = sum(len(labels) for _, labels in loader)
        print(f"{images / (time.perf_counter() - start):.1f}")


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(sys.argv[2], int(sys.argv[3]))
    else:
        run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
