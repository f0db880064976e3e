"""Other programs' ways to the results: functions from a picture (or a file's bytes) to a picture or samples."""

import base64
import io
from pathlib import Path

import numpy as np
import pyvips
from PIL import Image, ImageChops, ImageDraw, ImageOps
from scipy import ndimage

import pictures

LANCZOS = Image.Resampling.LANCZOS

#: The region of the rows about regions: left, top, right, bottom.
REGION = (60, 40, 180, 140)


def array(result):
    """Samples, height × width × channels."""
    if isinstance(result, Image.Image):
        if "transparency" in result.info or result.mode in ("LA", "PA"):
            result = result.convert("RGBA")
        elif result.mode not in ("L", "RGB", "RGBA"):
            result = result.convert("RGB")
        result = np.asarray(result)
    return result[:, :, None] if result.ndim == 2 else result


def to_bytes(samples):
    return np.clip(np.floor(samples + 0.5), 0, 255).astype(np.uint8)


def premultiplied(picture, change):
    """Applies `change` to float samples, colours weighed by alpha where there is one."""
    samples = array(picture).astype(float)
    if samples.shape[2] < 4:
        return to_bytes(change(samples))
    share = samples[:, :, 3:] / 255
    changed = change(np.dstack([samples[:, :, :3] * share, samples[:, :, 3:]]))
    alpha = changed[:, :, 3:]
    color = np.divide(changed[:, :, :3] * 255, alpha, out=np.zeros_like(changed[:, :, :3]), where=alpha > 0)
    out = to_bytes(np.dstack([color, alpha]))
    out[out[:, :, 3] == 0] = 0
    return out


# Sizes

def resize_premultiplied(size):
    def resize(picture):
        def scale(samples):
            planes = [Image.fromarray(samples[:, :, channel].astype(np.float32), "F") for channel in range(4)]
            return np.clip(np.dstack([np.asarray(plane.resize(size, LANCZOS)) for plane in planes]), 0, 255)
        return premultiplied(picture, scale)
    return resize


def decoded_to(size):
    return lambda data: pictures.opened(data).convert("RGB").resize(size, LANCZOS)


def spot_share(samples):
    """How much of the spot is in these samples, given its own area there."""
    ground = np.abs(samples[:, :, :3].astype(int) - (30, 60, 200)).max(axis=2) < 40
    return int((~ground).sum())


def holds_spot(scale):
    whole = 39 * 39 * scale * scale
    return lambda ours: (0.0, 0.0) if spot_share(ours) >= 0.95 * whole else (255.0, 255.0)


def holds_spot_as_vips(interesting):
    def judge(ours):
        page = pyvips.Image.new_from_array(np.asarray(pictures.spot())).copy(interpretation="srgb")
        theirs = spot_share(page.smartcrop(70, 70, interesting=interesting).numpy())
        return (0.0, 0.0) if spot_share(ours) >= theirs else (255.0, 255.0)
    return judge


# Geometry

def trimmed(picture):
    page = pyvips.Image.new_from_array(np.asarray(picture)).copy(interpretation="srgb")
    left, top, width, height = page.find_trim(threshold=10, background=list(picture.getpixel((0, 0))), line_art=True)
    return picture.crop((left, top, left + width, top + height))


def trimmed_with_margin(threshold, margin):
    def trim(picture):
        border = Image.new("RGB", picture.size, picture.getpixel((0, 0)))
        apart = ImageChops.difference(picture, border).split()
        most = ImageChops.lighter(ImageChops.lighter(apart[0], apart[1]), apart[2])
        left, top, right, bottom = most.point(lambda value: 255 if value > threshold else 0).getbbox()
        return picture.crop((left - margin, top - margin, right + margin, bottom + margin))
    return trim


def padded(mode):
    return lambda picture: np.pad(np.asarray(picture), ((30, 0), (9, 0), (0, 0)), mode=mode)


