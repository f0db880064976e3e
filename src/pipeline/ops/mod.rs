//! The operations and their registry.
//!
//! An operation is one file: a struct with serde defaults (its stored form), a table of parameters, [`Op`] and its tests. One line in the
//! list below makes it part of [`Operation`], of [`REGISTRY`] and thereby of validation, JSON Schema and documentation. Operations take an
//! image and give one back; they share nothing. Called by `plan` and `run`, and by `api` to read specs.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    Assets, Bench, Control, Error, Input, Interrupt,
    image::{Image, Shape, Size},
    params::{self, Kind, Param, Problem},
};

/// What an operation does to an image, first on paper, then for real.
pub trait Op {
    /// What an image of this shape becomes; the planned layout may be wider than what comes, never narrower.
    fn plan(&self, shape: Shape) -> Result<Step, OpError>;

    /// Does it. Must ask `control` often enough to stop within some ten milliseconds.
    fn apply(&self, image: Image, control: &dyn Control) -> Result<Image, OpError>;

    /// [`Op::plan`] for an operation that uses more than its image: other images, fonts.
    fn plan_with(&self, shape: Shape, _assets: &Assets) -> Result<Step, OpError> {
        self.plan(shape)
    }

    /// [`Op::apply`] for an operation that uses more than its image. This is what a run calls.
    fn apply_with(&self, image: Image, _bench: &Bench<'_>, control: &dyn Control) -> Result<Image, OpError> {
        self.apply(image, control)
    }

    /// [`Op::working_bytes`] for an operation that uses more than its image.
    fn working_bytes_with(&self, shape: Shape, stored: Size, _assets: &Assets) -> u64 {
        self.working_bytes(shape, stored)
    }

    /// Bytes that it keeps from the first frame of an animation to the last, beside the input itself.
    fn kept_bytes(&self, _shape: Shape, _assets: &Assets) -> u64 {
        0
    }

    /// The other image that it uses.
    fn input(&self) -> Option<&Input> {
        None
    }

    /// Bytes needed while it runs beside its input and its output; `stored` is the size of the input's pixels in memory, smaller than the
    /// shape's while a JPEG is still shrunk.
    fn working_bytes(&self, _shape: Shape, _stored: Size) -> u64 {
        0
    }

    /// The operation with whatever it would measure on `first` fixed, so that every frame of an animation is treated alike; `first` is the
    /// first frame as it reaches this operation. `None` for an operation whose outcome does not depend on the pixels: it settles by itself.
    fn settled(&self, _first: &Image, _control: &dyn Control) -> Result<Option<Operation>, OpError> {
        Ok(None)
    }

    /// How much of its input's detail the operation needs, for shrinking at decode. The default is safe for every operation.
    fn detail(&self, _shape: Shape) -> Detail {
        Detail::Everything
    }

    /// Rules between several parameters: field and what is wrong. Those of one parameter are in the table.
    fn mistakes(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What comes out.
    pub shape: Shape,
    /// Code and sentence of a warning.
    pub note: Option<(&'static str, String)>,
    /// Whether the size is an upper bound, and the pixels decide.
    pub at_most: bool,
}

impl Step {
    /// A step without a warning.
    pub fn to(shape: Shape) -> Step {
        Step { shape, note: None, at_most: false }
    }
}

/// How much detail of its input an operation needs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Detail {
    /// Every pixel at full resolution.
    Everything,
    /// Whatever the next operation needs: it does the same at any resolution.
    AsNext,
    /// This many pixels per pixel: it scales anyway. More than 1 where it enlarges, which only a drawing can give.
    Scaled(f64),
}

/// Why an operation did not go through.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum OpError {
    /// A parameter does not fit this image.
    #[error("{field}: {detail}")]
    Parameter {
        /// Name of the parameter.
        field: &'static str,
        /// What is wrong and what would be right.
        detail: String,
    },
    /// Stopped from outside.
    #[error(transparent)]
    Interrupted(#[from] Interrupt),
}

impl OpError {
    /// The pipeline's error, for an operation that lies at this JSON Pointer.
    pub fn at(self, pointer: &str) -> Error {
        match self {
            OpError::Parameter { field, detail } => {
                Error::Parameter { pointer: format!("{pointer}/{field}"), detail }
            }
            OpError::Interrupted(interrupt) => Error::Interrupted(interrupt),
        }
    }
}

/// An operation as documentation, validation and schema know it.
#[derive(Clone, Copy, Debug)]
pub struct Registration {
    /// The word in `"op"`.
    pub name: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// Its parameters.
    pub params: &'static [Param],
    /// Names of the parameters that must be given.
    pub required: &'static [&'static str],
    /// A JSON example that is valid.
    pub example: &'static str,
    build: fn(Map<String, Value>) -> serde_json::Result<Operation>,
}

