//! The size of a drawing in pixels: `width` and `height`, else `viewBox`, else 300×150 as browsers have it.

use resvg::usvg::roxmltree::Node;

use super::Flaw;
use crate::pipeline::{image::Size, limits::VECTOR_DEFAULT};

/// A length in user units, or a share of the whole.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Length {
    Units(f64),
    Share(f64),
}

/// Rounded up to whole pixels, so that nothing is cut off; one inch is 96.
pub(super) fn of(root: Node<'_, '_>) -> Result<Size, Flaw> {
    let side =
        |name| root.attribute(name).map(|text| length(text).ok_or_else(|| bad(name, text))).transpose();
    let (width, height) = (side("width")?, side("height")?);
    let view = root.attribute("viewBox").and_then(view_box);
    let (width, height) = match view {
        Some((full_width, full_height)) => {
            let units = |length, full| match length {
                Length::Units(units) => units,
                Length::Share(share) => full * share,
            };
            match (width, height) {
                (None, None) => (full_width, full_height),
                (Some(width), None) => {
                    let width = units(width, full_width);
                    (width, full_height * width / full_width)
                }
                (None, Some(height)) => {
                    let height = units(height, full_height);
                    (full_width * height / full_height, height)
                }
                (Some(width), Some(height)) => (units(width, full_width), units(height, full_height)),
            }
        }
        None => {
            let side = |length, full: u32| match length {
                Some(Length::Units(units)) => units,
                Some(Length::Share(share)) => f64::from(full) * share,
                None => f64::from(full),
            };
            (side(width, VECTOR_DEFAULT.width), side(height, VECTOR_DEFAULT.height))
        }
    };
    let pixels = |side: f64| {
        let whole = (side - 0.001).ceil().max(1.0);
        (side > 0.0 && whole <= f64::from(u32::MAX)).then_some(whole as u32)
    };
    match (pixels(width), pixels(height)) {
        (Some(width), Some(height)) => Ok(Size::new(width, height)),
        _ => Err(Flaw::invalid(format!("it is {width}×{height} units large"))),
    }
}

fn bad(name: &str, text: &str) -> Flaw {
    let text: String = text.chars().take(40).collect();
    Flaw::invalid(format!("its {name} is {text:?}"))
}

/// Width and height of a view box that has an area.
fn view_box(text: &str) -> Option<(f64, f64)> {
    let mut numbers = text.split(|letter: char| letter == ',' || letter.is_ascii_whitespace());
    let mut number = || numbers.by_ref().find(|part| !part.is_empty())?.parse::<f64>().ok();
    let (_, _) = (number()?, number()?);
    let (width, height) = (number()?, number()?);
    (width > 0.0 && height > 0.0 && width.is_finite() && height.is_finite()).then_some((width, height))
}

/// A CSS length. Font-relative units take the initial font size, 16 px.
fn length(text: &str) -> Option<Length> {
    let text = text.trim();
    let unit = text.trim_start_matches(|letter: char| letter.is_ascii_digit() || "+-.".contains(letter));
    // An exponent is part of the number, `em` and `ex` are not.
    let unit = match unit.strip_prefix(['e', 'E']) {
        Some(rest) if rest.starts_with(|letter: char| letter.is_ascii_digit() || "+-".contains(letter)) => {
            rest.trim_start_matches(|letter: char| letter.is_ascii_digit() || "+-".contains(letter))
        }
        _ => unit,
    };
    let number: f64 = text[..text.len() - unit.len()].parse().ok()?;
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" | "px" => 1.0,
        "pt" => 96.0 / 72.0,
        "pc" => 16.0,
        "in" => 96.0,
        "cm" => 96.0 / 2.54,
        "mm" => 9.6 / 2.54,
        "em" => 16.0,
        "ex" => 8.0,
        "%" => return Some(Length::Share(number / 100.0)),
        _ => return None,
    };
    Some(Length::Units(number * factor))
}

#[cfg(test)]
mod tests {
    use resvg::usvg::roxmltree::Document;

    use super::*;

    fn size(attributes: &str) -> Option<(u32, u32)> {
        let text = format!("<svg {attributes}/>");
        let document = Document::parse(&text).unwrap();
        of(document.root_element()).ok().map(|size| (size.width, size.height))
    }

    #[test]
    fn sizes_are_what_a_browser_takes() {
        let cases = [
            ("width='24' height='16'", Some((24, 16))),
            ("width='1in' height='72pt'", Some((96, 96))),
            ("width='10mm' height='1e1px'", Some((38, 10))),
            ("viewBox='0 0 20 10'", Some((20, 10))),
            ("viewBox='0,0,20.2,10' width='100%'", Some((21, 10))),
            ("viewBox='0 0 20 10' width='50%' height='50%'", Some((10, 5))),
            ("viewBox='0 0 20 10' width='40'", Some((40, 20))),
            ("viewBox='-5 -5 20 10' height='40'", Some((80, 40))),
            ("viewBox='0 0 20 10' width='2em' height='2ex'", Some((32, 16))),
            ("", Some((300, 150))),
            ("width='50%'", Some((150, 150))),
            ("width='0' height='5'", None),
            ("width='-3' height='5'", None),
            ("width='abc' height='5'", None),
            ("width='1e99' height='5'", None),
            ("width='.4' height='24.0002'", Some((1, 25 - 1))),
        ];
        for (attributes, expected) in cases {
            assert_eq!(size(attributes), expected, "{attributes}");
        }
    }
}
