//! The fonts that `text` writes in: two that are part of the program, and those of the settings.
//!
//! Owns the font files in memory and their names; built once per process and shared. Never looks for fonts on the machine: the same job
//! gives the same pixels everywhere. The bundled files are Noto Sans under the SIL Open Font License (see `README.md` and `OFL.txt` beside
//! this file). Asked by `typeset`, and by whoever draws other text.

use std::collections::BTreeMap;

use bytes::Bytes;
use harfrust::FontRef;
use skrifa::{MetadataProvider, raw::TableProvider};

/// Noto Sans Regular: Latin, Greek and Cyrillic.
pub const SANS: &[u8] = include_bytes!("NotoSans-Regular.ttf");
/// Noto Sans Bold.
pub const SANS_BOLD: &[u8] = include_bytes!("NotoSans-Bold.ttf");

/// The font that is taken when none is named.
pub const DEFAULT: &str = "sans";

/// Fonts by name.
#[derive(Clone)]
pub struct Fonts {
    files: BTreeMap<String, Bytes>,
}

impl Default for Fonts {
    fn default() -> Fonts {
        Fonts::bundled()
    }
}

impl std::fmt::Debug for Fonts {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_set().entries(self.files.keys()).finish()
    }
}

impl Fonts {
    /// `sans` and `sans-bold`.
    pub fn bundled() -> Fonts {
        let bundled = [(DEFAULT, SANS), ("sans-bold", SANS_BOLD)];
        let files = bundled.map(|(name, file)| (name.to_owned(), Bytes::from_static(file)));
        Fonts { files: files.into() }
    }

    /// Adds a TrueType or OpenType font; one of the same name gives way.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the file.
    pub fn insert(&mut self, name: String, file: Bytes) -> Result<(), String> {
        let font = FontRef::from_index(&file, 0).map_err(|error| format!("it is no font: {error}"))?;
        let usable = font.head().is_ok() && font.hmtx().is_ok() && font.charmap().has_map();
        let drawn = font.outline_glyphs().format().is_some();
        if !usable || !drawn {
            return Err("it is a font without outlines or without a character map".to_owned());
        }
        self.files.insert(name, file);
        Ok(())
    }

    /// Every name.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// The file of this name.
    pub fn file(&self, name: &str) -> Option<&Bytes> {
        self.files.get(name)
    }

    /// The font of this name.
    pub(super) fn get(&self, name: &str) -> Option<FontRef<'_>> {
        // Every file was read once when it was added.
        self.files.get(name).and_then(|file| FontRef::from_index(file, 0).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundled_fonts_have_latin_greek_and_cyrillic() {
        let mut fonts = Fonts::bundled();
        assert_eq!(fonts.names().collect::<Vec<_>>(), ["sans", "sans-bold"]);
        for name in ["sans", "sans-bold"] {
            let font = fonts.get(name).unwrap();
            for letter in "AzÄßőŁđΑωΰЖяЩєђ€№…“—×".chars() {
                assert!(font.charmap().map(letter).is_some(), "{name} lacks {letter}");
            }
        }
        assert!(SANS.len() + SANS_BOLD.len() < 1 << 20);
        assert_eq!(fonts.insert("again".to_owned(), Bytes::from_static(SANS)), Ok(()));
        assert!(fonts.insert("none".to_owned(), Bytes::from_static(b"no font")).is_err());
        assert!(fonts.get("none").is_none());
        for end in (0..SANS.len()).step_by(SANS.len() / 50) {
            // Whatever is said of it, a broken file must not panic.
            let _ = fonts.insert("broken".to_owned(), Bytes::from_static(&SANS[..end]));
        }
    }
}
