//! `dominant`: the colour that most of the picture has, give or take a shade: the first of `palette`; null for a picture without opaque pixels.

use serde_json::Value;

use super::{About, Needs, Subject, color_schema, hex, palette};
use crate::pipeline::Interrupt;

pub(super) const ABOUT: About = About {
    name: "dominant",
    summary: "The colour of the largest part of the image, as #rrggbb.",
    needs: Needs::Pixels,
    schema: color_schema,
};

pub(super) fn find(subject: &Subject<'_>) -> Result<Value, Interrupt> {
    let first = palette::groups(subject.small()).into_iter().next();
    Ok(first.map_or(Value::Null, |group| hex(group.color).into()))
}
