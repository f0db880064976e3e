//! What reaches an output and what does not, over every pair of formats, read by decoders that are not ours.

use std::io::Cursor;

use image::{
    ImageDecoder,
    codecs::{png::PngDecoder, tiff::TiffDecoder, webp::WebPDecoder},
};
use moxcms::ColorProfile as Moxcms;
use serde_json::{Value, json};

use super::*;
use crate::pipeline::{
    Assets, Code, Limits, Made, OutputFormat, Unattended, encode, probe, profile::ICC_BYTES_MAX, run,
};

const XMP: &str = r#"<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description xmlns:exif="http://ns.adobe.com/exif/1.0/" xmlns:a="b" exif:GPSLatitude="SECRET-XMP-GPS" a:b="SECRET-XMP"/>
</rdf:RDF></x:xmpmeta>"#;

const HOLDING: [Format; 4] = [Format::Jpeg, Format::Png, Format::Webp, Format::Tiff];

/// A block as a camera writes it: turned by a quarter, with position, maker's note and a thumbnail.
fn camera() -> Vec<u8> {
    let long =
        |tag: u16, value: u32| [&tag.to_le_bytes()[..], &[4, 0, 1, 0, 0, 0], &value.to_le_bytes()].concat();
    let text = |tag: u16, kind: u8, length: u32, at: u32| {
        [&tag.to_le_bytes()[..], &[kind, 0], &length.to_le_bytes(), &at.to_le_bytes()].concat()
    };
    let turned = [&274u16.to_le_bytes()[..], &[3, 0, 1, 0, 0, 0, 6, 0, 0, 0]].concat();
    // Header 8, first directory 2 + 5·12 + 4 = 66 (to 74), photographic 2 + 2·12 + 4 = 30 (to 104), GPS 18 (to 122), thumbnail's 18 (to 140).
    let first =
        [turned, text(315, 2, 14, 140), text(33_432, 2, 10, 154), long(34_665, 74), long(34_853, 104)]
            .concat();
    let photo = [text(0x927c, 7, 12, 164), long(0xa002, 4000)].concat();
    let gps = text(29, 2, 10, 176);
    let thumbnail = text(270, 2, 14, 186);
    let directory = |entries: &[u8], next: u32| {
        [&((entries.len() / 12) as u16).to_le_bytes()[..], entries, &next.to_le_bytes()].concat()
    };
    [
        &b"II\x2a\0\x08\0\0\0"[..],
        &directory(&first, 122),
        &directory(&photo, 0),
        &directory(&gps, 0),
        &directory(&thumbnail, 0),
        b"SECRET-ARTIST\0SECRET-CC\0SECRET-MAKERSECRETGPS\0SECRET-THUMB\0\0",
    ]
    .concat()
}

fn picture() -> Image {
    let pixels = (0..40u32).flat_map(|y| (0..60u32).flat_map(move |x| [x as u8 * 4, y as u8 * 6, 90]));
    Image::new(Size::new(60, 40), Layout::Rgb, pixels.collect())
}

