//! Parameters as data: one table per operation (and one for the output options) gives validation, JSON Schema and documentation.

/// Something wrong with a spec, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// JSON Pointer (RFC 6901) into the document that was read.
    pub pointer: String,
    /// What is wrong and what would be right.
    pub detail: String,
}

/// One parameter.
#[derive(Clone, Copy, Debug)]
pub struct Param {
    /// Name in JSON and in the query.
    pub name: &'static str,
    /// What values it takes.
    pub kind: Kind,
    /// Default as JSON text; `None` when leaving it out means something that is not a value.
    pub default: Option<&'static str>,
    /// One sentence with units.
    pub doc: &'static str,
}

/// The values a parameter takes.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Whole number in an inclusive range.
    Integer {
        /// Smallest.
        min: i64,
        /// Largest.
        max: i64,
    },
    /// Number in an inclusive range.
    Number {
        /// Smallest.
        min: f64,
        /// Largest.
        max: f64,
    },
    /// `true` or `false`.
    Boolean,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// CSS hex or CSS colour name.
    Color,
    /// Compass word or focal point.
    Gravity,
    /// Pixels (an integer in the range) or a percentage string such as `"50%"`.
    Length {
        /// Smallest number of pixels.
        min: i64,
        /// Largest number of pixels.
        max: i64,
    },
    /// A ratio such as `"16:9"`.
    AspectRatio,
    /// Text of at most so many bytes.
    Text {
        /// Most bytes of UTF-8.
        bytes_max: usize,
    },
    /// Anything; the owner of the table reads it by itself.
    Any,
}