/// What an operation's own file says about itself.
pub(super) struct About {
    pub(super) name: &'static str,
    pub(super) summary: &'static str,
    pub(super) params: &'static [Param],
    pub(super) required: &'static [&'static str],
    pub(super) example: &'static str,
}

/// Builds the enum, the dispatch and the registry from `module::Struct` lines.
macro_rules! operations {
    ($($module:ident :: $name:ident),* $(,)?) => {
        $(mod $module; pub use $module::$name;)*

        /// One step of a job, already valid. Its JSON (`{"op": "resize", "width": 800}`) is the stored and the sent form alike.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "op", rename_all = "snake_case")]
        pub enum Operation {
            $(#[doc = concat!("See [`", stringify!($name), "`].")] $name($name),)*
        }

        impl Operation {
            /// The word in `"op"`.
            pub fn name(&self) -> &'static str {
                match self { $(Operation::$name(_) => $module::ABOUT.name,)* }
            }

            /// What it does.
            pub(super) fn op(&self) -> &dyn Op {
                match self { $(Operation::$name(op) => op,)* }
            }
        }

        /// Every operation, in the order in which they are listed to people.
        pub const REGISTRY: &[Registration] = &[$(Registration {
            name: $module::ABOUT.name,
            summary: $module::ABOUT.summary,
            params: $module::ABOUT.params,
            required: $module::ABOUT.required,
            example: $module::ABOUT.example,
            build: |fields| serde_json::from_value(Value::Object(fields)).map(Operation::$name),
        }),*];
    };
}

operations! {
    resize::Resize,
    crop::Crop,
    trim::Trim,
    extend::Extend,
    rotate::Rotate,
    flip::Flip,
    blur::Blur,
    pixelate::Pixelate,
    sharpen::Sharpen,
    adjust::Adjust,
    normalize::Normalize,
    grayscale::Grayscale,
    invert::Invert,
    sepia::Sepia,
    tint::Tint,
    threshold::Threshold,
    flatten::Flatten,
    round::Round,
    overlay::Overlay,
    text::Text,
}

pub use resize::ShrinkOnLoad;
pub use round::Radius;

/// The operation with this name, if there is one.
pub fn registration(name: &str) -> Option<&'static Registration> {
    REGISTRY.iter().find(|registration| registration.name == name)
}

impl Operation {
    /// Reads one operation from JSON. Every mistake is pushed to `problems`; `None` if there was any.
    pub fn read(value: &Value, pointer: &str, problems: &mut Vec<Problem>) -> Option<Operation> {
        let mut problem = |pointer: String, detail: String| problems.push(Problem { pointer, detail });
        let Value::Object(object) = value else {
            problem(
                pointer.to_owned(),
                "must be an object such as {\"op\":\"resize\",\"width\":800}".to_owned(),
            );
            return None;
        };
        let names: Vec<&str> = REGISTRY.iter().map(|registration| registration.name).collect();
        let Some(name) = object.get("op").and_then(Value::as_str) else {
            problem(format!("{pointer}/op"), format!("must name an operation: one of {}", names.join(", ")));
            return None;
        };
        let Some(registration) = registration(name) else {
            problem(format!("{pointer}/op"), params::unknown("operation", name, &names));
            return None;
        };
        registration.read(object, pointer, problems)
    }

    /// Reads a list of operations from JSON; of a list with mistakes, those that are right.
    pub fn read_list(value: &Value, pointer: &str, problems: &mut Vec<Problem>) -> Vec<Operation> {
        let Value::Array(list) = value else {
            let detail =
                "must be a list of operations such as [{\"op\":\"resize\",\"width\":800}]".to_owned();
            problems.push(Problem { pointer: pointer.to_owned(), detail });
            return Vec::new();
        };
        let read = |(index, value)| Operation::read(value, &format!("{pointer}/{index}"), problems);
        list.iter().enumerate().filter_map(read).collect()
    }
}

