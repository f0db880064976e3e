#!/usr/bin/env python3
"""What of a photo's metadata is left in its results, as other programs see it.

Pillow makes JPEG, PNG, WebP and AVIF with EXIF, position, XMP, colour profile and, where there is a place, a comment and bytes behind the end;
a running Minilab writes each in every format for every value of keep_metadata and color_profile, and Pillow and ExifTool read the results.
`none`: nothing at all. `copyright`: artist and copyright, nothing else. `no_gps`: all but positions. `all`: everything, upright.
Usage: metadata.py PATH_TO_MINILAB
Needs Pillow, pyvips and exiftool (Debian: libimage-exiftool-perl), which `.ci/run` installs.
"""
import io
import json
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

import pyvips
from PIL import Image

from compare import Server

#: Formats that have a place for profile and EXIF; GIF has one for XMP, and in the others nothing may be, whatever is asked for.
HOLDING = ("jpeg", "png", "webp", "tiff", "avif")
FORMATS = HOLDING + ("gif", "bmp", "qoi")

ARTIST, COPYRIGHT, CAMERA, LENS = "Ada Artist", "(c) Ada 2026", "Secret Camera", "Secret Lens"
XMP = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:exif="http://ns.adobe.com/exif/1.0/" xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/"
 exif:GPSLatitude="48,8.5N" exif:GPSLongitude="11,34.5E" photoshop:Headline="Secret Headline"/></rdf:RDF></x:xmpmeta>"""

#: Words that no result may contain, however it is read.
NEVER = (b"Secret Comment", b"Secret Trailer")


def described():
    exif = Image.Exif()
    exif[0x0112], exif[0x013B], exif[0x8298], exif[0x010F] = 6, ARTIST, COPYRIGHT, CAMERA
    exif.get_ifd(0x8769).update({0x9003: "2026:11:21 12:00:00", 0xA434: LENS})
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 8.0, 30.0), 3: "E", 4: (11.0, 34.0, 30.0), 29: "2026:11:21"})
    return exif.tobytes()


def sources():
    """The photo as each format that is read with metadata; name, bytes, whether it is stored turned."""
    picture = Image.linear_gradient("L").resize((60, 40)).convert("RGB")
    picture.paste((200, 40, 30), (10, 5, 30, 25))
    more = {"exif": described(), "xmp": XMP, "icc_profile": pyvips.Image.profile_load("p3")}
    for form, options in [("JPEG", {"comment": b"Secret Comment"}), ("PNG", {}), ("WEBP", {}), ("AVIF", {})]:
        out = io.BytesIO()
        if form == "PNG":
            from PIL.PngImagePlugin import PngInfo
            info = PngInfo()
            info.add_text("Comment", "Secret Comment")
            info.add_itxt("XML:com.adobe.xmp", XMP.decode())
            picture.save(out, form, pnginfo=info, exif=more["exif"], icc_profile=more["icc_profile"])
        else:
            picture.save(out, form, **more, **options)
        yield form, out.getvalue() + (b"Secret Trailer" if form == "JPEG" else b"")


def made(server, source, form, keep, profile):
    query = f"format={form}&keep_metadata={keep}&color_profile={profile}"
    request = urllib.request.Request(f"{server.base}/v1/jobs?wait=60&{query}", source)
    job = json.load(urllib.request.urlopen(request, timeout=90))
    assert job["status"] == "succeeded", job
    codes = {warning["code"] for warning in job.get("warnings", [])}
    return server.get(job["outputs"][0]["url"]), codes


def seen(results):
    """What ExifTool finds in each file, without what it works out of the file itself."""
    apart = ("SourceFile", "ExifTool", "System", "File", "Composite")
    with tempfile.TemporaryDirectory() as scratch:
        paths = [Path(scratch, str(index)) for index in range(len(results))]
        for path, data in zip(paths, results):
            path.write_bytes(data)
        # Its exit code tells of formats that it does not know (QOI).
        found = subprocess.run(["exiftool", "-j", "-G1", "-a", "-u", "-n", *paths], capture_output=True)
    tags = {Path(each["SourceFile"]): each for each in json.loads(found.stdout)}
    return [{name: value for name, value in tags[path].items() if name.split(":")[0] not in apart} for path in paths]


def position(tags):
    return [name for name in tags if "GPS" in name.upper()]


def judged(data, tags, form, keep):
    """What is wrong with a result in which ExifTool found these tags."""
    everything = json.dumps(tags)
    picture = Image.open(io.BytesIO(data))
    exif = picture.getexif()
    wrong = [f"has {word.decode()}" for word in NEVER if word in data]
    blocks = [name for name in ("exif", "xmp", "icc_profile", "photoshop", "comment") if picture.info.get(name)]
    if form == "gif" and keep != "none":
        return wrong + judged_gif(tags, keep, everything)
    if form not in HOLDING:
        keep = "none"
    if keep == "none":
        named = [word for word in (ARTIST, COPYRIGHT, CAMERA, LENS, "Secret") if word in everything or word.encode() in data]
        wrong += [f"has {named}"] if named else []
        wrong += [f"Pillow finds {blocks}"] if blocks else []
        wrong += [f"ExifTool finds {name}" for name in tags if name.split(":")[0] in ("ExifIFD", "GPS", "IPTC", "Photoshop") or name.startswith("XMP")]
        return wrong
    if (exif.get(0x013B), exif.get(0x8298)) != (ARTIST, COPYRIGHT):
        wrong.append(f"Pillow finds {exif.get(0x013B)} and {exif.get(0x8298)} for artist and copyright")
    if tags.get("IFD0:Artist") != ARTIST or tags.get("IFD0:Copyright") != COPYRIGHT:
        wrong.append("ExifTool finds another artist or copyright")
    if keep == "copyright":
        wrong += [f"has {word}" for word in (CAMERA, LENS, "Secret") if word in everything or word.encode() in data]
    else:
        if tags.get("IFD0:Make") != CAMERA or tags.get("ExifIFD:LensModel") != LENS:
            wrong.append("ExifTool misses camera or lens")
        if "Secret Headline" not in everything:
            wrong.append("ExifTool misses the XMP")
    if keep == "all":
        latitude = tags.get("GPS:GPSLatitude")
        if latitude is None or abs(latitude - (48 + 8 / 60 + 30 / 3600)) > 1e-6:
            wrong.append(f"ExifTool finds the latitude {latitude}")
        if not any(name.startswith("XMP") for name in position(tags)):
            wrong.append("ExifTool misses the position in the XMP")
    else:
        wrong += [f"ExifTool finds {name}" for name in position(tags)]
        wrong += ["Pillow finds a position"] if exif.get_ifd(0x8825) else []
    if exif.get(0x0112, 1) != 1 or tags.get("IFD0:Orientation", 1) != 1:
        wrong.append("is said to be turned")
    if picture.size != (40, 60):
        wrong.append(f"is {picture.size}, not upright")
    return wrong


def judged_gif(tags, keep, everything):
    """What is wrong with what a GIF has of it: XMP alone, for artist and copyright too."""
    wrong = [f"has {word}" for word in (CAMERA, LENS) if word in everything]
    if keep == "copyright":
        wrong += ["has more than was asked for"] if "Secret" in everything else []
        if (tags.get("XMP-dc:Creator"), tags.get("XMP-dc:Rights")) != (ARTIST, COPYRIGHT):
            wrong.append("ExifTool finds another artist or copyright")
    elif "Secret Headline" not in everything:
        wrong.append("ExifTool misses the XMP")
    if (keep == "all") != bool(position(tags)):
        wrong.append(f"ExifTool finds of the position {position(tags)}")
    return wrong


def judged_with_profile(data, tags, form, keep, profile):
    """As `judged`, with the profile where it was to be kept and nowhere else."""
    if form == "qoi":
        return [f"has {word}" for word in (ARTIST, COPYRIGHT, "Secret") if word.encode() in data]
    kept = form in HOLDING and profile == "keep"
    found = Image.open(io.BytesIO(data)).info.get("icc_profile")
    wrong = [] if bool(found) == kept else [f"has {'a' if found else 'no'} profile"]
    if kept and found != pyvips.Image.profile_load("p3"):
        wrong.append("has another profile")
    return wrong + [what for what in judged(data, tags, form, keep) if not (kept and what == "Pillow finds ['icc_profile']")]


def main():
    asked = [(form, keep, profile) for form in FORMATS for keep in ("none", "copyright", "no_gps", "all") for profile in ("srgb", "keep")]
    results, problems = [], []
    with Server(str(Path(sys.argv[1]).resolve())) as server:
        for name, source in sources():
            for form, keep, profile in asked:
                data, codes = made(server, source, form, keep, profile)
                results.append((name, form, keep, profile, data))
                whole = ("none", "copyright") if form == "gif" else ("none",)
                if form not in HOLDING and (keep not in whole or profile == "keep") and not codes:
                    problems.append(f"{name} to {form}, keep_metadata {keep}, color_profile {profile}: lost without a warning")
    for (name, form, keep, profile, data), tags in zip(results, seen([result[4] for result in results])):
        wrong = judged_with_profile(data, tags, form, keep, profile)
        problems += [f"{name} to {form}, keep_metadata {keep}, color_profile {profile}: {what}" for what in wrong]
    print(f"{len(results)} results read by Pillow and ExifTool")
    for problem in problems:
        print(f"FAILED {problem}")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
