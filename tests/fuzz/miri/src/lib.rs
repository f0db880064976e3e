//! The baseline JPEG decoder alone, for Miri and for its fuzz target (`jpeg.rs`), and the vector code that scales, for Miri. Owns the choice of
//! files for Miri, which also runs every leaf's own tests (those that try all colours or shapes try fewer there); the code is the program's own.

#[path = "../../../../src/pipeline/decode/baseline/mod.rs"]
pub mod baseline;

#[cfg(all(test, target_arch = "x86_64"))]
#[path = "../../../../src/pipeline/resample/avx2.rs"]
mod avx2;
#[cfg(all(test, target_arch = "x86_64"))]
#[path = "../../../../src/pipeline/resample/weights.rs"]
mod weights;

/// Width and height of the first sequential frame.
pub fn size(source: &[u8]) -> Option<(u32, u32)> {
    let frame = source.windows(2).position(|mark| matches!(mark, [0xff, 0xc0 | 0xc1]))?;
    let [height, width] = [frame + 5, frame + 7]
        .map(|at| source.get(at..at + 2).map(|number| u32::from(number[0]) << 8 | u32::from(number[1])));
    Some((width?, height?))
}

#[cfg(test)]
mod tests {
    use super::{
        baseline::{Instructions, decode},
        size,
    };

    /// Files and the scales at which they are read: each scale that subsampled files have, and each kind of interpolation at full size.
    const FILES: [(&str, &[u8]); 8] = [
        ("jpeg-420", &[4, 8]),
        ("jpeg-422", &[8]),
        ("jpeg-440", &[3, 8]),
        ("jpeg-444", &[6]),
        ("jpeg-411", &[2]),
        ("jpeg-410", &[1]),
        ("jpeg-grey", &[5]),
        ("jpeg-restart", &[1, 8]),
    ];

    #[test]
    fn files_are_read_by_every_twin() {
        for (name, scales) in FILES {
            let path = format!("{}/../../formats/{name}.jpg", env!("CARGO_MANIFEST_DIR"));
            let source = std::fs::read(path).unwrap();
            let full = size(&source).unwrap();
            let read = |source: &[u8], eighths, set| decode(source, full, eighths, set, || Ok::<_, ()>(()));
            for &eighths in scales {
                let plain = read(&source, eighths, Instructions::Portable);
                assert!(plain.is_ok(), "{name}");
                for set in [Instructions::Baseline, Instructions::Best] {
                    assert!(read(&source, eighths, set) == plain, "{name} at {eighths}/8");
                }
            }
            let cut = &source[..source.len() * 2 / 3];
            assert!(read(cut, 8, Instructions::Best).is_err(), "{name}, cut off");
        }
    }
}
