//! Writes CEL values as JSON.

use crate::json::canonical::write_string;
use cel::common::types::{
    CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt,
};
use cel::common::value::Val;

/// Appends a value as JSON. Fails if `out` exceeds `most` bytes before a value is written. The
/// members of an object are sorted by name, because CEL does not preserve their order.
pub fn write_value(value: &dyn Val, most: usize, out: &mut Vec<u8>) -> Result<(), String> {
    if out.len() > most {
        return Err("the value is too long".to_owned());
    }
    if let Some(text) = value.downcast_ref::<CelString<'_>>() {
        write_string(text.inner(), out);
    } else if let Some(list) = value.downcast_ref::<CelList<'_>>() {
        write_list(list, most, out)?;
    } else if let Some(map) = value.downcast_ref::<CelMap<'_>>() {
        write_map(map, most, out)?;
    } else {
        out.extend_from_slice(scalar_text(value)?.as_bytes());
    }
    Ok(())
}

fn scalar_text(value: &dyn Val) -> Result<String, String> {
    if value.downcast_ref::<CelNull>().is_some() {
        return Ok("null".to_owned());
    }
    if let Some(value) = value.downcast_ref::<CelBool>() {
        return Ok(value.inner().to_string());
    }
    if let Some(value) = value.downcast_ref::<CelInt>() {
        return Ok(value.inner().to_string());
    }
    if let Some(value) = value.downcast_ref::<CelUInt>() {
        return Ok(value.inner().to_string());
    }
    if let Some(value) = value.downcast_ref::<CelDouble>() {
        let number = serde_json::Number::from_f64(*value.inner());
        let number = number.map(|number| number.to_string());
        return number.ok_or_else(|| "the result is a number that JSON does not have".to_owned());
    }
    Err(format!(
        "the result is a value of type {}, which JSON does not have",
        value.get_type().name()
    ))
}

fn write_list(list: &CelList<'_>, most: usize, out: &mut Vec<u8>) -> Result<(), String> {
    out.push(b'[');
    for (n, element) in list.inner().iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        write_value(&**element, most, out)?;
    }
    out.push(b']');
    Ok(())
}

fn write_map(map: &CelMap<'_>, most: usize, out: &mut Vec<u8>) -> Result<(), String> {
    let mut members: Vec<(String, &(dyn Val + '_))> =
        map.inner().iter().map(|(key, value)| (key_text(key), &**value)).collect();
    members.sort_by(|(one, _), (other, _)| one.cmp(other));
    out.push(b'{');
    for (n, (name, value)) in members.into_iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        write_string(&name, out);
        out.push(b':');
        write_value(value, most, out)?;
    }
    out.push(b'}');
    Ok(())
}

fn key_text(key: &CelMapKey<'_>) -> String {
    match key {
        CelMapKey::Bool(value) => value.inner().to_string(),
        CelMapKey::Int(value) => value.inner().to_string(),
        CelMapKey::UInt(value) => value.inner().to_string(),
        CelMapKey::String(value) => value.inner().to_owned(),
    }
}
