"""The pictures of the comparison: files of the repository, and what Pillow makes of them. Nothing here passes through the program under test."""

import io
from functools import cache
from pathlib import Path

import numpy as np
import pyvips
from PIL import Image

TESTS = Path(__file__).resolve().parent.parent


def stored(name):
    """Bytes of a file of tests/golden/inputs, tests/data or tests/formats, or of one that libvips makes here."""
    if name in CONVERTED:
        return CONVERTED[name]()
    places = [TESTS / place / name for place in ("golden/inputs", "data", "formats")]
    return next(place for place in places if place.is_file()).read_bytes()


def opened(data):
    picture = Image.open(io.BytesIO(data))
    picture.load()
    return picture


def png(picture):
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


@cache
def photo():
    """300×200, RGB."""
    return Image.open(TESTS / "data" / "ladybird.jpg").crop((0, 0, 1200, 800)).resize((300, 200), Image.Resampling.LANCZOS)


@cache
def grey():
    return photo().convert("L")


@cache
def alpha():
    """The photo under a disc that fades out, with loud colours hidden where nothing is to be seen."""
    pixels = np.asarray(photo()).copy()
    y, x = np.mgrid[0:200, 0:300]
    fade = np.clip((95 - np.hypot(x - 150, y - 100)) * 4, 0, 255)
    pixels[fade == 0] = (255, 0, 255)
    return Image.fromarray(np.dstack([pixels, fade.astype(np.uint8)]), "RGBA")


@cache
def framed():
    """The photo's middle on a page of one colour."""
    page = Image.new("RGB", (300, 200), (244, 240, 236))
    page.paste(photo().crop((40, 60, 180, 130)), (90, 41))
    return page


@cache
def spot():
    """A chequered spot on flat ground, at (225, 60)."""
    page = np.full((200, 300, 3), (30, 60, 200), np.uint8)
    y, x = np.mgrid[0:200, 0:300]
    inside = (abs(x - 225) < 20) & (abs(y - 60) < 20)
    page[inside & ((x // 3 + y // 3) % 2 == 0)] = (255, 250, 240)
    page[inside & ((x // 3 + y // 3) % 2 == 1)] = (120, 90, 20)
    return Image.fromarray(page)


def with_profile(profile, suffix):
    """The photo in the colours of a profile that libvips brings along, which is embedded."""
    def make():
        wide = pyvips.Image.new_from_buffer(png(photo()), "").copy(interpretation="srgb")
        wide = wide.icc_transform(profile, input_profile="srgb", intent="perceptual")
        return wide.write_to_buffer(suffix)
    return make


def wide_gif():
    """The photo as a GIF whose colours are Display P3's, as its application extension says (ICC.1:2010, annex B)."""
    out = io.BytesIO()
    photo().quantize(256).save(out, "GIF")
    file, profile = out.getvalue(), pyvips.Image.profile_load("p3")
    parts = [profile[start:start + 255] for start in range(0, len(profile), 255)]
    block = b"\x21\xff\x0bICCRGBG1012" + b"".join(bytes([len(part)]) + part for part in parts) + b"\0"
    screen = 13 + (3 << ((file[10] & 7) + 1) if file[10] & 0x80 else 0)
    return file[:screen] + block + file[screen:]


def dark_inks():
    """All inks in steps from none to all, each alone, two, three and four together: what a press makes of the darkest colours."""
    steps = np.linspace(0, 255, 32).astype(np.uint8)
    together = [np.array([count >> ink & 1 for ink in range(4)], np.uint8) for count in range(1, 16)]
    pixels = np.stack([steps[:, None] * inks for inks in together]).repeat(4, axis=0)
    picture = Image.frombytes("CMYK", (pixels.shape[1], pixels.shape[0]), pixels.tobytes())
    out = io.BytesIO()
    picture.save(out, "TIFF", icc_profile=pyvips.Image.profile_load("cmyk"))
    return out.getvalue()


#: Display P3, and the inks of a printing press.
CONVERTED = {
    "wide.png": with_profile("p3", ".png"),
    "wide.jpg": with_profile("p3", ".jpg[Q=95,subsample_mode=off]"),
    "wide.tif": with_profile("p3", ".tif"),
    "wide.gif": wide_gif,
    "inks.jpg": with_profile("cmyk", ".jpg[Q=95,subsample_mode=off]"),
    "dark-inks.tif": dark_inks,
    "inks.tif": with_profile("cmyk", ".tif[compression=lzw]"),
}