/// A file of this format with everything that it can hold, and bytes behind its end.
fn laden(format: Format, icc: Option<Vec<u8>>) -> Vec<u8> {
    let mut spec = OutputSpec::plain("a", OutputFormat::Fixed(format));
    spec.lossless = true;
    let plain = encode::encode(picture(), &spec, format, &Extras::default(), &Unattended).unwrap().bytes;
    let extras = Extras {
        icc,
        xmp: Some(XMP.into()),
        iptc: Some(b"\x1c\x02\x78\0\x0bSECRET-IPTC".to_vec()),
        ..Extras::default()
    };
    let mut file = extras.attach(format, plain, false);
    let segment = |marker: u8, content: &[u8]| {
        [&[0xff, marker][..], &(content.len() as u16 + 2).to_be_bytes(), content].concat()
    };
    match format {
        Format::Jpeg => {
            let exif = segment(0xe1, &[b"Exif\0\0", &camera()[..]].concat());
            file.splice(2..2, [exif, segment(0xfe, b"SECRET-COMMENT")].concat());
        }
        Format::Png => {
            let chunk = |kind: &[u8], data: &[u8]| {
                let sum = crc32fast::hash(&[kind, data].concat());
                [&(data.len() as u32).to_be_bytes()[..], kind, data, &sum.to_be_bytes()].concat()
            };
            file.splice(
                33..33,
                [chunk(b"eXIf", &camera()), chunk(b"tEXt", b"Comment\0SECRET-COMMENT")].concat(),
            );
        }
        Format::Webp => {
            file[20] |= 0x08;
            let exif = camera();
            file.extend([&b"EXIF"[..], &(exif.len() as u32).to_le_bytes(), &exif].concat());
            let length = file.len() as u32 - 8;
            file[4..8].copy_from_slice(&length.to_le_bytes());
        }
        Format::Tiff => {
            let extras = Extras { exif: Exif::read(&camera()), ..Extras::default() };
            file = extras.attach(format, file, false);
        }
        Format::Gif => {
            let at = file.len() - 1;
            file.splice(at..at, *b"\x21\xfe\x0eSECRET-COMMENT\0");
        }
        _ => {}
    }
    [&file[..], b"SECRET-TRAILER"].concat()
}

fn job(source: &[u8], outputs: Value) -> Result<Made, Error> {
    let pipeline = serde_json::from_value(json!({"outputs": outputs})).unwrap();
    run(source, &pipeline, &Assets::none(), &Limits::default(), &Unattended)
}

fn made(source: &[u8], output: Value) -> Vec<u8> {
    job(source, json!([output])).unwrap().outputs.remove(0).bytes
}

fn holds(file: &[u8], word: &str) -> bool {
    memchr::memmem::find(file, word.as_bytes()).is_some()
}

/// Profile, EXIF and XMP.
type Found = (Option<Vec<u8>>, Option<Vec<u8>>, Option<Vec<u8>>);

/// What another decoder finds.
fn found(format: Format, file: &[u8]) -> Found {
    fn of(mut decoder: impl ImageDecoder) -> Found {
        let (icc, exif) = (decoder.icc_profile().unwrap(), decoder.exif_metadata().unwrap());
        (icc, exif, decoder.xmp_metadata().unwrap())
    }
    match format {
        Format::Png => of(PngDecoder::new(Cursor::new(file)).unwrap()),
        Format::Webp => of(WebPDecoder::new(Cursor::new(file)).unwrap()),
        Format::Tiff => of(TiffDecoder::new(Cursor::new(file)).unwrap()),
        _ => {
            let mut decoder =
                zune_jpeg::JpegDecoder::new(zune_jpeg::zune_core::bytestream::ZCursor::new(file));
            decoder.decode().unwrap();
            let xmp = decoder.xmp().cloned();
            (decoder.icc_profile(), decoder.exif().cloned(), xmp)
        }
    }
}

#[test]
fn by_default_nothing_but_pixels_reaches_an_output() {
    for from in Format::WRITTEN {
        let source = laden(from, Some(Moxcms::new_display_p3().encode().unwrap()));
        assert!(holds(&source, "SECRET-TRAILER"));
        for to in Format::WRITTEN {
            let file = made(&source, json!({"name": "a", "format": to}));
            assert!(!holds(&file, "SECRET") && !holds(&file, "ICC_PROFILE"), "{from} to {to}");
            for keep in ["copyright", "no_gps", "all"] {
                let file = made(&source, json!({"name": "a", "format": to, "keep_metadata": keep}));
                // Between GIFs a comment goes along: it has no other place.
                let comment = from == to && to == Format::Gif && keep != "copyright";
                assert_eq!(holds(&file, "SECRET-COMMENT"), comment, "{from} to {to} with {keep}");
                for never in ["SECRET-TRAILER", "SECRET-THUMB"] {
                    assert!(!holds(&file, never), "{from} to {to} with {keep}: {never}");
                }
            }
        }
    }
}

