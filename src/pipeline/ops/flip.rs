//! `flip`: mirrors an image.
//!
//! ```json
//! {"op": "flip", "horizontal": true}
//! ```

use serde::{Deserialize, Serialize};

use super::{About, Detail, Op, OpError, Step, param};
use crate::pipeline::{
    Control, Kind,
    image::{Image, Shape},
    orient::Orientation,
};

/// Mirrors left to right, top to bottom, or both.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Flip {
    /// Left becomes right.
    pub horizontal: bool,
    /// Top becomes bottom.
    pub vertical: bool,
}

pub(super) const ABOUT: About = About {
    name: "flip",
    summary: "Mirrors the image left to right, top to bottom, or both.",
    params: &[
        param("horizontal", Kind::Boolean, Some("false"), "Whether left becomes right."),
        param("vertical", Kind::Boolean, Some("false"), "Whether top becomes bottom."),
    ],
    required: &[],
    example: r#"{"op": "flip", "horizontal": true}"#,
};

impl Op for Flip {
    fn plan(&self, shape: Shape) -> Result<Step, OpError> {
        Ok(Step::to(shape))
    }

    fn apply(&self, image: Image, control: &dyn Control) -> Result<Image, OpError> {
        let image = image.upright();
        control.check()?;
        Ok(image.turned(Orientation::mirror(self.horizontal, self.vertical)))
    }

    fn detail(&self, _: Shape) -> Detail {
        Detail::AsNext
    }

    fn mistakes(&self) -> Vec<(&'static str, String)> {
        if self.horizontal || self.vertical {
            return Vec::new();
        }
        vec![("horizontal", "flip needs \"horizontal\": true, \"vertical\": true or both".to_owned())]
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::{Unattended, image::{Layout, Size}};
    use super::*;

    #[test]
    fn mirrors_either_way_and_both() {
        let image = Image::new(Size::new(2, 2), Layout::Grey, vec![1, 2, 3, 4]);
        let run = |horizontal, vertical| {
            Flip { horizontal, vertical }.apply(image.clone(), &Unattended).unwrap().into_pixels()
        };
        assert_eq!(run(true, false), [2, 1, 4, 3]);
        assert_eq!(run(false, true), [3, 4, 1, 2]);
        assert_eq!(run(true, true), [4, 3, 2, 1]);
    }

    #[test]
    fn flipping_nothing_is_a_mistake() {
        assert_eq!(Flip::default().mistakes().len(), 1);
    }
}
