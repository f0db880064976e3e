//! Regions: the parts of an image that an operation is confined to.
//!
//! Owns their JSON form and how they become whole pixels; called by `params` and the operations that take a list of them.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{image::Size, length::Length, ops::OpError};

/// Most regions of one operation.
pub(super) const REGIONS_MAX: usize = 100;

/// Most pixels of a region's side, and of its distance from the edges.
pub(super) const PIXELS_MAX: i64 = 16_384;

/// A rectangle of an image, in pixels or as shares of its sides.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Region {
    /// Distance from the left edge.
    pub left: Length,
    /// Distance from the top edge.
    pub top: Length,
    /// Width.
    pub width: Length,
    /// Height.
    pub height: Length,
}

/// A rectangle in whole pixels, inside its image and not empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rectangle {
    pub(super) left: u32,
    pub(super) top: u32,
    pub(super) size: Size,
}

/// What is wrong with a value that should be a list of regions, or `None`.
pub(super) fn mistake(value: &Value) -> Option<String> {
    let Value::Array(list) = value else {
        return Some(
            "must be a list of regions such as [{\"left\":10,\"top\":\"20%\",\"width\":64,\"height\":64}]"
                .to_owned(),
        );
    };
    if list.is_empty() || list.len() > REGIONS_MAX {
        return Some(format!("must hold 1 to {REGIONS_MAX} regions; leave it out for the whole image"));
    }
    let wrong = |(index, region): (usize, &Value)| {
        let error = match serde_json::from_value::<Region>(region.clone()) {
            Ok(region) if region.in_bounds() => return None,
            Ok(_) => format!("at most {PIXELS_MAX} pixels, and 1 at least for width and height"),
            Err(error) => error.to_string(),
        };
        Some(format!(
            "region {index} must have left, top, width and height, in pixels or as a percentage such as \"50%\": {error}"
        ))
    };
    list.iter().enumerate().find_map(wrong)
}

/// Start and length in whole pixels; shares round outward, so that what is to be hidden is hidden.
fn span(start: Length, length: Length, whole: u32) -> Option<(u32, u32)> {
    let share = |percent: f64| f64::from(whole) * percent / 100.0;
    // A hair inwards, so that shares which are whole numbers of pixels on paper are so here.
    const HAIR: f64 = 1e-6;
    let from = match start {
        Length::Pixels(pixels) => f64::from(pixels),
        Length::Percent(percent) => (share(percent) + HAIR).floor(),
    };
    let exact_start = match start {
        Length::Pixels(pixels) => f64::from(pixels),
        Length::Percent(percent) => share(percent),
    };
    let end = match length {
        Length::Pixels(pixels) => from + f64::from(pixels),
        Length::Percent(percent) => (exact_start + share(percent) - HAIR).ceil(),
    };
    (end > from && end <= f64::from(whole)).then_some((from as u32, (end - from) as u32))
}

impl Region {
    fn in_bounds(self) -> bool {
        let within = |length: Length, min: i64| match length {
            Length::Pixels(pixels) => (min..=PIXELS_MAX).contains(&i64::from(pixels)),
            Length::Percent(share) => min == 0 || share > 0.0,
        };
        within(self.left, 0) && within(self.top, 0) && within(self.width, 1) && within(self.height, 1)
    }

    /// The region in an image of this size; `index` is its place in the list, for the error.
    fn within(self, whole: Size, index: usize) -> Result<Rectangle, OpError> {
        let across = span(self.left, self.width, whole.width);
        let down = span(self.top, self.height, whole.height);
        match (across, down) {
            (Some((left, width)), Some((top, height))) => {
                Ok(Rectangle { left, top, size: Size::new(width, height) })
            }
            _ => {
                let detail =
                    format!("region {index} is empty or sticks out: the image is {whole} pixels here");
                Err(OpError::Parameter { field: "regions", detail })
            }
        }
    }
}

/// The rectangles that these regions are in an image of this size; all of it when there are none.
pub(super) fn rectangles(regions: Option<&[Region]>, whole: Size) -> Result<Vec<Rectangle>, OpError> {
    match regions {
        None => Ok(vec![Rectangle { left: 0, top: 0, size: whole }]),
        Some(regions) => {
            regions.iter().enumerate().map(|(index, region)| region.within(whole, index)).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rectangle(value: Value, whole: Size) -> Result<Rectangle, OpError> {
        serde_json::from_value::<Region>(value).unwrap().within(whole, 3)
    }

    #[test]
    fn shares_round_outward() {
        let whole = Size::new(101, 50);
        let region = json!({"left": "10%", "top": 5, "width": "50%", "height": "10%"});
        // 10.1 to 60.6 and 5 to 10.
        assert_eq!(rectangle(region, whole).unwrap(), Rectangle { left: 10, top: 5, size: Size::new(51, 5) });
        let all = json!({"left": "0%", "top": 0, "width": "100%", "height": 50});
        assert_eq!(rectangle(all, whole).unwrap().size, whole);
        for percent in 0..100 {
            let rest = json!({"left": format!("{percent}%"), "top": 0, "width": format!("{}%", 100 - percent), "height": 1});
            let got = rectangle(rest, whole).unwrap();
            assert_eq!(got.left + got.size.width, 101, "{percent}");
        }
    }

    #[test]
    fn outside_or_empty_is_refused_by_number() {
        let whole = Size::new(100, 100);
        for (left, width) in [
            (json!(100), json!(1)),
            (json!(60), json!(41)),
            (json!(0), json!(0)),
            (json!("60%"), json!("41%")),
        ] {
            let region = json!({"left": left, "top": 0, "width": width, "height": 1});
            let error = rectangle(region, whole).unwrap_err().to_string();
            assert!(error.starts_with("regions: region 3") && error.contains("100×100"), "{error}");
        }
    }

    #[test]
    fn only_whole_regions_are_read() {
        assert_eq!(mistake(&json!([{"left": 1, "top": 1, "width": "5%", "height": 9.0}])), None);
        for wrong in [
            json!(3),
            json!([]),
            json!([{"left": 1}]),
            json!([{"left": 1, "top": 1, "width": -5, "height": 9}]),
            json!([{"left": 1, "top": 1, "width": 5, "height": 0}]),
            json!([{"left": 16_385, "top": 1, "width": 5, "height": 9}]),
            json!([{"left": 1, "top": 1, "width": 5, "height": 9, "x": 3}]),
            json!(vec![json!({}); 101]),
        ] {
            assert!(mistake(&wrong).is_some(), "{wrong}");
        }
    }
}
