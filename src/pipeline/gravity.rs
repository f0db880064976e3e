//! Where to hold on to an image when it is cropped or padded: a compass point, a focal point, or one that is found in the pixels.
//!
//! Owns the words and the arithmetic of placing one length in another; never touches pixels: what `smart` and `entropy` find is `attention`'s.
//! Called by the operations and `params`.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::Value;

/// The words, in the order in which they are listed to people: the compass, then what looks at the pixels.
pub(super) const WORDS: [&str; 11] = [
    "center",
    "north",
    "northeast",
    "east",
    "southeast",
    "south",
    "southwest",
    "west",
    "northwest",
    SMART,
    ENTROPY,
];

const SMART: &str = "smart";
const ENTROPY: &str = "entropy";

/// A point of an image, as fractions of its width and height.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Gravity {
    /// A compass word: this index of the list of words.
    Compass(usize),
    /// A focal point: what lies at these fractions (0..1 from left and from top) stays as near to the middle as it can.
    Focus {
        /// 0 is the left edge, 1 the right.
        x: f64,
        /// 0 is the top edge, 1 the bottom.
        y: f64,
    },
    /// Where the image draws the eye; found in the pixels. Where nothing is cut off, the middle.
    Smart,
    /// Where most is to be seen, by Shannon's measure; found in the pixels. Where nothing is cut off, the middle.
    Entropy,
}

impl Default for Gravity {
    fn default() -> Gravity {
        Gravity::Compass(0)
    }
}

impl Gravity {
    /// Whether the pixels decide.
    pub fn looks_at_pixels(self) -> bool {
        matches!(self, Gravity::Smart | Gravity::Entropy)
    }

    /// Reads the JSON form: a word or `{"x": 0..1, "y": 0..1}`.
    pub fn read(value: &Value) -> Option<Gravity> {
        match value {
            Value::String(word) if word == SMART => Some(Gravity::Smart),
            Value::String(word) if word == ENTROPY => Some(Gravity::Entropy),
            Value::String(word) => WORDS.iter().position(|known| known == word).map(Gravity::Compass),
            Value::Object(point) if point.len() == 2 => {
                let fraction = |name| {
                    point.get(name).and_then(Value::as_f64).filter(|value| (0.0..=1.0).contains(value))
                };
                Some(Gravity::Focus { x: fraction("x")?, y: fraction("y")? })
            }
            _ => None,
        }
    }

    /// Left and top of a window of `window` pixels inside `whole` pixels: where to crop. Rounds to nearest; the window must fit.
    pub fn window(self, whole: (u32, u32), window: (u32, u32)) -> (u32, u32) {
        match self {
            Gravity::Compass(_) | Gravity::Smart | Gravity::Entropy => self.place(whole, window),
            Gravity::Focus { x, y } => (around(x, whole.0, window.0), around(y, whole.1, window.1)),
        }
    }

    /// Left and top of something of `part` pixels put into a larger area of `whole` pixels: where to pad. Rounds to nearest.
    pub fn place(self, whole: (u32, u32), part: (u32, u32)) -> (u32, u32) {
        let (x, y) = self.fractions();
        let put = |fraction: f64, whole: u32, part: u32| {
            (f64::from(whole.saturating_sub(part)) * fraction).round() as u32
        };
        (put(x, whole.0, part.0), put(y, whole.1, part.1))
    }

    /// Of the free space, how much lies to the left and above.
    pub(super) fn fractions(self) -> (f64, f64) {
        match self {
            Gravity::Compass(index) => match WORDS[index] {
                "north" => (0.5, 0.0),
                "northeast" => (1.0, 0.0),
                "east" => (1.0, 0.5),
                "southeast" => (1.0, 1.0),
                "south" => (0.5, 1.0),
                "southwest" => (0.0, 1.0),
                "west" => (0.0, 0.5),
                "northwest" => (0.0, 0.0),
                _ => (0.5, 0.5),
            },
            Gravity::Focus { x, y } => (x, y),
            Gravity::Smart | Gravity::Entropy => (0.5, 0.5),
        }
    }
}

/// Start of a window centred on a fraction of the whole, pushed back inside where it would stick out.
fn around(fraction: f64, whole: u32, window: u32) -> u32 {
    let start = (f64::from(whole) * fraction - f64::from(window) / 2.0).round();
    start.clamp(0.0, f64::from(whole.saturating_sub(window))) as u32
}

impl Serialize for Gravity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Gravity::Compass(index) => serializer.serialize_str(WORDS[*index]),
            Gravity::Smart => serializer.serialize_str(SMART),
            Gravity::Entropy => serializer.serialize_str(ENTROPY),
            Gravity::Focus { x, y } => serde_json::json!({"x": x, "y": y}).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Gravity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Gravity, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Gravity::read(&value).ok_or_else(|| D::Error::custom(format!("{value} is no gravity")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gravity(word: &str) -> Gravity {
        Gravity::read(&Value::from(word)).unwrap()
    }

    #[test]
    fn compass_points_hold_their_side() {
        let (whole, part) = ((100, 50), (40, 20));
        assert_eq!(gravity("center").window(whole, part), (30, 15));
        assert_eq!(gravity("northwest").window(whole, part), (0, 0));
        assert_eq!(gravity("southeast").window(whole, part), (60, 30));
        assert_eq!(gravity("north").place(whole, part), (30, 0));
        assert_eq!(gravity("west").place(whole, part), (0, 15));
        assert_eq!(gravity("center").window((5, 5), (2, 2)), (2, 2), "half a pixel rounds up");
    }

    #[test]
    fn a_focal_point_is_centred_and_pushed_back_inside() {
        let focus = Gravity::Focus { x: 0.5, y: 0.1 };
        assert_eq!(focus.window((100, 100), (40, 40)), (30, 0));
        assert_eq!(Gravity::Focus { x: 1.0, y: 0.6 }.window((100, 100), (40, 40)), (60, 40));
    }

    #[test]
    fn only_known_words_and_points_are_read() {
        for wrong in [
            serde_json::json!("smartest"),
            serde_json::json!({"x": 2, "y": 0}),
            serde_json::json!({"x": 0.5}),
            serde_json::json!(3),
        ] {
            assert_eq!(Gravity::read(&wrong), None, "{wrong}");
        }
        assert_eq!(
            Gravity::read(&serde_json::json!({"x": 0, "y": 1})),
            Some(Gravity::Focus { x: 0.0, y: 1.0 })
        );
    }
}
