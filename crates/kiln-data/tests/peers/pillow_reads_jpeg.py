"""Reads the JPEG files that the test `every_file_has_the_pixels_of_pillow` left in FOLDER/jpeg with the Pillow and the torchvision that
are installed, and compares with the pixels that kiln read (NAME.levels): not one may differ. torchvision reads no inks, and its library is
older than the smooth upsampling of rows alone (4:4:0).

python pillow_reads_jpeg.py FOLDER
"""
import sys
from pathlib import Path

import numpy as np
import PIL
import torch
import torchvision
from PIL import Image
from torchvision.io import decode_jpeg

files = sorted(Path(sys.argv[1], "jpeg").glob("*.jpg"))
assert len(files) > 40, f"{len(files)} files"
for path in files:
    kiln = np.frombuffer(path.with_suffix(".levels").read_bytes(), np.uint8)
    image = Image.open(path)
    pillow = np.asarray(image if image.mode == "L" else image.convert("RGB"))
    assert (pillow.ravel() == kiln).all(), f"{path}: other pixels than Pillow {PIL.__version__} reads"
    if image.mode != "CMYK" and path.stem != "early_end" and not path.stem.startswith("440"):
        torch_ = decode_jpeg(torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8)).permute(1, 2, 0).numpy()
        assert (torch_.ravel() == kiln).all(), f"{path}: other pixels than torchvision {torchvision.__version__} reads"
print(f"{len(files)} JPEG files have the pixels of Pillow {PIL.__version__} and torchvision {torchvision.__version__}")
