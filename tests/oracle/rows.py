"""What is compared: for every row a picture, operations, the oracle's own way to the same result, and how far apart they may be."""

from dataclasses import dataclass, field
from typing import Callable, Optional

import numpy as np
from PIL import Image, ImageChops, ImageOps

import oracles
import pictures
from oracles import array

LANCZOS = Image.Resampling.LANCZOS

#: Operations that another named test compares with an oracle.
ELSEWHERE = {}

#: Only rounding: sums in another order, or 8 bits between two steps.
ROUNDING = (2, 0.6)

#: Two passes, in another order, each cut to 0..255: what overshoots differs at sharp edges.
RESAMPLED = (16, 0.25)


@dataclass
class Row:
    name: str
    source_name: str
    source: bytes
    operations: list
    by: str
    oracle: Optional[Callable]
    allowed: tuple
    job: dict = field(default_factory=dict)
    assets: dict = field(default_factory=dict)
    #: Options of the output beside its operations; PNG unless they say otherwise.
    output: dict = field(default_factory=dict)
    #: Judges ours alone, where two programs need not agree on every sample: gives (largest, mean).
    judge: Optional[Callable] = None


MADE = {name: getattr(pictures, name) for name in ("photo", "grey", "alpha", "framed", "spot")}


def row(name, source, operation, by, oracle, allowed=ROUNDING, **more):
    operations = operation if isinstance(operation, list) else [operation]
    if source in MADE:
        picture = MADE[source]()
        return Row(name, source, pictures.png(picture), operations, by, lambda: array(oracle(picture)), allowed, **more)
    data = pictures.stored(source)
    return Row(name, source, data, operations, by, lambda: array(oracle(data)), allowed, **more)


def resizes():
    def op(**parameters):
        return {"op": "resize", **parameters}

    centre = (0.5, 0.5)
    resampled = [
        row("resize inside", "photo", op(width=120, height=120), "Pillow", lambda p: p.resize((120, 80), LANCZOS)),
        row("resize to a width", "photo", op(width=90), "Pillow", lambda p: p.resize((90, 60), LANCZOS)),
        row("resize cover", "photo", op(width=100, height=100, fit="cover"), "Pillow ImageOps.fit",
            lambda p: ImageOps.fit(p, (100, 100), LANCZOS, centering=centre)),
        row("resize cover, gravity east", "photo", op(width=100, height=100, fit="cover", gravity="east"), "Pillow ImageOps.fit",
            lambda p: ImageOps.fit(p, (100, 100), LANCZOS, centering=(1.0, 0.5))),
        row("resize contain", "photo", op(width=120, height=120, fit="contain", background="#204060"), "Pillow ImageOps.pad",
            lambda p: ImageOps.pad(p, (120, 120), LANCZOS, "#204060", centre)),
        row("resize fill", "photo", op(width=100, height=100, fit="fill"), "Pillow", lambda p: p.resize((100, 100), LANCZOS)),
        row("resize outside", "photo", op(width=100, height=100, fit="outside"), "Pillow", lambda p: p.resize((150, 100), LANCZOS)),
        row("resize enlarge", "photo", op(width=600, enlarge=True), "Pillow", lambda p: p.resize((600, 400), LANCZOS)),
        row("resize dpr", "photo", op(width=50, dpr=2), "Pillow", lambda p: p.resize((100, 67), LANCZOS)),
        row("resize grey", "grey", op(width=120), "Pillow", lambda p: p.resize((120, 80), LANCZOS)),
        row("resize alpha (no fringes)", "alpha", op(width=120), "Pillow, premultiplied", oracles.resize_premultiplied((120, 80)), RESAMPLED),
        row("resize kernel nearest", "photo", op(width=100, kernel="nearest"), "Pillow", lambda p: p.resize((100, 67), Image.Resampling.NEAREST), (0, 0)),
        row("resize kernel linear", "photo", op(width=120, kernel="linear"), "Pillow", lambda p: p.resize((120, 80), Image.Resampling.BILINEAR)),
        row("resize kernel cubic", "photo", op(width=120, kernel="cubic"), "Pillow", lambda p: p.resize((120, 80), Image.Resampling.BICUBIC)),
        row("resize kernel lanczos3", "photo", op(width=240, kernel="lanczos3"), "Pillow", lambda p: p.resize((240, 160), LANCZOS)),
        row("resize shrink_on_load off", "path.jpg", op(width=400, shrink_on_load="off"), "Pillow, full decode", oracles.decoded_to((400, 250)), (6, 0.3)),
        row("resize shrink_on_load fine", "path.jpg", op(width=300, shrink_on_load="fine"), "Pillow, full decode", oracles.decoded_to((300, 188)), (16, 0.5)),
        row("resize shrink_on_load fast", "path.jpg", op(width=400), "Pillow, full decode", oracles.decoded_to((400, 250)), (48, 2.5)),
        row("resize gravity smart", "spot", op(width=70, height=100, fit="cover", gravity="smart"), "the spot, whole", None, (0, 0), judge=oracles.holds_spot(0.5)),
        row("resize gravity entropy", "spot", op(width=70, height=100, fit="cover", gravity="entropy"), "the spot, whole", None, (0, 0), judge=oracles.holds_spot(0.5)),
    ]
    for each in resampled:
        if each.allowed == ROUNDING:
            each.allowed = RESAMPLED
    return resampled