#[test]
fn what_is_to_be_kept_arrives_in_every_format_that_holds_it() {
    for from in HOLDING {
        let source = laden(from, None);
        let turned = from != Format::Tiff;
        for to in HOLDING {
            let keep = |keep: &str| made(&source, json!({"name": "a", "format": to, "keep_metadata": keep}));
            let context = format!("{from} to {to}");
            let all = keep("all");
            let (_, exif, xmp) = found(to, &all);
            let read = Exif::read(&if to == Format::Tiff { all.clone() } else { exif.unwrap() }).unwrap();
            assert_eq!(read.credit().artist.as_deref(), Some("SECRET-ARTIST"), "{context}");
            assert!(holds(&all, "SECRETGPS") && holds(&all, "SECRET-MAKER"), "{context}");
            assert!(holds(&xmp.unwrap(), "SECRET-XMP-GPS"), "{context}");
            let header = probe(Cursor::new(&all), &Limits::default()).unwrap();
            let upright = if turned { (40, 60) } else { (60, 40) };
            assert_eq!(
                (header.orientation, header.width, header.height),
                (1, upright.0, upright.1),
                "{context}"
            );
            let iptc_kept =
                matches!(from, Format::Jpeg | Format::Tiff) && matches!(to, Format::Jpeg | Format::Tiff);
            assert_eq!(holds(&all, "SECRET-IPTC"), iptc_kept, "{context}");

            let no_gps = keep("no_gps");
            assert!(holds(&no_gps, "SECRET-ARTIST") && holds(&no_gps, "\"SECRET-XMP\""), "{context}");
            for gone in ["SECRETGPS", "SECRET-XMP-GPS", "SECRET-MAKER"] {
                assert!(!holds(&no_gps, gone), "{context}: {gone}");
            }

            let credit = keep("copyright");
            assert!(holds(&credit, "SECRET-ARTIST") && holds(&credit, "SECRET-CC"), "{context}");
            for gone in ["SECRETGPS", "SECRET-XMP", "SECRET-MAKER", "SECRET-IPTC"] {
                assert!(!holds(&credit, gone), "{context}: {gone}");
            }
        }
    }
}

#[test]
fn a_kept_profile_is_the_sources_own_and_the_colours_stay() {
    let p3 = Moxcms::new_display_p3().encode().unwrap();
    for from in HOLDING {
        let source = laden(from, Some(p3.clone()));
        for to in HOLDING {
            let outputs = json!([{"name": "kept", "format": to, "color_profile": "keep", "quality": 100},
                {"name": "srgb", "format": "png"}, {"name": "same", "format": "png", "color_profile": "keep"}]);
            let outputs = job(&source, outputs).unwrap().outputs;
            assert_eq!(found(to, &outputs[0].bytes).0.as_deref(), Some(&p3[..]), "{from} to {to}");
            assert_eq!(found(Format::Png, &outputs[1].bytes).0, None);
            let alone = made(&source, json!({"name": "srgb", "format": "png"}));
            assert_eq!(outputs[1].bytes, alone, "{from}: what others keep changes nothing");
            let pixels = |file: &[u8]| image::load_from_memory(file).unwrap().into_rgb8().into_raw();
            let distance = |a: &[u8], b: &[u8]| a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
            assert!(distance(&pixels(&outputs[1].bytes), &pixels(&outputs[2].bytes)) > 20, "{from}");
            // And the same as the profile itself says.
            let kept = Image::new(Size::new(60, 40), Layout::Rgb, pixels(&outputs[2].bytes));
            let profile = Profile::of_icc(p3.clone()).unwrap();
            let wanted = profile.to_srgb(kept, &Unattended).unwrap();
            assert_eq!(distance(wanted.pixels(), &pixels(&outputs[1].bytes)), 0, "{from}");
        }
    }
}