def rotated(degrees, background):
    def rotate(picture):
        samples = np.asarray(picture).astype(float)
        height, width = samples.shape[:2]
        angle = np.radians(degrees)
        sine, cosine = np.sin(angle), np.cos(angle)
        wide = round(width * abs(cosine) + height * abs(sine))
        high = round(width * abs(sine) + height * abs(cosine))
        y, x = np.mgrid[0:high, 0:wide].astype(float)
        across, down = x + 0.5 - wide / 2, y + 0.5 - high / 2
        left = across * cosine + down * sine + width / 2 - 0.5
        top = down * cosine - across * sine + height / 2 - 0.5
        planes = [ndimage.map_coordinates(samples[:, :, channel], [top, left], order=1, mode="grid-constant", cval=background[channel]) for channel in range(3)]
        return to_bytes(np.dstack(planes))
    return rotate


def rounded(radius, background=None):
    def round_off(picture):
        width, height = picture.size
        mask = Image.new("L", (width * 16, height * 16), 0)
        box = (0, 0, width * 16 - 1, height * 16 - 1)
        if radius is None:
            ImageDraw.Draw(mask).ellipse(box, fill=255)
        else:
            ImageDraw.Draw(mask).rounded_rectangle(box, radius * 16, fill=255)
        mask = mask.reduce(16)
        if background is not None:
            return Image.composite(picture, Image.new("RGB", picture.size, background), mask)
        out = picture.convert("RGBA")
        out.putalpha(mask)
        return out
    return round_off


# Neighbourhoods

def gaussian(samples, sigma):
    return ndimage.gaussian_filter(samples, (sigma, sigma, 0), mode="nearest", truncate=6)


def blurred(sigma):
    return lambda picture: premultiplied(picture, lambda samples: gaussian(samples, sigma))


def sharpened(sigma, amount):
    return lambda picture: premultiplied(picture, lambda samples: samples + amount * (samples - gaussian(samples, sigma)))


def pixelated(size):
    def pixelate(picture):
        return picture.reduce(size).resize(picture.size, Image.Resampling.NEAREST)
    return pixelate


def in_region(change):
    def inside(picture):
        out = picture.copy()
        part = change(picture.crop(REGION))
        out.paste(part if isinstance(part, Image.Image) else Image.fromarray(part), REGION[:2])
        return out
    return inside


# Colours

def svg_filter(picture, primitives):
    """The picture through filter primitives of SVG, drawn by librsvg."""
    width, height = picture.size
    data = base64.b64encode(pictures.png(picture)).decode()
    document = f"""<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="{width}" height="{height}">
      <filter id="f" x="0" y="0" width="1" height="1" color-interpolation-filters="sRGB">{primitives}</filter>
      <image width="{width}" height="{height}" filter="url(#f)" xlink:href="data:image/png;base64,{data}"/></svg>"""
    drawn = pyvips.Image.svgload_buffer(document.encode()).numpy()
    return drawn if picture.mode == "RGBA" else drawn[:, :, :3]


def transfer(attributes):
    functions = "".join(f"<feFunc{channel} {attributes}/>" for channel in "RGB")
    return lambda picture: svg_filter(picture, f"<feComponentTransfer>{functions}</feComponentTransfer>")


def brightness(factor):
    return transfer(f'type="linear" slope="{factor}"')


def contrast(factor):
    return transfer(f'type="linear" slope="{factor}" intercept="{0.5 - 0.5 * factor}"')


def gamma(value):
    return transfer(f'type="gamma" amplitude="1" exponent="{1 / value}" offset="0"')


def matrix_filter(kind, value):
    return lambda picture: svg_filter(picture, f'<feColorMatrix type="{kind}" values="{value}"/>')


def sepia(amount):
    """The matrix of CSS's sepia(), as Filter Effects 1 spells its SVG equivalent."""
    s = 1 - amount
    values = (f"{0.393 + 0.607 * s} {0.769 - 0.769 * s} {0.189 - 0.189 * s} 0 0 "
              f"{0.349 - 0.349 * s} {0.686 + 0.314 * s} {0.168 - 0.168 * s} 0 0 "
              f"{0.272 - 0.272 * s} {0.534 - 0.534 * s} {0.131 + 0.869 * s} 0 0 0 0 0 1 0")
    return matrix_filter("matrix", values)


def normalized_grey(picture):
    flat = picture.point([int(np.floor((value - 127.5) * 0.5 + 127.5 + 0.5)) for value in range(256)])
    return ImageOps.autocontrast(flat, cutoff=1)