def geometry():
    spot_crop = {"op": "crop", "width": 70, "height": 70}
    return [
        row("crop corner", "photo", {"op": "crop", "left": 31, "top": 17, "width": 100, "height": 90}, "Pillow", lambda p: p.crop((31, 17, 131, 107)), (0, 0)),
        row("crop shares", "photo", {"op": "crop", "left": "10%", "top": "50%", "width": "50%", "height": "25%"}, "Pillow", lambda p: p.crop((30, 100, 180, 150)), (0, 0)),
        row("crop aspect_ratio", "photo", {"op": "crop", "aspect_ratio": "1:1", "gravity": "west"}, "Pillow", lambda p: p.crop((0, 0, 200, 200)), (0, 0)),
        row("crop gravity smart", "spot", {**spot_crop, "gravity": "smart"}, "libvips smartcrop attention: at least as much of the spot", None, (0, 0), judge=oracles.holds_spot_as_vips("attention")),
        row("crop gravity entropy", "spot", {**spot_crop, "gravity": "entropy"}, "libvips smartcrop entropy: at least as much of the spot", None, (0, 0), judge=oracles.holds_spot_as_vips("entropy")),
        row("trim", "framed", {"op": "trim"}, "libvips find_trim", oracles.trimmed, (0, 0)),
        row("trim with margin", "framed", {"op": "trim", "threshold": 30, "margin": 7}, "Pillow getbbox", oracles.trimmed_with_margin(30, 7), (0, 0)),
        row("extend background", "photo", {"op": "extend", "left": 9, "bottom": 4, "color": "#204060"}, "Pillow ImageOps.expand", lambda p: ImageOps.expand(p, (9, 0, 0, 4), "#204060"), (0, 0)),
        row("extend copy", "photo", {"op": "extend", "left": 9, "top": 30, "mode": "copy"}, "numpy pad edge", oracles.padded("edge"), (0, 0)),
        row("extend mirror", "photo", {"op": "extend", "left": 9, "top": 30, "mode": "mirror"}, "numpy pad symmetric", oracles.padded("symmetric"), (0, 0)),
        row("extend repeat", "photo", {"op": "extend", "left": 9, "top": 30, "mode": "repeat"}, "numpy pad wrap", oracles.padded("wrap"), (0, 0)),
        row("rotate 90", "photo", {"op": "rotate", "angle": 90}, "Pillow", lambda p: p.transpose(Image.Transpose.ROTATE_270), (0, 0)),
        row("rotate 180", "photo", {"op": "rotate", "angle": -180}, "Pillow", lambda p: p.transpose(Image.Transpose.ROTATE_180), (0, 0)),
        row("rotate 30", "photo", {"op": "rotate", "angle": 30, "background": "#204060"}, "scipy map_coordinates, linear", oracles.rotated(30, (0x20, 0x40, 0x60)), (1, 0.1)),
        row("flip horizontal", "photo", {"op": "flip", "horizontal": True}, "Pillow", ImageOps.mirror, (0, 0)),
        row("flip vertical", "photo", {"op": "flip", "vertical": True}, "Pillow", ImageOps.flip, (0, 0)),
        row("round", "photo", {"op": "round", "radius": 40}, "Pillow rounded_rectangle at 16×", oracles.rounded(40), (8, 0.02)),
        row("round max", "photo", {"op": "round", "radius": "max"}, "Pillow rounded_rectangle at 16×", oracles.rounded(100), (8, 0.05)),
        row("round ellipse", "photo", {"op": "round", "radius": "50%"}, "Pillow ellipse at 16×", oracles.rounded(None), (8, 0.05)),
        row("round on a background", "photo", {"op": "round", "radius": 40, "background": "#ffcc00"}, "Pillow, composed", oracles.rounded(40, (255, 204, 0)), (8, 0.05)),
    ]