#[test]
fn avif_files_bring_their_profile_and_their_blocks() {
    let source = include_bytes!("../../../tests/formats/avif-described.avif");
    let output = json!({"name": "a", "format": "png", "keep_metadata": "all", "color_profile": "keep"});
    let (icc, exif, xmp) = found(Format::Png, &made(source, output));
    assert_eq!(Profile::of_icc(icc.unwrap()).unwrap().space(), Space::Rgb);
    assert_eq!(Exif::read(&exif.unwrap()).unwrap().credit().artist.as_deref(), Some("SECRET-ARTIST"));
    assert!(holds(&xmp.unwrap(), "SECRET-XMP"));
    let plain = made(source, json!({"name": "a", "format": "png"}));
    assert!(found(Format::Png, &plain).0.is_none() && !holds(&plain, "SECRET"));
    for end in (0..source.len()).step_by(7) {
        let _ = job(&source[..end], json!([{"name": "a", "keep_metadata": "all"}]));
    }
}

#[test]
fn avif_files_take_a_profile_and_blocks_and_keep_their_pixels() {
    let p3 = Moxcms::new_display_p3().encode().unwrap();
    let source = laden(Format::Jpeg, Some(p3.clone()));
    for operations in [json!([]), json!([{"op": "round", "radius": "max"}])] {
        let output = |keep: &str, profile: &str| json!({"name": "a", "format": "avif", "operations": operations, "keep_metadata": keep, "color_profile": profile});
        let plain = made(&source, output("none", "keep"));
        for keep in ["all", "no_gps", "copyright"] {
            let file = made(&source, output(keep, "keep"));
            let back = |file: &[u8]| {
                made(
                    file,
                    json!({"name": "a", "format": "png", "keep_metadata": "all", "color_profile": "keep"}),
                )
            };
            let (icc, exif, xmp) = found(Format::Png, &back(&file));
            assert_eq!(icc.as_deref(), Some(&p3[..]));
            let exif = Exif::read(&exif.unwrap()).unwrap();
            assert_eq!(exif.credit().artist.as_deref(), Some("SECRET-ARTIST"), "{keep}");
            assert_eq!(xmp.is_some(), keep != "copyright");
            assert_eq!(holds(&file, "SECRETGPS"), keep == "all");
            let pixels = |file: &[u8]| image::load_from_memory(file).unwrap().into_rgba8().into_raw();
            assert!(
                pixels(&back(&file)) == pixels(&back(&plain)),
                "{keep}: the picture's bytes are elsewhere"
            );
        }
        let converted = made(&source, output("all", "srgb"));
        assert!(!holds(&converted, "acsp"), "no profile goes with what is sRGB");
    }
}

/// A JPEG XL container with a block of each kind, compressed (as Brotli stores what it leaves as it is) or not.
fn jpeg_xl(packed: bool) -> Vec<u8> {
    let boxed = |kind: &[u8], data: &[u8]| [&(data.len() as u32 + 8).to_be_bytes()[..], kind, data].concat();
    let block = |kind: &[u8], data: &[u8]| match packed {
        false => boxed(kind, data),
        true => {
            let head = ((data.len() as u32 - 1) << 4 | 1 << 20).to_le_bytes();
            boxed(b"brob", &[kind, &head[..3], data, &[3]].concat())
        }
    };
    let codestream = include_bytes!("../../../tests/formats/jxl-lossy.jxl");
    let start = [boxed(b"JXL ", b"\r\n\x87\n"), boxed(b"ftyp", b"jxl \0\0\0\0jxl ")].concat();
    let exif = block(b"Exif", &[&[0; 4], &camera()[..]].concat());
    [start, exif, boxed(b"jxlc", codestream), block(b"xml ", XMP.as_bytes())].concat()
}

