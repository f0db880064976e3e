//! Holds a run to its plan where the pixels decide: after an operation whose size was only an upper bound (`trim`), what follows may come out
//! larger than planned (a narrow strip enlarged to a width), and the limits and the memory set aside for the job must still do.
//!
//! Owns these two checks; called by `make` before every operation and every encoder. For any other job they can't fail.

use super::{
    Bench, Error, Format, Limits, OutputFormat, OutputSpec,
    image::{Image, Shape},
    limits, memory,
    ops::Operation,
};

/// Refuses an operation whose result, on this image, is over the limits or needs more memory than was planned for the whole job; `frames`
/// images go this way.
pub(super) fn step(
    operation: &Operation,
    image: &Image,
    frames: u32,
    bench: &Bench<'_>,
    limits: &Limits,
    pointer: &str,
) -> Result<(), Error> {
    // An image at a reduced scale has not met an operation that looks at its pixels.
    if image.stored().pixels() < image.size().pixels() {
        return Ok(());
    }
    let (op, shape) = (operation.op(), shape(image));
    let next = op.plan_with(shape, bench.assets).map_err(|error| error.at(pointer))?.shape;
    let what = format!("{pointer} ({}) would make", operation.name());
    limits::admit_made(next.size, frames, limits, &what)?;
    let needed = shape.bytes() + next.bytes() + op.working_bytes_with(shape, image.stored(), bench.assets);
    refuse_above(bench.memory_bytes, needed, &format!("{what} {}", next.size))
}

/// Refuses to encode what the format can't hold, or what needs more memory than was planned for the whole job.
pub(super) fn encoding(
    image: &Image,
    format: Format,
    spec: &OutputSpec,
    bench: &Bench<'_>,
) -> Result<(), Error> {
    // What `auto` becomes is decided with the size in view.
    let side_max = format.side_max();
    if spec.format != OutputFormat::Auto && image.size().width.max(image.size().height) > side_max {
        let size = image.size();
        return Err(Error::TooLarge(format!(
            "{format} holds at most {side_max} pixels a side, and this output has {size} now that its border is trimmed"
        )));
    }
    let needed = shape(image).bytes() + memory::encoding(shape(image), format, spec);
    match image.stored().pixels() < image.size().pixels() {
        true => Ok(()),
        false => refuse_above(bench.memory_bytes, needed, &format!("the output has {}", image.size())),
    }
}

fn shape(image: &Image) -> Shape {
    Shape { size: image.size(), layout: image.layout() }
}

fn refuse_above(planned: u64, needed: u64, what: &str) -> Result<(), Error> {
    if needed <= planned {
        return Ok(());
    }
    Err(Error::TooLarge(format!(
        "{what} pixels, which needs {} MiB of memory; {} MiB were planned for an image without a border to trim",
        needed.div_ceil(1 << 20),
        planned >> 20
    )))
}

#[cfg(test)]
mod tests {
    use super::super::{Assets, Code, Pipeline, Unattended, encode, image::Layout, metadata::Extras, run};
    use super::*;
    use crate::pipeline::Size;
    use serde_json::json;

    /// A white page with a black bar of this size in its middle, as PNG.
    fn bar(width: u32, height: u32) -> Vec<u8> {
        let mut page = Image::filled(Size::new(400, 400), Layout::Rgb, [255; 4]);
        page.paste(
            &Image::filled(Size::new(width, height), Layout::Rgb, [0, 0, 0, 255]),
            200 - width / 2,
            200 - height / 2,
        );
        let spec = OutputSpec::plain("page", OutputFormat::Fixed(Format::Png));
        encode::encode(page, &spec, Format::Png, &Extras::default(), &Unattended).unwrap().bytes
    }

    fn trimmed_and(operation: serde_json::Value, source: &[u8]) -> Result<Size, Error> {
        let outputs = json!([{"name": "a", "operations": [{"op": "trim"}, operation], "format": "png"}]);
        let pipeline: Pipeline = serde_json::from_value(json!({"outputs": outputs})).unwrap();
        let made = run(source, &pipeline, &Assets::none(), &Limits::default(), &Unattended)?;
        Ok(Size::new(made.outputs[0].width, made.outputs[0].height))
    }

    #[test]
    fn a_trimmed_strip_does_not_outgrow_its_job() {
        let wide = json!({"op": "resize", "width": 8000, "enlarge": true});
        let error = trimmed_and(wide, &bar(2, 300)).unwrap_err();
        assert_eq!(error.code(), Code::ImageTooLarge, "{error}");
        assert!(error.to_string().contains("8000×1200000"), "{error}");
    }

    #[test]
    fn a_trimmed_strip_keeps_to_the_limits() {
        let wide = json!({"op": "resize", "width": 200, "enlarge": true});
        let error = trimmed_and(wide, &bar(2, 300)).unwrap_err();
        assert_eq!(error.code(), Code::ImageTooLarge, "{error}");
        assert!(
            error.to_string().contains("200×30000") && error.to_string().contains("limits.side"),
            "{error}"
        );
        let tall = Image::filled(Size::new(1, 16_384), Layout::Grey, [9; 4]);
        let assets = Assets::none();
        let bench = Bench::new(&assets, u64::MAX);
        let encoding = |format| {
            let spec = OutputSpec::plain("a", OutputFormat::Fixed(format));
            encoding(&tall, format, &spec, &bench)
        };
        assert!(encoding(Format::Png).is_ok());
        let error = encoding(Format::Webp).unwrap_err();
        assert_eq!(error.code(), Code::ImageTooLarge, "{error}");
    }

    #[test]
    fn what_people_do_after_a_trim_goes_through() {
        for (width, height) in [(2, 300), (300, 2), (150, 100), (100, 150), (1, 1)] {
            let source = bar(width, height);
            for operation in [
                json!({"op": "resize", "width": 200}),
                json!({"op": "resize", "width": 300, "height": 300, "fit": "contain"}),
                json!({"op": "resize", "width": 300, "height": 300, "fit": "cover"}),
                json!({"op": "extend", "left": 20, "right": 20}),
                json!({"op": "rotate", "angle": 30}),
                json!({"op": "blur", "sigma": 3}),
            ] {
                trimmed_and(operation.clone(), &source)
                    .unwrap_or_else(|error| panic!("{operation}: {error}"));
            }
        }
        let double = json!({"op": "resize", "width": 200, "enlarge": true});
        assert_eq!(trimmed_and(double, &bar(100, 150)).unwrap(), Size::new(200, 300));
    }
}