def neighbourhoods():
    regions = [{"left": 60, "top": 40, "width": "40%", "height": 100}]
    return [
        row("blur 0.8", "photo", {"op": "blur", "sigma": 0.8}, "scipy gaussian_filter", oracles.blurred(0.8), (1, 0.1)),
        row("blur 4", "photo", {"op": "blur", "sigma": 4}, "scipy gaussian_filter", oracles.blurred(4), (1, 0.1)),
        row("blur 6", "photo", {"op": "blur", "sigma": 6}, "scipy gaussian_filter", oracles.blurred(6), (1, 0.2)),
        row("blur 25", "photo", {"op": "blur", "sigma": 25}, "scipy gaussian_filter", oracles.blurred(25), (1, 0.2)),
        row("blur 100", "photo", {"op": "blur", "sigma": 100}, "scipy gaussian_filter", oracles.blurred(100), (1, 0.3)),
        row("blur alpha (no fringes)", "alpha", {"op": "blur", "sigma": 4}, "scipy gaussian_filter, premultiplied", oracles.blurred(4), (2, 0.1)),
        row("blur region", "photo", {"op": "blur", "sigma": 8, "regions": regions}, "scipy gaussian_filter", oracles.in_region(oracles.blurred(8)), (1, 0.1)),
        row("pixelate", "photo", {"op": "pixelate", "size": 20}, "Pillow reduce", oracles.pixelated(20), (1, 0.1)),
        row("pixelate region", "photo", {"op": "pixelate", "size": 20, "regions": regions}, "Pillow reduce", oracles.in_region(oracles.pixelated(20)), (1, 0.1)),
        row("sharpen", "photo", {"op": "sharpen"}, "scipy gaussian_filter, v + (v − b)", oracles.sharpened(1, 1), (1, 0.1)),
        row("sharpen strong", "photo", {"op": "sharpen", "sigma": 3, "amount": 2.5}, "scipy gaussian_filter, v + 2.5 (v − b)", oracles.sharpened(3, 2.5), (1, 0.1)),
    ]