def normalized(picture):
    luma, blue, red = picture.convert("YCbCr").split()
    return Image.merge("YCbCr", (ImageOps.autocontrast(luma, cutoff=1), blue, red)).convert("RGB")


def tinted(color):
    def tint(picture):
        grey = pyvips.Image.new_from_array(np.asarray(picture.convert("L")))
        of_color = pyvips.Image.black(1, 1, bands=3) + list(color)
        _, a, b = of_color.cast("uchar").copy(interpretation="srgb").colourspace("lab").getpoint(0, 0)
        ramp = pyvips.Image.identity(bands=3).copy(interpretation="srgb").colourspace("lab")[0]
        share = ramp / 100
        weight = (share - 0.5) ** 2 * -4 + 1
        table = ramp.bandjoin([weight * a, weight * b]).copy(interpretation="lab").colourspace("srgb")
        return grey.maplut(table).numpy()
    return tint


def flattened(background):
    def flatten(picture):
        return Image.alpha_composite(Image.new("RGBA", picture.size, (*background, 255)), picture).convert("RGB")
    return flatten


# Overlays

def composed(mark, place):
    def compose(picture):
        layer = Image.new("RGBA", picture.size)
        layer.paste(mark, place)
        return Image.alpha_composite(picture.convert("RGBA"), layer)
    return compose


def blended(mark, place, blend):
    def compose(picture):
        out = picture.copy()
        left, top = place
        box = (left, top, left + mark.width, top + mark.height)
        out.paste(blend(picture.crop(box), mark), box)
        return out
    return compose


# Decoding

def sixteen_bits(data):
    samples = pyvips.Image.new_from_buffer(data, "").numpy().astype(float)
    return to_bytes(samples / 257)


def cmyk(data):
    return pictures.opened(data).convert("RGB")


def converted(data):
    """Through the embedded profile to sRGB, as Little CMS does it inside libvips."""
    return pyvips.Image.new_from_buffer(data, "").icc_transform("srgb", embedded=True, intent="perceptual").numpy()


def converted_gif(data):
    """The same by Little CMS inside Pillow: neither reads the profile of a GIF by itself."""
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(io.BytesIO(pyvips.Image.profile_load("p3")))
    way = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), "RGB", "RGB", ImageCms.Intent.PERCEPTUAL)
    return ImageCms.applyTransform(pictures.opened(data).convert("RGB"), way)


def inks(data):
    """The same for inks by Little CMS inside Pillow, with black point compensation: the darkest ink becomes black."""
    from PIL import ImageCms

    picture = pictures.opened(data)
    profile = ImageCms.ImageCmsProfile(io.BytesIO(picture.info["icc_profile"]))
    way = ImageCms.buildTransform(
        profile, ImageCms.createProfile("sRGB"), "CMYK", "RGB", ImageCms.Intent.PERCEPTUAL, ImageCms.Flags.BLACKPOINTCOMPENSATION)
    return ImageCms.applyTransform(picture, way)


#: Fonts as `text` calls them; one of the settings has the letters that the bundled ones lack (Debian: fonts-dejavu-core).
BUNDLED = Path(__file__).resolve().parents[2] / "src/pipeline/fonts"
FONTS = {
    "sans": BUNDLED / "NotoSans-Regular.ttf",
    "sans-bold": BUNDLED / "NotoSans-Bold.ttf",
    "world": Path("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf"),
}


def written(text, font_name, size, origin):
    """White text with its baseline at `origin`, put in order by FriBidi, shaped by HarfBuzz and drawn by FreeType so large that no hinting matters."""
    from PIL import ImageDraw, ImageFont

    times = 16
    path = FONTS[font_name]

    def oracle(picture):
        font = ImageFont.truetype(str(path), size * times, layout_engine=ImageFont.Layout.RAQM)
        mask = Image.new("L", (picture.width * times, picture.height * times), 0)
        ImageDraw.Draw(mask).text((origin[0] * times, origin[1] * times), text, fill=255, font=font, anchor="ls")
        picture = picture.convert("RGB")
        picture.paste((255, 255, 255), (0, 0), mask.reduce(times))
        return picture

    return oracle