#[test]
fn jpeg_xl_brings_its_blocks() {
    for source in [jpeg_xl(false), jpeg_xl(true)] {
        let kept = |keep: &str| made(&source, json!({"name": "a", "format": "png", "keep_metadata": keep}));
        let (_, exif, xmp) = found(Format::Png, &kept("all"));
        let exif = exif.unwrap();
        assert!(holds(&exif, "SECRETGPS") && holds(&xmp.unwrap(), "SECRET-XMP-GPS"));
        assert_eq!(Exif::read(&exif).unwrap().credit().artist.as_deref(), Some("SECRET-ARTIST"));
        let no_gps = kept("no_gps");
        assert!(holds(&no_gps, "SECRET-ARTIST") && !holds(&no_gps, "GPS"));
        let credit = kept("copyright");
        assert!(holds(&credit, "SECRET-CC") && !holds(&credit, "SECRET-XMP"));
        assert!(!holds(&kept("none"), "SECRET"));
        let analysed = super::exif(&source, Format::Jxl).unwrap();
        assert_eq!(analysed.as_ref(), camera());
        for end in (0..source.len()).step_by(11) {
            let _ = job(&source[..end], json!([{"name": "a", "format": "png", "keep_metadata": "all"}]));
        }
    }
}

#[test]
fn what_other_programs_wrote_is_read() {
    // By libjxl, compressed; by ExifTool.
    let jxl = include_bytes!("../../../tests/formats/jxl-described.jxl");
    let gif = include_bytes!("../../../tests/formats/gif-described.gif");
    let png = |source: &[u8], keep: &str| {
        found(Format::Png, &made(source, json!({"name": "a", "format": "png", "keep_metadata": keep})))
    };
    for source in [&jxl[..], gif] {
        let exif = Exif::read(&png(source, "copyright").1.unwrap()).unwrap();
        let Credit { artist, copyright } = exif.credit();
        assert_eq!((artist.as_deref(), copyright.as_deref()), (Some("SECRET-ARTIST"), Some("SECRET-CC")));
        assert!(png(source, "none") == (None, None, None));
    }
    assert!(holds(&png(jxl, "all").2.unwrap(), "SECRET-XMP"));
    assert!(holds(&png(gif, "all").2.unwrap(), "SECRET-ARTIST"));
    let again = made(gif, json!({"name": "a", "keep_metadata": "all"}));
    assert!(holds(&again, "SECRET-COMMENT") && holds(&again, "SECRET-ARTIST"));
    for source in [&jxl[..], gif] {
        for end in (0..source.len()).step_by(5) {
            let _ = job(&source[..end], json!([{"name": "a", "format": "gif", "keep_metadata": "all"}]));
        }
    }
}