def colours():
    def adjust(**parameters):
        return {"op": "adjust", **parameters}

    return [
        row("adjust brightness", "photo", adjust(brightness=1.4), "librsvg feComponentTransfer", oracles.brightness(1.4)),
        row("adjust contrast", "photo", adjust(contrast=1.7), "librsvg feComponentTransfer", oracles.contrast(1.7)),
        row("adjust saturation", "photo", adjust(saturation=1.8), "librsvg feColorMatrix saturate", oracles.matrix_filter("saturate", 1.8)),
        row("adjust saturation 0", "photo", adjust(saturation=0), "librsvg feColorMatrix saturate", oracles.matrix_filter("saturate", 0)),
        row("adjust hue", "photo", adjust(hue=75), "librsvg feColorMatrix hueRotate", oracles.matrix_filter("hueRotate", 75)),
        row("adjust gamma", "photo", adjust(gamma=2.2), "librsvg feComponentTransfer gamma", oracles.gamma(2.2)),
        row("adjust alpha", "alpha", adjust(brightness=0.6), "librsvg feComponentTransfer", oracles.brightness(0.6), (3, 0.6)),
        row("normalize grey", "grey", [{"op": "adjust", "contrast": 0.5}, {"op": "normalize"}], "Pillow autocontrast", oracles.normalized_grey, (2, 0.8)),
        row("normalize", "photo", {"op": "normalize"}, "Pillow autocontrast of YCbCr's luma", oracles.normalized, (8, 2.0)),
        row("grayscale", "photo", {"op": "grayscale"}, "Pillow convert L", lambda p: p.convert("L"), (0, 0)),
        row("invert", "photo", {"op": "invert"}, "Pillow ImageOps.invert", ImageOps.invert, (0, 0)),
        row("sepia", "photo", {"op": "sepia"}, "librsvg feColorMatrix", oracles.sepia(1.0)),
        row("sepia 0.4", "photo", {"op": "sepia", "amount": 0.4}, "librsvg feColorMatrix", oracles.sepia(0.4)),
        row("tint", "photo", {"op": "tint", "color": "#7a4e1d"}, "libvips, sharp's tint of the luma", oracles.tinted((0x7A, 0x4E, 0x1D))),
        row("threshold", "photo", {"op": "threshold"}, "Pillow convert L, point", lambda p: p.convert("L").point(lambda v: 255 if v >= 128 else 0), (0, 0)),
        row("flatten", "alpha", {"op": "flatten", "background": "#ffcc00"}, "Pillow alpha_composite", oracles.flattened((255, 204, 0)), (1, 0.3)),
    ]


def overlays():
    def over(blend):
        return {"op": "overlay", "input": "mark", "gravity": "northwest", "x": 40, "y": 30, "blend": blend}

    mark = pictures.alpha().crop((40, 0, 240, 150))
    opaque = pictures.photo().crop((40, 0, 240, 150)).transpose(Image.Transpose.ROTATE_180)
    assets, flat = {"mark": pictures.png(mark)}, {"mark": pictures.png(opaque)}
    return [
        row("overlay over", "photo", over("over"), "Pillow alpha_composite", oracles.composed(mark, (40, 30)), (1, 0.3), assets=assets),
        row("overlay over transparency", "alpha", over("over"), "Pillow alpha_composite", oracles.composed(mark, (40, 30)), (4, 0.5), assets=assets),
        row("overlay multiply", "photo", over("multiply"), "Pillow ImageChops.multiply", oracles.blended(opaque, (40, 30), ImageChops.multiply), (1, 0.6), assets=flat),
        row("overlay screen", "photo", over("screen"), "Pillow ImageChops.screen", oracles.blended(opaque, (40, 30), ImageChops.screen), (1, 0.6), assets=flat),
    ]


#: With words and numbers that run the other way inside; of Arabic, letters that join, a ligature and a mark.
FROM_RIGHT_TO_LEFT = {
    "Hebrew": "\u05d0\u05d1 (12) ab",
    "Arabic": "\u0633\u064e\u0644\u0627\u0645 \u06f1\u06f2 a",
    "Hebrew in Latin": "a \u05d0\u05d1\u05d2!",
}


def texts():
    # At this size the ascent is 64 pixels, so that the oracle's baseline falls on a whole one.
    size = 64 / 1.069
    line = "HaAV fi\u0436\u03ac"
    tall = 64 / 0.928223

    def op(text=line, size=size, **parameters):
        return {"op": "text", "text": text, "size": size, "gravity": "northwest", "x": 10, "y": 8, "color": "white", "max_width": 16384, **parameters}

    oracle = "Pillow with libraqm (HarfBuzz), 16 × supersampled"
    return [
        row("text", "photo", op(), oracle, oracles.written(line, "sans", size, (10, 72)), (64, 0.6)),
        row("text in bold", "photo", op(font="sans-bold"), oracle, oracles.written(line, "sans-bold", size, (10, 72)), (64, 0.6)),
    ] + [
        row(f"text from right to left, {script}", "photo", op(text=words, size=tall, font="world"), oracle, oracles.written(words, "world", tall, (10, 72)), (64, 0.6))
        for script, words in FROM_RIGHT_TO_LEFT.items()
    ]