impl Registration {
    /// Checks and builds the operation from its object.
    fn read(
        &self,
        object: &Map<String, Value>,
        pointer: &str,
        problems: &mut Vec<Problem>,
    ) -> Option<Operation> {
        let before = problems.len();
        params::check(object, self.params, &["op"], pointer, problems);
        for name in self.required.iter().filter(|name| object.get(**name).is_none_or(Value::is_null)) {
            problems.push(Problem {
                pointer: format!("{pointer}/{name}"),
                detail: format!("{} needs {name:?}", self.name),
            });
        }
        if problems.len() > before {
            return None;
        }
        let mut push = |field: &str, detail: String| {
            problems.push(Problem { pointer: format!("{pointer}/{field}"), detail })
        };
        match (self.build)(params::plain(object, self.params)) {
            Ok(operation) => {
                let mistakes = operation.op().mistakes();
                let valid = mistakes.is_empty();
                mistakes.into_iter().for_each(|(field, detail)| push(field, detail));
                valid.then_some(operation)
            }
            Err(error) => {
                push("op", error.to_string());
                None
            }
        }
    }

    /// JSON Schema (2020-12) of the operation's object: `"op"` is its name, every parameter with description, default and bounds.
    pub fn schema(&self) -> Value {
        let mut schema = params::schema(self.params);
        let mut properties = Map::new();
        properties.insert("op".to_owned(), json!({"const": self.name}));
        if let Value::Object(rest) = schema["properties"].take() {
            properties.extend(rest);
        }
        schema["properties"] = Value::Object(properties);
        schema["required"] = std::iter::once("op").chain(self.required.iter().copied()).collect();
        schema["title"] = Value::from(self.name);
        schema["description"] = Value::from(self.summary);
        if let Ok(example) = serde_json::from_str::<Value>(self.example) {
            schema["examples"] = json!([example]);
        }
        schema
    }
}

/// A parameter of the kind that several operations share.
const fn param(name: &'static str, kind: Kind, default: Option<&'static str>, doc: &'static str) -> Param {
    Param { name, kind, default, doc }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_reads_and_reads_back_from_its_stored_form() {
        for registration in REGISTRY {
            let example: Value = serde_json::from_str(registration.example).unwrap();
            let mut problems = Vec::new();
            let operation =
                Operation::read(&example, "", &mut problems).unwrap_or_else(|| panic!("{problems:?}"));
            assert_eq!(operation.name(), registration.name);
            let stored = serde_json::to_value(&operation).unwrap();
            assert_eq!(stored["op"], registration.name);
            assert_eq!(serde_json::from_value::<Operation>(stored).unwrap(), operation);
        }
    }

    #[test]
    fn defaults_of_the_tables_are_those_of_the_stored_form() {
        for registration in REGISTRY {
            let example: Value = serde_json::from_str(registration.example).unwrap();
            let mut spelled = example.as_object().unwrap().clone();
            for param in registration.params {
                if let (Some(default), false) = (param.default, spelled.contains_key(param.name)) {
                    spelled.insert(param.name.to_owned(), serde_json::from_str(default).unwrap());
                }
            }
            let short: Operation = serde_json::from_value(example).unwrap();
            let long: Operation = serde_json::from_value(Value::Object(spelled)).unwrap();
            assert_eq!(short, long, "{}", registration.name);
        }
    }

    #[test]
    fn unknown_operations_and_parameters_list_the_valid_ones() {
        let mut problems = Vec::new();
        for value in [
            json!({"op": "develop"}),
            json!({"op": "resizee"}),
            json!({}),
            json!(3),
            json!({"op": "flip", "x": 1}),
            json!({"op": "rotate"}),
        ] {
            assert_eq!(Operation::read(&value, "/operations/0", &mut problems), None);
        }
        assert!(problems[0].detail.contains("resize, crop, trim"), "{}", problems[0].detail);
        assert!(problems[1].detail.contains("did you mean \"resize\""), "{}", problems[1].detail);
        assert_eq!(problems[2].pointer, "/operations/0/op");
        assert_eq!(problems[3].pointer, "/operations/0");
        assert!(problems[4].detail.contains("horizontal, vertical"), "{}", problems[4].detail);
        assert_eq!(problems[5].pointer, "/operations/0/angle");
    }

    #[test]
    fn schemas_name_their_operation_first() {
        for registration in REGISTRY {
            let schema = registration.schema();
            assert_eq!(schema["properties"]["op"]["const"], registration.name);
            assert_eq!(schema["properties"].as_object().unwrap().len(), registration.params.len() + 1);
        }
    }
}
