#!/usr/bin/env python3
"""Makes the files of this folder: every kind of image that is read, small, with the pixels that somebody else's decoder finds in it.

Needs Pillow, numpy, tifffile, imagecodecs, pyvips and pillow-heif (PyPI); avifenc, avifdec, cjxl, djxl, cjpeg, tiffcp and rsvg-convert (Debian:
libavif-bin, libjxl-tools, libimage-exiftool-perl, libjpeg-turbo-progs, libtiff-tools, librsvg2-bin). Run by hand when a kind is added; the files are kept."""
import io, json, os, struct, subprocess, sys, tempfile, zlib
import numpy as np
from PIL import Image

HERE = os.path.dirname(os.path.abspath(__file__))
TMP = tempfile.mkdtemp()
W, H = 45, 35
cases = []

yy, xx = np.mgrid[0:H, 0:W]
rgb = np.stack([xx * 255 // (W - 1), yy * 255 // (H - 1), (xx + yy) * 255 // (W + H - 2)], -1).astype(np.uint8)
rgb[8:20, 10:22] = [230, 40, 60]
rgb[15:30, 25:40] = [30, 60, 220]
alpha = np.clip(255 - ((xx - 22) ** 2 + (yy - 17) ** 2) // 2, 0, 255).astype(np.uint8)
rgba = np.dstack([rgb, alpha])
grey = np.asarray(Image.fromarray(rgb).convert("L"))
src = lambda name: os.path.join(TMP, name)
Image.fromarray(rgb).save(src("rgb.png"))
Image.fromarray(rgb).save(src("rgb.ppm"))
Image.fromarray(grey).save(src("grey.png"))
Image.fromarray(grey).save(src("grey.pgm"))
Image.fromarray(rgba).save(src("rgba.png"))
ramp = ((xx * 65535) // (W - 1)).astype(np.uint16)
wide = np.stack([ramp, ((yy * 65535) // (H - 1)).astype(np.uint16), ramp[:, ::-1]], -1)


def run(*command):
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def eight(values):
    return ((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)


def case(name, pixels, mean=0.0, most=0, oracle="numpy"):
    """A file that is in the folder already; `pixels` is an array or an image."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(np.ascontiguousarray(pixels))
    image.save(os.path.join(HERE, name + ".png"), optimize=True)
    cases.append({"file": name, "mean": mean, "most": most, "oracle": oracle})


def refused(name, word, code="unsupported_format"):
    cases.append({"file": name, "refused": code, "word": word})


def put(name, data):
    with open(os.path.join(HERE, name), "wb") as file:
        file.write(data)
    return os.path.join(HERE, name)


# JPEG: Pillow (libjpeg-turbo) writes and reads.
def jpeg(name, image, mean=0.6, most=8, **options):
    image.save(os.path.join(HERE, name), "JPEG", quality=92, **options)
    read = Image.open(os.path.join(HERE, name))
    case(name, read.convert("RGB") if read.mode == "CMYK" else read, mean, most, "Pillow")


for sampling, word in [(0, "444"), (1, "422"), (2, "420")]:
    jpeg(f"jpeg-{word}.jpg", Image.fromarray(rgb), subsampling=sampling)
    jpeg(f"jpeg-{word}-progressive.jpg", Image.fromarray(rgb), subsampling=sampling, progressive=True)
jpeg("jpeg-grey.jpg", Image.fromarray(grey))
jpeg("jpeg-grey-progressive.jpg", Image.fromarray(grey), progressive=True)
for name, options in [
    ("440", ["-sample", "1x2"]), ("411", ["-sample", "4x1"]), ("410", ["-sample", "4x2"]),
    ("restart", ["-restart", "2B"]), ("restart-rows", ["-restart", "1", "-sample", "2x2"]),
    ("arithmetic", ["-arithmetic"]), ("rgb", ["-rgb"]), ("optimised", ["-optimize"]), ("progressive-restart", ["-progressive", "-restart", "1"]),
]:
    file = f"jpeg-{name}.jpg"
    run("cjpeg", "-quality", "92", *options, "-outfile", os.path.join(HERE, file), src("rgb.ppm"))
    with open(src("d.ppm"), "wb") as out:
        subprocess.run(["djpeg", os.path.join(HERE, file)], check=True, stdout=out)
    case(file, Image.open(src("d.ppm")), 1.0, 12, "djpeg")
# CMYK: Adobe's inversion, with its marker; the oracle is the naive product that browsers use.
cmyk = np.dstack([255 - rgb, np.full((H, W), 40, np.uint8)])
for name, options in [("jpeg-cmyk.jpg", {}), ("jpeg-cmyk-progressive.jpg", {"progressive": True})]:
    Image.fromarray(cmyk, "CMYK").save(os.path.join(HERE, name), quality=95, **options)
    light = 255 - np.asarray(Image.open(os.path.join(HERE, name))).astype(np.uint32)
    case(name, ((light[..., :3] * light[..., 3:] + 127) // 255).astype(np.uint8), 1.0, 12, "Pillow's CMYK, multiplied")
base = bytearray(open(os.path.join(HERE, "jpeg-444.jpg"), "rb").read())
at = base.index(b"\xff\xc0")
twelve = bytearray(base); twelve[at + 1] = 0xC1; twelve[at + 4] = 12
put("jpeg-12-bit.jpg", bytes(twelve)); refused("jpeg-12-bit.jpg", "12")
lossless = bytearray(base); lossless[at + 1] = 0xC3
put("jpeg-lossless.jpg", bytes(lossless)); refused("jpeg-lossless.jpg", "lossless")


# PNG: written here, chunk by chunk.
def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def packed(rows, depth):
    if depth == 16:
        return [row.astype(">u2").tobytes() for row in rows]
    if depth == 8:
        return [row.astype(np.uint8).tobytes() for row in rows]
    out = []
    for row in rows:
        bits = "".join(format(int(value), f"0{depth}b") for value in row.ravel())
        bits += "0" * (-len(bits) % 8)
        out.append(int(bits, 2).to_bytes(len(bits) // 8, "big"))
    return out


def png(name, samples, color, depth, pixels, extra=b"", interlaced=False):
    height, width = samples.shape[:2]
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)] if interlaced else [(0, 0, 1, 1)]
    raw = b""
    for x, y, dx, dy in passes:
        part = samples[y::dy, x::dx]
        if part.size:
            raw += b"".join(b"\0" + row for row in packed(part, depth))
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, int(interlaced))) + extra
    put(name, data + chunk(b"IDAT", zlib.compress(raw, 9)) + chunk(b"IEND", b""))
    case(name, pixels)


for depth in (1, 2, 4, 8, 16):
    top = (1 << depth) - 1
    values = (xx * top // (W - 1)).astype(np.uint16)
    shown = eight(values) if depth == 16 else (values.astype(np.uint32) * 255 // top).astype(np.uint8)
    for interlaced in (False, True):
        word = "-interlaced" if interlaced else ""
        png(f"png-grey-{depth}{word}.png", values, 0, depth, shown, interlaced=interlaced)
    key = int(values[0, W // 2])
    clear = np.where(values == key, 0, 255).astype(np.uint8)
    png(f"png-grey-{depth}-key.png", values, 0, depth, np.dstack([shown, shown, shown, clear]), chunk(b"tRNS", struct.pack(">H", key)))
    if depth <= 8:
        indices = (values % (top + 1)).astype(np.uint8)
        colors = np.array([[i * 37 % 256, i * 91 % 256, 255 - i * 13 % 256] for i in range(top + 1)], np.uint8)
        opacity = np.array([i * 255 // max(top, 1) for i in range(top + 1)], np.uint8)
        png(f"png-palette-{depth}.png", indices, 3, depth, colors[indices], chunk(b"PLTE", colors.tobytes()))
        shown = np.dstack([colors[indices], opacity[indices]])
        extra = chunk(b"PLTE", colors.tobytes()) + chunk(b"tRNS", opacity.tobytes())
        png(f"png-palette-{depth}-alpha.png", indices, 3, depth, shown, extra, interlaced=depth == 4)
png("png-rgb-8.png", rgb, 2, 8, rgb)
png("png-rgb-8-key.png", rgb, 2, 8, np.dstack([rgb, np.where((rgb == [230, 40, 60]).all(-1), 0, 255).astype(np.uint8)]), chunk(b"tRNS", struct.pack(">HHH", 230, 40, 60)))
png("png-rgb-16.png", wide, 2, 16, eight(wide))
png("png-rgb-16-interlaced.png", wide, 2, 16, eight(wide), interlaced=True)
key = wide[3, 4]
png("png-rgb-16-key.png", wide, 2, 16, np.dstack([eight(wide), np.where((wide == key).all(-1), 0, 255).astype(np.uint8)]), chunk(b"tRNS", struct.pack(">HHH", *map(int, key))))
png("png-rgba-8.png", rgba, 6, 8, rgba, interlaced=True)
wide_alpha = np.dstack([wide, alpha.astype(np.uint16) * 257])
png("png-rgba-16.png", wide_alpha, 6, 16, eight(wide_alpha))
grey_alpha = np.dstack([grey, alpha])
png("png-grey-alpha-8.png", grey_alpha, 4, 8, np.dstack([grey, grey, grey, alpha]))
wide_grey = np.dstack([ramp, alpha.astype(np.uint16) * 257])
png("png-grey-alpha-16.png", wide_grey, 4, 16, np.dstack([eight(ramp)] * 3 + [alpha]))
frames = [Image.fromarray(rgb), Image.fromarray(255 - rgb)]
frames[0].save(os.path.join(HERE, "png-animated.png"), save_all=True, append_images=frames[1:], duration=100)
case("png-animated.png", rgb)


# TIFF: tifffile and Pillow write, libtiff's tiffcp recodes; lossless, so the pixels are known.
import tifffile
def tiff(name, array, pixels, mean=0.0, most=0, **options):
    tifffile.imwrite(os.path.join(HERE, name), array, metadata=None, software=False, **options)
    case(name, pixels, mean, most)


tiff("tiff-plain.tif", rgb, rgb, photometric="rgb")
tiff("tiff-big-endian.tif", rgb, rgb, photometric="rgb", byteorder=">")
tiff("tiff-bigtiff.tif", rgb, rgb, photometric="rgb", bigtiff=True)
tiff("tiff-alpha.tif", rgba, rgba, photometric="rgb", extrasamples=["unassalpha"])
tiff("tiff-grey.tif", grey, grey, photometric="minisblack")
tiff("tiff-grey-white-is-zero.tif", 255 - grey, grey, photometric="miniswhite")
tiff("tiff-16.tif", wide, eight(wide), photometric="rgb")
tiff("tiff-16-big-endian.tif", wide, eight(wide), photometric="rgb", byteorder=">")
tiff("tiff-grey-16.tif", ramp, eight(ramp), photometric="minisblack")
tiff("tiff-planar.tif", np.moveaxis(rgb, -1, 0), rgb, photometric="rgb", planarconfig="separate")
unit = (rgb / 255).astype(np.float32)
tiff("tiff-float.tif", unit, rgb, photometric="rgb")
plain = os.path.join(HERE, "tiff-plain.tif")
for word, options in [
    ("lzw", ["-c", "lzw"]), ("lzw-predictor", ["-c", "lzw:2"]), ("deflate", ["-c", "zip"]), ("deflate-predictor", ["-c", "zip:2"]),
    ("packbits", ["-c", "packbits"]), ("strips", ["-r", "7"]), ("tiles", ["-t", "-w", "16", "-l", "16"]),
    ("tiles-lzw", ["-t", "-w", "16", "-l", "16", "-c", "lzw"]), ("planar-strips-lzw", ["-p", "separate", "-r", "7", "-c", "lzw"]),
]:
    run("tiffcp", *options, plain, os.path.join(HERE, f"tiff-{word}.tif"))
    case(f"tiff-{word}.tif", rgb)
run("tiffcp", "-c", "jpeg:r:95", plain, os.path.join(HERE, "tiff-jpeg.tif"))
case("tiff-jpeg.tif", Image.open(os.path.join(HERE, "tiff-jpeg.tif")).convert("RGB"), 1.0, 12, "Pillow (libtiff)")
run("tiffcp", "-p", "separate", "-t", "-w", "16", "-l", "16", plain, os.path.join(HERE, "tiff-tiles-planar.tif"))
refused("tiff-tiles-planar.tif", "separate tiles")
Image.fromarray(cmyk, "CMYK").save(os.path.join(HERE, "tiff-cmyk.tif"), compression="tiff_lzw")
light = 255 - cmyk.astype(np.uint32)
case("tiff-cmyk.tif", ((light[..., :3] * light[..., 3:] + 127) // 255).astype(np.uint8), 0.6, 1)
bits = Image.fromarray(grey).convert("1", dither=Image.Dither.NONE)
bits.save(os.path.join(HERE, "tiff-1-bit.tif")); case("tiff-1-bit.tif", bits.convert("L"))
bits.save(os.path.join(HERE, "tiff-g4.tif"), compression="group4"); case("tiff-g4.tif", bits.convert("L"))
quantised = Image.fromarray(rgb).quantize(16)
quantised.save(os.path.join(HERE, "tiff-palette.tif")); refused("tiff-palette.tif", "palette")
half = (rgb / 255).astype(np.float16)
tifffile.imwrite(os.path.join(HERE, "tiff-float-16.tif"), half, photometric="rgb", metadata=None, software=False)
refused("tiff-float-16.tif", "16 bits")


# BMP: written here where Pillow writes no such thing.
def bmp_header(bits, size, height=H, compression=0, colors=0, masks=b"", header=40):
    offset = 14 + header + len(masks) + colors * 4
    info = struct.pack("<IiiHHIIiiII", header, W, height, 1, bits, compression, size, 2835, 2835, colors, 0)
    return b"BM" + struct.pack("<IHHI", offset + size, 0, 0, offset) + info + b"\0" * (header - 40)


def bmp_rows(rows):
    return b"".join(row + b"\0" * (-len(row) % 4) for row in rows)


for name, image in [("1", bits), ("8", quantised), ("24", Image.fromarray(rgb))]:
    image.save(os.path.join(HERE, f"bmp-{name}.bmp")); case(f"bmp-{name}.bmp", image.convert("RGB"))
bgr = rgb[..., ::-1]
data = bmp_rows([row.tobytes() for row in bgr])
put("bmp-top-down.bmp", bmp_header(24, len(data), -H) + data); case("bmp-top-down.bmp", rgb)
core = b"BM" + struct.pack("<IHHI", 26 + len(data), 0, 0, 26) + struct.pack("<IHHHH", 12, W, H, 1, 24)
put("bmp-core.bmp", core + bmp_rows([row.tobytes() for row in bgr[::-1]])); case("bmp-core.bmp", rgb)
r5, g6, g5, b5 = rgb[..., 0] >> 3, rgb[..., 1] >> 2, rgb[..., 1] >> 3, rgb[..., 2] >> 3
up = lambda values, top: (values.astype(np.uint32) * 255 / top + 0.5).astype(np.uint8)
word = (r5.astype(np.uint16) << 10 | g5.astype(np.uint16) << 5 | b5).astype("<u2")
data = bmp_rows([row.tobytes() for row in word[::-1]])
put("bmp-16.bmp", bmp_header(16, len(data)) + data); case("bmp-16.bmp", np.dstack([up(r5, 31), up(g5, 31), up(b5, 31)]), 0.5, 1)
word = (r5.astype(np.uint16) << 11 | g6.astype(np.uint16) << 5 | b5).astype("<u2")
data = bmp_rows([row.tobytes() for row in word[::-1]])
masks = struct.pack("<III", 0xF800, 0x07E0, 0x001F)
put("bmp-565.bmp", bmp_header(16, len(data), compression=3, masks=masks) + masks + data)
case("bmp-565.bmp", np.dstack([up(r5, 31), up(g6, 63), up(b5, 31)]), 0.5, 1)
data = np.dstack([bgr, np.zeros((H, W), np.uint8)])[::-1].tobytes()
put("bmp-32.bmp", bmp_header(32, len(data)) + data); case("bmp-32.bmp", rgb)
masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
data = np.dstack([bgr, alpha])[::-1].tobytes()
header = bytearray(bmp_header(32, len(data), compression=3, header=108)); header[54:70] = masks
put("bmp-32-alpha.bmp", bytes(header) + data); case("bmp-32-alpha.bmp", rgba)
index = np.asarray(quantised)
runs = b""
for row in index[::-1]:
    at = 0
    while at < W:
        count = 1
        while at + count < W and row[at + count] == row[at] and count < 255:
            count += 1
        runs += bytes([count, int(row[at])]); at += count
    runs += b"\0\0"
runs += b"\0\1"
colors = np.zeros((256, 4), np.uint8); table = np.array(quantised.getpalette("RGB"), np.uint8).reshape(-1, 3); colors[: len(table), :3] = table[:, ::-1]
put("bmp-rle8.bmp", bmp_header(8, len(runs), compression=1, colors=256) + colors.tobytes() + runs); case("bmp-rle8.bmp", quantised.convert("RGB"))


# GIF, WebP, QOI.
quantised.save(os.path.join(HERE, "gif-plain.gif"), interlace=0); case("gif-plain.gif", quantised.convert("RGB"))
quantised.save(os.path.join(HERE, "gif-interlaced.gif"), interlace=1); case("gif-interlaced.gif", quantised.convert("RGB"))
quantised.save(os.path.join(HERE, "gif-transparent.gif"), transparency=3)
case("gif-transparent.gif", Image.open(os.path.join(HERE, "gif-transparent.gif")).convert("RGBA"), oracle="Pillow")
for name, options, mean, most in [("lossy", {"quality": 90}, 1.5, 16), ("lossless", {"lossless": True}, 0, 0)]:
    for picture, word in [(rgb, ""), (rgba, "-alpha")]:
        file = f"webp-{name}{word}.webp"
        Image.fromarray(picture).save(os.path.join(HERE, file), exact=True, **options)
        case(file, Image.open(os.path.join(HERE, file)), mean, most, "Pillow (libwebp)")
frames[0].save(os.path.join(HERE, "webp-animated.webp"), save_all=True, append_images=frames[1:], duration=100, lossless=True); case("webp-animated.webp", rgb)
import imagecodecs
put("qoi-rgb.qoi", imagecodecs.qoi_encode(rgb)); case("qoi-rgb.qoi", rgb)
put("qoi-rgba.qoi", imagecodecs.qoi_encode(rgba)); case("qoi-rgba.qoi", rgba)


# AVIF: libavif writes and reads.
def avif(name, source, *options, mean=1.0, most=10):
    run("avifenc", "-s", "6", "--min", "4", "--max", "12", *options, src(source), os.path.join(HERE, name))
    run("avifdec", "-d", "8", os.path.join(HERE, name), src("d.png"))
    case(name, Image.open(src("d.png")), mean, most, "avifdec")


for yuv in ("444", "422", "420", "400"):
    avif(f"avif-{yuv}.avif", "rgb.png", "-y", yuv)
    avif(f"avif-{yuv}-10.avif", "rgb.png", "-y", yuv, "-d", "10")
avif("avif-12.avif", "rgb.png", "-y", "444", "-d", "12")
avif("avif-420-12.avif", "rgb.png", "-y", "420", "-d", "12")
avif("avif-limited.avif", "rgb.png", "-r", "limited", "-y", "444")
avif("avif-limited-10-420.avif", "rgb.png", "-r", "limited", "-y", "420", "-d", "10")
avif("avif-alpha.avif", "rgba.png", "-y", "444")
avif("avif-alpha-10.avif", "rgba.png", "-y", "420", "-d", "10")
avif("avif-premultiplied.avif", "rgba.png", "-y", "444", "-p", "--minalpha", "0", "--maxalpha", "0", mean=2.0, most=255)
for matrix in (1, 5, 6, 8, 9):
    avif(f"avif-matrix-{matrix}.avif", "rgb.png", "-y", "444", "--cicp", f"1/13/{matrix}")
avif("avif-matrix-0.avif", "rgb.png", "-l", mean=0.0, most=0)
for angle in (1, 2, 3):
    avif(f"avif-turned-{angle}.avif", "rgb.png", "-y", "444", "--irot", angle)
for axis in (0, 1):
    avif(f"avif-mirrored-{axis}.avif", "rgb.png", "-y", "444", "--irot", "1", "--imir", axis)
for name in [case["file"] for case in cases if case["file"].startswith(("avif-turned", "avif-mirrored"))]:
    # avifdec 0.11 leaves turns to who shows the image: done here as the property says, rotation first.
    image = Image.open(os.path.join(HERE, name + ".png"))
    if name.startswith("avif-turned"):
        image = image.rotate(90 * int(name[12]), expand=True)
    else:
        image = image.rotate(90, expand=True)
        image = image.transpose([Image.Transpose.FLIP_TOP_BOTTOM, Image.Transpose.FLIP_LEFT_RIGHT][int(name[14])])
    image.save(os.path.join(HERE, name + ".png"))
avif("avif-cropped.avif", "rgb.png", "-y", "444", "--crop", "4,6,36,24")
image = Image.open(os.path.join(HERE, "avif-cropped.avif.png"))
if image.size == (W, H):
    image.crop((4, 6, 40, 30)).save(os.path.join(HERE, "avif-cropped.avif.png"))
big = Image.fromarray(rgb).resize((256, 192), Image.Resampling.BICUBIC); big.save(src("big.png"))
avif("avif-grid.avif", "big.png", "-y", "420", "--grid", "2x2")
avif("avif-tiles.avif", "big.png", "-y", "420", "--tilecolslog2", "1", "--tilerowslog2", "1")

# Colours of another gamut: Display P3 as libvips describes it, by profile and by numbers; LittleCMS makes sRGB of what avifdec finds.
import pyvips
from PIL import ImageCms
P3 = pyvips.Image.profile_load("p3")
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
with open(src("p3.icc"), "wb") as file:
    file.write(P3)
for name, options in [("avif-p3.avif", ["--icc", src("p3.icc")]), ("avif-p3-numbers.avif", ["--cicp", "12/13/6"])]:
    avif(name, "rgb.png", "-y", "444", *options)
    found = Image.open(src("d.png")).convert("RGB")
    converted = ImageCms.profileToProfile(found, ImageCms.ImageCmsProfile(io.BytesIO(P3)), SRGB, outputMode="RGB")
    converted.save(os.path.join(HERE, name + ".png"), optimize=True)
    cases[-1]["oracle"] = "avifdec, LittleCMS"
# With everything a file may say of itself: read by a unit test, so it is no case.
exif = Image.Exif()
exif[315], exif[33432] = "SECRET-ARTIST", "SECRET-CC"
XMP = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description xmlns:a="b" rdf:about="" a:b="SECRET-XMP"/></rdf:RDF></x:xmpmeta>"""
Image.fromarray(rgb).save(os.path.join(HERE, "avif-described.avif"), quality=60, speed=8, icc_profile=P3, exif=exif.tobytes(), xmp=XMP)
# The same in JPEG XL, whose boxes libjxl compresses, and what ExifTool writes into a GIF.
Image.fromarray(rgb).save(src("described.jpg"), quality=90, exif=exif.tobytes(), xmp=XMP)
run("cjxl", src("described.jpg"), os.path.join(HERE, "jxl-described.jxl"), "--lossless_jpeg=1")
# And a gigabyte of zeros in a compressed box (PyPI: brotli).
import brotli
box = lambda kind, data: struct.pack(">I", len(data) + 8) + kind + data
packer = brotli.Compressor(quality=5, lgwin=24)
packed = b"".join(packer.process(bytes(1 << 26)) for _ in range(16)) + packer.finish()
run("cjxl", src("rgb.png"), src("bare.jxl"), "-d", "1")
with open(os.path.join(HERE, "jxl-packed-gigabyte.jxl"), "wb") as file:
    file.write(box(b"JXL ", b"\r\n\x87\n") + box(b"ftyp", b"jxl \0\0\0\0jxl ") + box(b"brob", b"Exif" + packed) + box(b"jxlc", open(src("bare.jxl"), "rb").read()))
Image.fromarray(rgb).save(os.path.join(HERE, "gif-described.gif"))
run("exiftool", "-q", "-overwrite_original", "-XMP-dc:Creator=SECRET-ARTIST", "-XMP-dc:Rights=SECRET-CC", "-Comment=SECRET-COMMENT",
    os.path.join(HERE, "gif-described.gif"))


# JPEG XL: libjxl writes and reads.
def jxl(name, source, *options, mean=1.0, most=10):
    run("cjxl", src(source), os.path.join(HERE, name), *options)
    run("djxl", os.path.join(HERE, name), src("d.png"), "--bits_per_sample", "8")
    case(name, Image.open(src("d.png")), mean, most, "djxl")


jxl("jxl-lossy.jxl", "rgb.png", "-d", "1")
jxl("jxl-lossless.jxl", "rgb.png", "-d", "0", mean=0.0, most=0)
jxl("jxl-alpha.jxl", "rgba.png", "-d", "0", mean=0.0, most=0)
jxl("jxl-grey.jxl", "grey.png", "-d", "0", mean=0.0, most=0)
jxl("jxl-progressive.jxl", "rgb.png", "-d", "1", "-p")
jxl("jxl-container.jxl", "rgb.png", "-d", "1", "--container=1")
run("cjxl", os.path.join(HERE, "jpeg-420.jpg"), os.path.join(HERE, "jxl-from-jpeg.jxl"), "--lossless_jpeg=1")
case("jxl-from-jpeg.jxl", Image.open(os.path.join(HERE, "jpeg-420.jpg")), 1.0, 14, "Pillow, of the JPEG inside")
Image.fromarray(wide.astype(np.uint16)[..., 0]).save(src("wide.png"))
jxl("jxl-16.jxl", "wide.png", "-d", "0", mean=0.5, most=1)
case("jxl-16.jxl", eight(ramp), 0.5, 1); cases.pop(-2)
turned = Image.fromarray(rgb); exif = turned.getexif(); exif[0x112] = 6
turned.save(src("turned.jpg"), quality=95, exif=exif, subsampling=0)
run("cjxl", src("turned.jpg"), os.path.join(HERE, "jxl-turned.jxl"), "--lossless_jpeg=1")
case("jxl-turned.jxl", Image.open(src("turned.jpg")).rotate(-90, expand=True), 1.0, 12, "Pillow, of the JPEG inside, turned")
frames[0].save(src("animated.gif"), save_all=True, append_images=[frames[1]], duration=100)
run("cjxl", src("animated.gif"), os.path.join(HERE, "jxl-animated.jxl"), "-d", "0")
case("jxl-animated.jxl", Image.open(src("animated.gif")).convert("RGB"), 0.0, 0, "Pillow, of the GIF")


# SVG: librsvg draws.
def svg(name, text, mean=1.5, most=80):
    put(name, text.encode())
    run("rsvg-convert", os.path.join(HERE, name), "-o", src("d.png"))
    case(name, Image.open(src("d.png")).convert("RGBA"), mean, most, "rsvg-convert")


svg("svg-shapes.svg", """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 40 30" width="80">
<rect x="2" y="2" width="20" height="12" rx="3" fill="#c33"/><circle cx="28" cy="18" r="9" fill="none" stroke="teal" stroke-width="3"/>
<path d="M3 27C10 12 20 35 37 4" stroke="#000" stroke-dasharray="3 1" fill="none"/><polygon points="5,20 10,28 1,28" fill="gold" opacity=".5"/></svg>""")
svg("svg-styled.svg", """<?xml version="1.0"?><!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd"
 [<!ENTITY svg "http://www.w3.org/2000/svg">]><svg xmlns="&svg;" xmlns:xlink="http://www.w3.org/1999/xlink" width="64px" height="48px">
<style>.a{fill:url(#g)} #m path{fill:#fff}</style><defs><linearGradient id="g"><stop offset="0" stop-color="#08f"/><stop offset="1" stop-color="#f80"/></linearGradient>
<clipPath id="c"><circle cx="32" cy="24" r="20"/></clipPath><mask id="m"><path d="M0 0h64v30H0z"/></mask><symbol id="s"><rect width="9" height="9" class="a"/></symbol></defs>
<g clip-path="url(#c)"><rect class="a" width="64" height="48" mask="url(#m)"/></g><use xlink:href="#s" x="50" y="36"/></svg>""", 1.5, 120)
svg("svg-filter.svg", """<svg xmlns="http://www.w3.org/2000/svg" width="60" height="40"><filter id="f"><feGaussianBlur stdDeviation="2"/></filter>
<rect x="15" y="10" width="30" height="20" fill="navy" filter="url(#f)"/></svg>""", 1.5, 40)
svg("svg-references.svg", """<svg xmlns="http://www.w3.org/2000/svg" width="20" height="20"><rect width="20" height="20" fill="#9f9"/>
<image href="file:///etc/hostname" width="20" height="20"/><image href="http://127.0.0.1:9/x.png" width="20" height="20"/></svg>""", 0.0, 0)

# What is refused by name.
import pillow_heif
pillow_heif.register_heif_opener()
Image.fromarray(rgb).save(os.path.join(HERE, "refused-heic.heic"), quality=50)
refused("refused-heic.heic", "HEIC")
Image.fromarray(rgb).save(os.path.join(HERE, "refused-jp2.jp2"), quality_layers=[40]); refused("refused-jp2.jp2", "JPEG 2000")
Image.fromarray(rgb).save(os.path.join(HERE, "refused-ico.ico"), sizes=[(16, 16)]); refused("refused-ico.ico", "ICO")
Image.fromarray(rgb).save(os.path.join(HERE, "refused-pdf.pdf")); refused("refused-pdf.pdf", "PDF")
put("refused-psd.psd", b"8BPS\0\1" + b"\0" * 26); refused("refused-psd.psd", "PSD")
put("refused-mp4.mp4", b"\0\0\0\x18ftypmp42\0\0\0\0isommp42\0\0\0\x08mdat"); refused("refused-mp4.mp4", "video")
import gzip
put("refused-svgz.svgz", gzip.compress(open(os.path.join(HERE, "svg-shapes.svg"), "rb").read(), mtime=0)); refused("refused-svgz.svgz", "svgz")

with open(os.path.join(HERE, "cases.json"), "w") as file:
    file.write("[\n" + ",\n".join("  " + json.dumps(case) for case in cases) + "\n]\n")
print(len(cases), "cases")
