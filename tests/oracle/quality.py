"""How close downscaled photographs come to a full-resolution, high-precision Lanczos3: Minilab beside sharp and Pillow, before encoding.

    tests/oracle/quality.py PROGRAM [PHOTO.jpg ...]     # needs numpy, Pillow, and sharp where node finds it (NODE_PATH)

Without photographs it takes those of `tests/data`, each mirrored side by side to 12 megapixels. Every photograph is scaled to fit 800x800 and
leaves each program as PNG. The reference decodes at full resolution (Pillow's libjpeg-turbo), turns the picture upright and applies
Lanczos3 in double precision to the gamma-encoded values, its support scaled with the reduction. PSNR is over all samples; SSIM (Wang et al.
2004: 11x11 Gaussian, sigma 1.5, K1 0.01, K2 0.03) over Rec. 601 luma. Fails unless `fast` is at least as close as sharp's default on
every photograph, and `fine` reaches 50 dB.
"""
import io
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

import numpy
from PIL import Image, ImageOps

BOX = 800
FULL = (4000, 3000)
DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../data")


def weights(source, target):
    """Matrix (target x source) of Lanczos3 with antialiasing: support 3 x scale, rows normalised."""
    scale = source / target
    centers = (numpy.arange(target) + 0.5) * scale - 0.5
    distance = (numpy.arange(source)[None, :] - centers[:, None]) / max(scale, 1.0)
    kernel = numpy.where(numpy.abs(distance) < 3, numpy.sinc(distance) * numpy.sinc(distance / 3), 0.0)
    return kernel / kernel.sum(axis=1, keepdims=True)


def fit(width, height):
    factor = min(BOX / width, BOX / height, 1.0)
    return max(1, round(width * factor)), max(1, round(height * factor))


def reference(path):
    image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    pixels = numpy.asarray(image, dtype=numpy.float64)
    width, height = fit(image.width, image.height)
    down = weights(image.height, height)
    across = weights(image.width, width)
    return numpy.clip(numpy.stack([down @ pixels[:, :, c] @ across.T for c in range(3)], axis=2), 0, 255)


def psnr(one, other):
    return 10 * numpy.log10(255 ** 2 / numpy.mean((one - other) ** 2))


def ssim(one, other):
    luma = numpy.array([0.299, 0.587, 0.114])
    x, y = one @ luma, other @ luma
    taps = numpy.exp(-((numpy.arange(11) - 5) ** 2) / (2 * 1.5 ** 2))
    taps /= taps.sum()

    def blur(plane):
        rows = sum(t * plane[i:plane.shape[0] - 10 + i] for i, t in enumerate(taps))
        return sum(t * rows[:, i:rows.shape[1] - 10 + i] for i, t in enumerate(taps))

    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mx, my = blur(x), blur(y)
    vx, vy, cov = blur(x * x) - mx * mx, blur(y * y) - my * my, blur(x * y) - mx * my
    return float(numpy.mean((2 * mx * my + c1) * (2 * cov + c2) / ((mx ** 2 + my ** 2 + c1) * (vx + vy + c2))))


def pixels(png):
    return numpy.asarray(Image.open(io.BytesIO(png)).convert("RGB"), dtype=numpy.float64)


def photographs(folder):
    """The repository's own, as cameras would have made them: full of detail at 12 megapixels, baseline, 4:2:0."""
    for name in ("path", "leaf", "ladybird"):
        image = numpy.asarray(ImageOps.exif_transpose(Image.open(f"{DATA}/{name}.jpg")).convert("RGB"))
        room = [(0, max(0, full - side)) for full, side in zip(reversed(FULL), image.shape)]
        large = numpy.pad(image, room + [(0, 0)], mode="symmetric")[:FULL[1], :FULL[0]]
        path = f"{folder}/{name}.jpg"
        Image.fromarray(large).save(path, quality=92, subsampling="4:2:0")
        yield path


class Minilab:
    def __init__(self, binary):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = "127.0.0.1:%d" % probe.getsockname()[1]
        self.folder = tempfile.TemporaryDirectory()
        self.process = subprocess.Popen(
            [binary, "serve", "--listen", self.address, "--data-dir", self.folder.name],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(200):
            try:
                urllib.request.urlopen(f"http://{self.address}/health/ready").read()
                return
            except OSError:
                time.sleep(0.05)
        raise SystemExit(f"{binary} does not answer on {self.address}")

    def __call__(self, path, shrink):
        query = f"width={BOX}&height={BOX}&format=png&shrink_on_load={shrink}"
        with open(path, "rb") as file:
            submit = urllib.request.Request(f"http://{self.address}/v1/jobs?{query}", data=file.read(), method="POST")
        location = urllib.request.urlopen(submit).headers["location"]
        output = f"http://{self.address}{location}/outputs/output?wait=60"
        return pixels(urllib.request.urlopen(output).read())

    def close(self):
        self.process.terminate()
        self.process.wait()
        self.folder.cleanup()


def sharp(path, fast):
    script = ("const s=require('sharp');s(process.argv[1]).rotate().resize(%d,%d,{fit:'inside',fastShrinkOnLoad:%s})"
              ".png().toBuffer().then(b=>process.stdout.write(b))" % (BOX, BOX, str(fast).lower()))
    done = subprocess.run(["node", "-e", script, os.path.abspath(path)], capture_output=True, check=False)
    if done.returncode != 0:
        raise SystemExit("sharp did not scale " + path + ": " + done.stderr.decode())
    return pixels(done.stdout)


def pillow(path):
    image = Image.open(path)
    image.thumbnail((BOX, BOX), Image.LANCZOS)
    return numpy.asarray(ImageOps.exif_transpose(image).convert("RGB"), dtype=numpy.float64)


def main():
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    folder = tempfile.TemporaryDirectory()
    photos = sys.argv[2:] or list(photographs(folder.name))
    minilab = Minilab(sys.argv[1])
    names = ["minilab fast", "minilab fine", "minilab off", "sharp", "sharp, fastShrinkOnLoad off", "Pillow thumbnail"]
    rows = {name: [] for name in names}
    for path in photos:
        truth = reference(path)
        made = [minilab(path, shrink) for shrink in ("fast", "fine", "off")] + [sharp(path, True), sharp(path, False), pillow(path)]
        for name, image in zip(names, made):
            if image.shape != truth.shape:
                raise SystemExit(f"{name} made {image.shape} of {path}, not {truth.shape}")
            rows[name].append((psnr(truth, image), ssim(truth, image)))
    minilab.close()
    print("| dB PSNR (SSIM) | " + " | ".join(os.path.basename(path) for path in photos) + " |")
    print("|---|" + "---|" * len(photos))
    for name in names:
        print(f"| {name} | " + " | ".join("%.1f (%.4f)" % found for found in rows[name]) + " |")
    far = [f"{path} (fine)" for path, fine in zip(photos, rows["minilab fine"]) if fine[0] < 50]
    far += [f"{path} (fast)" for path, ours, theirs in zip(photos, rows["minilab fast"], rows["sharp"]) if ours[0] < theirs[0]]
    if far:
        raise SystemExit("not close enough: " + ", ".join(far))


main()