def decoding():
    rows = [
        row(f"EXIF orientation {number}", f"orient-{number}.jpg", [], "Pillow exif_transpose", lambda data: ImageOps.exif_transpose(pictures.opened(data)), (2, 0.1))
        for number in range(1, 9)
    ]
    plain = ["chart.png", "chart.bmp", "chart.gif", "chart.tif", "chart-alpha.tif", "chart-alpha.bmp", "lossless.webp", "interlaced.png",
             "palette.png", "palette-transparent.png", "one-bit.png", "grey-alpha.png", "rgb-key.png"]
    rows += [row("decode", name, [], "Pillow", pictures.opened, (0, 0)) for name in plain]
    lossy = {"chart.jpg": (2, 0.1), "grey.jpg": (2, 0.1), "chart.webp": (2, 0.1)}
    rows += [row("decode", name, [], "Pillow", pictures.opened, allowed) for name, allowed in lossy.items()]
    deep = ["rgb16.png", "rgb16-interlaced.png", "grey16.tif"]
    rows += [row("16 bits, rounded", name, [], "libvips, v ÷ 257", oracles.sixteen_bits, (0, 0)) for name in deep]
    rows += [row("CMYK", name, [], "Pillow convert RGB", oracles.cmyk, (2, 0.1)) for name in ("cmyk.jpg", "ycck.jpg", "cmyk.tif")]
    rows += [row("wide gamut to sRGB", name, [], "libvips icc_transform", oracles.converted, (2, 0.6)) for name in ("wide.png", "wide.jpg", "wide.tif")]
    rows += [row("wide gamut to sRGB", "wide.gif", [], "Little CMS (Pillow), perceptual", oracles.converted_gif, (2, 0.6))]
    by = "Little CMS (Pillow), perceptual with black point compensation"
    rows += [row("CMYK with a profile", name, [], by, oracles.inks, (18, 1)) for name in ("inks.jpg", "inks.tif", "dark-inks.tif")]
    exact = ["qoi-rgb.qoi", "qoi-rgba.qoi", "bmp-rle8.bmp", "gif-interlaced.gif", "tiff-g4.tif", "tiff-tiles.tif", "tiff-lzw-predictor.tif",
             "tiff-big-endian.tif", "webp-lossless-alpha.webp", "png-animated.png"]
    rows += [row("decode", name, [], "Pillow", pictures.opened, (0, 0)) for name in exact]
    # Five and six bits widened: Pillow cuts off where we round.
    rows.append(row("decode", "bmp-565.bmp", [], "Pillow", pictures.opened, (1, 0.6)))
    coded = {name: (12, 1.0) for name in ("jpeg-440.jpg", "jpeg-restart.jpg", "jpeg-420-progressive.jpg", "avif-444.avif", "avif-420-10.avif", "avif-alpha.avif",
                                         "webp-lossy-alpha.webp")}
    return rows + [row("decode", name, [], "Pillow", pictures.opened, allowed) for name, allowed in coded.items()]


def encoding():
    """The files themselves, as another program reads them."""
    def output(source, allowed, **options):
        name = "write " + ", ".join(str(value) if key == "format" else f"{key} {value}" for key, value in options.items())
        return row(name, source, [], "the picture itself, read by Pillow", lambda picture: picture, allowed, output=options)

    lossless = [("webp", {"lossless": True}), ("tiff", {}), ("tiff", {"effort": 8}), ("qoi", {}), ("png", {"effort": 6})]
    rows = [output(source, (0, 0), format=form, **options) for form, options in lossless for source in ("photo", "alpha")]
    rows += [output("photo", (0, 0), format="bmp"), output("grey", (0, 0), format="gif"), output("photo", (140, 9), format="gif")]
    for options in ({}, {"progressive": True}, {"chroma_subsampling": "4:2:2"}, {"chroma_subsampling": "4:4:4"}):
        rows.append(output("photo", (80, 2.5), format="jpeg", quality=95, **options))
    rows += [output(source, (80, 3.5), format=form, quality=95) for form in ("webp", "avif") for source in ("photo", "alpha")]
    return rows


def rows():
    return resizes() + geometry() + neighbourhoods() + colours() + overlays() + texts() + decoding() + encoding()
