//! JSON as it came, for documents in which a name that is given twice is a mistake: most parsers take one of the two and none says which.
//!
//! Knows nothing of what the fields mean. Called by `server` for specifications.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Reads one document.
///
/// # Errors
/// What the parser says of bytes that are no JSON, or the name that an object has twice, with line and column.
pub fn read(bytes: &[u8]) -> serde_json::Result<Value> {
    let mut parser = serde_json::Deserializer::from_slice(bytes);
    let document = Strict.deserialize(&mut parser)?;
    parser.end()?;
    Ok(document)
}

/// A value in which every name stands once.
struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(Strict)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(name) = object.next_key::<String>()? {
            if fields.contains_key(&name) {
                let name: String = name.chars().take(64).collect();
                return Err(A::Error::custom(format!("the name {name:?} is given twice")));
            }
            fields.insert(name, object.next_value_seed(Strict)?);
        }
        Ok(Value::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_what_the_parser_reads() {
        for text in [
            "null",
            "[1,-2,0.5,1e300,true,\"a\\n\"]",
            "{\"a\":{\"b\":[{}]},\"c\":18446744073709551615}",
            " [] ",
        ] {
            assert_eq!(read(text.as_bytes()).unwrap(), serde_json::from_str::<Value>(text).unwrap());
        }
        for text in ["", "{", "[1] 2", "nul", "{\"a\":1,}"] {
            let expected = serde_json::from_str::<Value>(text).unwrap_err().to_string();
            assert_eq!(read(text.as_bytes()).unwrap_err().to_string(), expected);
        }
        let deep = "[".repeat(200);
        assert!(read(deep.as_bytes()).unwrap_err().to_string().starts_with("recursion limit"));
    }

    #[test]
    fn a_name_that_is_given_twice_is_a_mistake_at_any_depth() {
        let error = read(b"{\"outputs\":[{\"width\":1,\n\"width\":2}]}").unwrap_err().to_string();
        assert!(error.starts_with("the name \"width\" is given twice at line 2"), "{error}");
        assert!(read(b"{\"a\":1,\"\\u0061\":1}").is_err(), "however it is spelled");
    }
}