#[test]
fn gif_files_carry_xmp_and_comments() {
    use gif::Decoder;
    let jpeg = laden(Format::Jpeg, None);
    let kept = |source: &[u8], format: &str, keep: &str| {
        let made = job(source, json!([{"name": "a", "format": format, "keep_metadata": keep}])).unwrap();
        let details: String = made.warnings.iter().map(|warning| warning.detail.as_str()).collect();
        (made.outputs.into_iter().next().unwrap().bytes, details)
    };
    let (all, told) = kept(&jpeg, "gif", "all");
    assert!(told.contains("EXIF") && told.contains("IPTC"), "{told}");
    let mut decoder = Decoder::new(&all[..]).unwrap();
    while decoder.next_frame_info().unwrap().is_some() {}
    assert!(decoder.xmp_metadata().unwrap().starts_with(b"<x:xmpmeta"), "as another reader finds it");
    let (no_gps, _) = kept(&jpeg, "gif", "no_gps");
    assert!(holds(&no_gps, "\"SECRET-XMP\"") && !holds(&no_gps, "GPS"));
    let (credit, _) = kept(&jpeg, "gif", "copyright");
    assert!(holds(&credit, "SECRET-ARTIST") && holds(&credit, "SECRET-CC") && !holds(&credit, "SECRET-XMP"));

    // And from there on.
    let (webp, _) = kept(&all, "webp", "all");
    assert!(holds(&found(Format::Webp, &webp).2.unwrap(), "SECRET-XMP-GPS"));
    let (png, _) = kept(&credit, "png", "copyright");
    let exif = Exif::read(&found(Format::Png, &png).1.unwrap()).unwrap();
    assert_eq!(exif.credit().copyright.as_deref(), Some("SECRET-CC"));
    let mut commented = kept(&jpeg, "gif", "none").0;
    assert!(!holds(&commented, "SECRET"));
    let at = commented.len() - 1;
    commented.splice(at..at, *b"\x21\xfe\x0dtaken at gps \x021N\0");
    assert!(holds(&kept(&commented, "gif", "all").0, "taken at gps"));
    assert!(!holds(&kept(&commented, "gif", "no_gps").0, "taken"), "nobody knows what it tells");
    assert!(kept(&commented, "png", "all").1.contains("comment"));

    // Frames and their times stay what they were.
    let animated = include_bytes!("../../../tests/golden/inputs/animated.gif");
    let frames = |file: &[u8]| {
        let mut decoder = Decoder::new(file).unwrap();
        let mut delays = Vec::new();
        while let Some(frame) = decoder.next_frame_info().unwrap() {
            delays.push(frame.delay);
        }
        (delays, decoder.repeat())
    };
    let mut described = animated.to_vec();
    described.splice(animated.len() - 1..animated.len() - 1, *b"\x21\xfe\x05hello\0");
    let (file, _) = kept(&described, "gif", "all");
    assert!(holds(&file, "hello"));
    assert_eq!(frames(&file), frames(&kept(animated, "gif", "none").0));
}

/// A GIF with this profile in front of its first picture, or of what is said of it.
fn gif_with_profile(gif: &[u8], icc: &[u8], behind_control: bool) -> Vec<u8> {
    let mut block = b"\x21\xff\x0bICCRGBG1012".to_vec();
    for part in icc.chunks(255) {
        block.extend([&[part.len() as u8][..], part].concat());
    }
    block.push(0);
    let first = crate::pipeline::gif_blocks::Blocks::of(gif).first_frame();
    let control = if behind_control && gif[first..].starts_with(b"\x21\xf9") { 8 } else { 0 };
    [&gif[..first + control], &block, &gif[first + control..]].concat()
}

#[test]
fn a_gifs_profile_says_what_the_colours_of_all_its_frames_mean() {
    let p3 = Moxcms::new_display_p3().encode().unwrap();
    let profile = Profile::of_icc(p3.clone()).unwrap();
    let plain = include_bytes!("../../../tests/golden/inputs/animated.gif");
    let output = json!({"name": "a", "format": "webp", "lossless": true, "frames": "all"});
    let frames = |file: &[u8]| {
        let decoder = WebPDecoder::new(Cursor::new(file)).unwrap();
        let frames = image::AnimationDecoder::into_frames(decoder).collect_frames().unwrap();
        let image = |frame: image::Frame| {
            let (width, height) = frame.buffer().dimensions();
            Image::new(Size::new(width, height), Layout::Rgba, frame.into_buffer().into_raw())
        };
        frames.into_iter().map(image).collect::<Vec<_>>()
    };
    let before = frames(&made(plain, output.clone()));
    for behind_control in [false, true] {
        let source = gif_with_profile(plain, &p3, behind_control);
        let decoder = gif::Decoder::new(&source[..]).unwrap();
        assert!(behind_control || decoder.icc_profile() == Some(&p3[..]), "as another reader finds it");
        assert!(probe::probe(Cursor::new(&source), &Limits::default()).unwrap().has_icc);
        let after = frames(&made(&source, output.clone()));
        assert_eq!(after.len(), before.len());
        for (after, before) in after.iter().zip(&before) {
            let wanted = profile.to_srgb(before.clone(), &Unattended).unwrap();
            assert!(after.pixels() == wanted.pixels() && after.pixels() != before.pixels());
        }
    }
    // A format with a place for it takes it along; a GIF does not, for hardly any program would look at it there.
    let source = gif_with_profile(plain, &p3, false);
    let kept = made(&source, json!({"name": "a", "format": "png", "color_profile": "keep"}));
    assert_eq!(found(Format::Png, &kept).0.as_deref(), Some(&p3[..]));
    let again = job(&source, json!([{"name": "a", "color_profile": "keep"}])).unwrap();
    assert!(again.warnings.iter().any(|warning| warning.detail.contains("converted to sRGB")));
    assert!(!holds(&again.outputs[0].bytes, "ICCRGBG1"));
    for icc in [&b"this is no profile"[..], &vec![7; ICC_BYTES_MAX + 1]] {
        let told = job(&gif_with_profile(plain, icc, false), json!([output])).unwrap();
        assert_eq!(told.warnings[0].code, "color_profile_dropped");
        assert_eq!(told.outputs[0].bytes, made(plain, output.clone()));
    }
}

