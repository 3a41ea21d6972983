"""The loop of the blog posts: one picture after the other through Pillow into a NumPy array."""

import zipfile
from pathlib import Path

import numpy as np
import PIL
from PIL import Image
from process import serve


def loading(job):
    """A zip of pictures, decoded."""
    height, width = job["size"]

    def decode():
        images = []
        with zipfile.ZipFile(Path(job["folder"]) / "pictures.zip") as archive:
            for name in archive.namelist():
                with archive.open(name) as file:
                    image = Image.open(file).convert("RGB").resize((width, height))
                images.append(np.array(image))
        return {"result": float(np.array(images)[::50].mean())}

    return {"decode": decode}


if __name__ == "__main__":
    serve({"loading": loading}, {"pillow": PIL.__version__})
