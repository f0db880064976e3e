#!/usr/bin/env python3
"""Animations against Pillow, frame by frame.

Pillow (libwebp for WebP) makes animations with every way of blending and disposal, a running Minilab turns each into GIF, WebP and APNG, and
Pillow composes source and result. Lossless results must show the very same frames for the same time; lossy WebP must be as close as
Pillow's own encoder at the same quality comes. Usage: animation.py PATH_TO_MINILAB
"""
import io, json, math, socket, subprocess, sys, tempfile, time, urllib.request

from PIL import Image, ImageChops, ImageDraw, ImageSequence

FRAMES, SIZE = 6, (90, 70)


def scene(index, alpha):
    """A disc and a bar that wander over flat ground, some of it see-through."""
    image = Image.new("RGBA", SIZE, (20, 60, 120, 255))
    draw = ImageDraw.Draw(image)
    draw.rectangle((5 + index * 9, 10, 25 + index * 9, 50), fill=(230, 200 - index * 20, 40, 255))
    draw.ellipse((40 - index * 5, 30, 70 - index * 5, 60), fill=(200, 30, 30 + index * 30, 255))
    if alpha:
        draw.rectangle((60 - index * 8, 0, 80 - index * 8, 30), fill=(0, 0, 0, 0))
    return image


def saved(frames, form, **options):
    out = io.BytesIO()
    delays = [50 + 30 * index for index in range(len(frames))]
    frames[0].save(out, form, save_all=True, append_images=frames[1:], duration=delays, loop=0, **options)
    return out.getvalue()


def patch(index):
    """A small see-through part for formats whose frames are painted over each other."""
    image = Image.new("RGBA", SIZE, (0, 0, 0, 0))
    ImageDraw.Draw(image).ellipse((index * 10, 5, index * 10 + 30, 40), fill=(250, 40 * index, 90, 255))
    return image


def sources():
    opaque, clear = [scene(i, False) for i in range(FRAMES)], [scene(i, True) for i in range(FRAMES)]
    for disposal in (0, 1, 2, 3):
        yield f"gif, disposal {disposal}", saved(clear, "GIF", disposal=disposal)
    yield "gif, opaque", saved([frame.convert("RGB") for frame in opaque], "GIF")
    yield "webp, lossless", saved(clear, "WEBP", lossless=True)
    yield "webp, lossless, few key frames", saved(clear, "WEBP", lossless=True, minimize_size=True)
    yield "webp, lossy with alpha", saved(clear, "WEBP", quality=60, allow_mixed=True)
    yield "webp, lossy, opaque", saved([frame.convert("RGB") for frame in opaque], "WEBP", quality=60)
    parts = [opaque[0]] + [patch(i) for i in range(1, FRAMES)]
    for dispose in (0, 1, 2):
        # Pillow 13 puts dispose 2 with blend 1 together unlike the standard (and the `image` crate, see tests/animation.rs).
        for blend in (0,) if dispose == 2 else (0, 1):
            yield f"apng, dispose {dispose}, blend {blend}", saved(parts, "PNG", disposal=dispose, blend=blend)
    yield "apng, default image apart", saved(clear, "PNG", default_image=True)


def composed(data):
    """Frames in RGBA, transparent pixels all alike, and their delays."""
    found = []
    for frame in ImageSequence.Iterator(Image.open(io.BytesIO(data))):
        rgba = frame.convert("RGBA")
        rgba = Image.composite(rgba, Image.new("RGBA", SIZE), rgba.getchannel("A").point(lambda a: 255 if a else 0))
        found.append((round(frame.info.get("duration", 0)), rgba))
    return found


def psnr(one, other):
    squares = sum(count * (value % 256) ** 2 for value, count in enumerate(ImageChops.difference(one, other).histogram()))
    return 99 if squares == 0 else 10 * math.log10(255**2 * SIZE[0] * SIZE[1] * 4 / squares)


def converted(url, source, options):
    job = json.loads(urllib.request.urlopen(urllib.request.Request(f"{url}/v1/jobs?wait=30&{options}", source)).read())
    assert job["status"] == "succeeded", job
    return urllib.request.urlopen(url + job["outputs"][0]["url"]).read()


def thresholded(image):
    """What a GIF can show: opaque or nothing."""
    opaque = image.getchannel("A").point(lambda a: 255 if a >= 128 else 0)
    flat = image.convert("RGB").convert("RGBA")
    flat.putalpha(opaque)
    return Image.composite(flat, Image.new("RGBA", SIZE), opaque)


def check(url):
    rows, wrong = 0, []
    for name, source in sources():
        wanted = composed(source)
        if name == "apng, default image apart":
            wanted = wanted[1:]
        for target, options in [("gif", "format=gif"), ("webp", "format=webp&lossless=true"), ("png", "format=png&frames=all")]:
            rows += 1
            got = composed(converted(url, source, options))
            if [delay for delay, _ in got] != [delay for delay, _ in wanted]:
                wrong.append(f"{name} to {target}: delays {[d for d, _ in got]}, not {[d for d, _ in wanted]}")
                continue
            for index, ((_, frame), (_, expected)) in enumerate(zip(got, wanted)):
                if target == "gif":
                    near = psnr(frame, thresholded(expected))
                    exact = len(expected.getcolors(1 << 20)) <= 255
                    # More colours than a table holds come back close.
                    if near < (99 if exact else 30):
                        wrong.append(f"{name} to {target}, frame {index}: {near:.1f} dB")
                elif ImageChops.difference(frame, expected).getbbox(alpha_only=False):
                    wrong.append(f"{name} to {target}, frame {index}: {psnr(frame, expected):.1f} dB instead of equal")
        rows += 1
        ours = composed(converted(url, source, "format=webp&quality=75"))
        theirs = composed(saved([frame for _, frame in wanted], "WEBP", quality=75, method=2, minimize_size=False, kmax=1))
        for index, ((_, one), (_, other), (_, expected)) in enumerate(zip(ours, theirs, wanted)):
            a, b = psnr(one, expected), psnr(other, expected)
            if a < min(b, 45) - 1:
                wrong.append(f"{name} to lossy webp, frame {index}: {a:.1f} dB, Pillow {b:.1f} dB")
    return rows, wrong


def main():
    with socket.socket() as probe, tempfile.TemporaryDirectory() as directory:
        probe.bind(("127.0.0.1", 0))
        address = "127.0.0.1:%d" % probe.getsockname()[1]
        probe.close()
        server = subprocess.Popen([sys.argv[1], "serve", "--listen", address, "--data-dir", directory], stderr=subprocess.DEVNULL)
        try:
            for _ in range(100):
                try:
                    urllib.request.urlopen(f"http://{address}/health/ready")
                    break
                except OSError:
                    time.sleep(0.1)
            rows, wrong = check(f"http://{address}")
        finally:
            server.terminate()
            server.wait()
    print(f"animations: {rows} comparisons with Pillow, {len(wrong)} wrong")
    print("\n".join(wrong))
    sys.exit(1 if wrong or rows < 56 else 0)


main()
