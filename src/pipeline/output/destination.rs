//! Where an output is delivered to beside being kept: a destination of the settings, and a key there.
//!
//! Owns the rules of keys. Whether there is such a destination is the server's to know.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::Problem;
use super::super::params::{self, Kind, Param};

/// Most bytes of a key.
pub const KEY_BYTES_MAX: usize = 512;
/// Most bytes of a part of a key between slashes; file systems take no longer names.
const PART_BYTES_MAX: usize = 200;

/// The fields of `destination`.
const DESTINATION: &[Param] = &[
    Param {
        name: "name",
        kind: Kind::Text { bytes_max: 64 },
        default: None,
        doc: "Name of a destination of this server; /v1/capabilities lists them.",
    },
    Param {
        name: "key",
        kind: Kind::Text { bytes_max: KEY_BYTES_MAX },
        default: None,
        doc: "Key there, such as users/42/avatar.webp; what it held before is replaced.",
    },
];

/// Where an output is delivered to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destination {
    /// Name in the settings.
    pub name: String,
    /// Key under the destination's prefix: parts of `A-Z a-z 0-9 . _ - + = @ , ( )` and slashes between them.
    pub key: String,
}

/// JSON Schema of `destination`.
pub fn destination_schema() -> Value {
    let mut schema = params::schema(DESTINATION);
    schema["description"] =
        "Delivers the output there before the job counts as succeeded; its location is told in the job."
            .into();
    schema["required"] = json!(["name", "key"]);
    schema
}

/// Reads the object; mistakes are pushed.
pub(super) fn read(value: &Value, pointer: &str, problems: &mut Vec<Problem>) -> Option<Destination> {
    let Value::Object(object) = value else {
        let detail =
            "must be an object such as {\"name\":\"media\",\"key\":\"users/42/avatar.webp\"}".to_owned();
        problems.push(Problem { pointer: pointer.to_owned(), detail });
        return None;
    };
    let before = problems.len();
    params::check(object, DESTINATION, &[], pointer, problems);
    let mut text = |name: &str| match object.get(name) {
        None | Some(Value::Null) => {
            problems.push(Problem { pointer: format!("{pointer}/{name}"), detail: "is required".to_owned() });
            None
        }
        // Another type: the table has said so.
        Some(value) => value.as_str().map(str::to_owned),
    };
    let (name, key) = (text("name"), text("key"));
    let (name, key) = (name?, key?);
    if problems.len() == before && !is_key(&key) {
        let detail = format!(
            "must be 1 to {KEY_BYTES_MAX} bytes of A-Z, a-z, 0-9, . _ - + = @ , ( ) and /, which stands between parts of 1 to \
             {PART_BYTES_MAX} bytes that are not . or .."
        );
        problems.push(Problem { pointer: format!("{pointer}/key"), detail });
    }
    (problems.len() == before).then_some(Destination { name, key })
}

/// Whether every kind of destination can store under this key as it is, and nowhere else.
fn is_key(key: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+=@,()".contains(&byte);
    let is_part = |part: &str| {
        (1..=PART_BYTES_MAX).contains(&part.len())
            && !matches!(part, "." | "..")
            && part.bytes().all(is_plain)
    };
    key.len() <= KEY_BYTES_MAX && key.split('/').all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_paths_that_lead_nowhere_else() {
        let long = "a".repeat(PART_BYTES_MAX);
        for key in ["a", "users/42/avatar.webp", "a..b/...c", "A_(1)+=@,-.jpg", long.as_str()] {
            assert!(is_key(key), "{key}");
        }
        let (longer, longest) = ("a".repeat(PART_BYTES_MAX + 1), "a/".repeat(KEY_BYTES_MAX / 2) + "a");
        for key in [
            "",
            "/",
            "/a",
            "a/",
            "a//b",
            ".",
            "..",
            "../a",
            "a/../b",
            "a/.",
            "a\\b",
            "a b",
            "a\0",
            "a\n",
            "ä",
            "%2e%2e/a",
            "a?b",
            "a#b",
            "a*",
            "~",
            "a:b",
            "{id}",
            longer.as_str(),
            longest.as_str(),
        ] {
            assert!(!is_key(key), "{key:?}");
        }
    }

    #[test]
    fn mistakes_are_told_by_field() {
        let told = |value: Value| {
            let mut problems = Vec::new();
            let read = read(&value, "/d", &mut problems);
            assert_eq!(read.is_some(), problems.is_empty());
            problems.into_iter().map(|problem| problem.pointer).collect::<Vec<_>>()
        };
        assert_eq!(told(json!({"name": "media", "key": "a/b.png"})), [""; 0]);
        assert_eq!(told(json!({})), ["/d/name", "/d/key"]);
        assert_eq!(told(json!({"name": 1, "key": "../a", "x": 1})), ["/d/name", "/d/x"]);
        assert_eq!(told(json!({"name": "media", "key": "../a"})), ["/d/key"]);
        assert_eq!(told(json!("media")), ["/d"]);
    }
}