#[test]
fn a_broken_profile_is_told_and_changes_nothing() {
    for from in HOLDING {
        let with =
            job(&laden(from, Some(b"this is no profile".to_vec())), json!([{"name": "a", "format": "png"}]))
                .unwrap();
        let codes: Vec<_> = with.warnings.iter().map(|warning| warning.code).collect();
        assert_eq!(codes, ["color_profile_dropped"], "{from}");
        assert_eq!(with.outputs[0].bytes, made(&laden(from, None), json!({"name": "a", "format": "png"})));
    }
}

#[test]
fn profiles_of_other_channels_do_not_end_up_with_the_wrong_ones() {
    let p3 = laden(Format::Png, Some(Moxcms::new_display_p3().encode().unwrap()));
    let grey = json!({"name": "a", "color_profile": "keep", "operations": [{"op": "grayscale"}]});
    let file = made(&p3, grey);
    let mut decoder = PngDecoder::new(Cursor::new(&file)).unwrap();
    assert!(decoder.icc_profile().unwrap().is_some() && decoder.color_type().has_color());

    let linear = Moxcms::new_gray_with_gamma(1.0).encode().unwrap();
    let spec = OutputSpec::plain("a", OutputFormat::Fixed(Format::Png));
    let grey = Image::new(Size::new(2, 1), Layout::Grey, vec![64, 200]);
    let extras = Extras { icc: Some(linear.clone()), ..Extras::default() };
    let source = encode::encode(grey, &spec, Format::Png, &extras, &Unattended).unwrap().bytes;
    assert_eq!(
        found(Format::Png, &made(&source, json!({"name": "a", "color_profile": "keep"}))).0,
        Some(linear)
    );
    let webp =
        job(&source, json!([{"name": "a", "format": "webp", "lossless": true, "color_profile": "keep"}]))
            .unwrap();
    assert_eq!(webp.warnings[0].code, "color_profile_dropped");
    assert_eq!(found(Format::Webp, &webp.outputs[0].bytes).0, None);
    let pixels = image::load_from_memory(&webp.outputs[0].bytes).unwrap().into_luma8().into_raw();
    assert!(pixels[0].abs_diff(137) <= 1, "{pixels:?}");
}

#[test]
fn damaged_files_do_not_panic() {
    for format in HOLDING {
        let source = laden(format, Some(Moxcms::new_display_p3().encode().unwrap()));
        let output =
            json!([{"name": "a", "format": "jpeg", "keep_metadata": "all", "color_profile": "keep"}]);
        for index in (0..source.len()).step_by(source.len() / 150 + 1) {
            let mut broken = source.clone();
            broken[index] ^= 0x5a;
            let _ = job(&broken, output.clone());
            if let Err(error) = job(&source[..index], output.clone()) {
                assert!([Code::CorruptImage, Code::UnsupportedFormat].contains(&error.code()), "{error}");
            }
        }
    }
}
