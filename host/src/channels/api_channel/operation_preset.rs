//! Operations that come with Waybill, read from the files under `host/operations`.

use super::operation_settings::OperationSettings;
use serde::Deserialize;
use std::collections::BTreeMap;

/// The files of operations by the names of the presets.
const FILES: [(&str, &str); 7] = [
    ("perfexapi", include_str!("../../../operations/perfexapi.toml")),
    ("themesic", include_str!("../../../operations/themesic.toml")),
    ("data-builder", include_str!("../../../operations/data-builder.toml")),
    ("hubspot", include_str!("../../../operations/hubspot.toml")),
    ("pipedrive", include_str!("../../../operations/pipedrive.toml")),
    ("xero", include_str!("../../../operations/xero.toml")),
    ("quickbooks", include_str!("../../../operations/quickbooks.toml")),
];

/// A file of operations.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "label and auth are for the people who read the file")]
struct PresetFile {
    label: String,
    /// The `auth` that an endpoint needs.
    auth: String,
    /// The API's collections by resource, for `each`.
    #[serde(default)]
    collections: BTreeMap<String, String>,
    /// Operations of every resource: `each.create` becomes `lead_create`. `$resource` and
    /// `$collection` stand for the resource's names.
    #[serde(default)]
    each: BTreeMap<String, OperationSettings>,
    /// Further operations.
    #[serde(default)]
    operations: BTreeMap<String, OperationSettings>,
}

/// Returns the operations of a preset, or no operations without a preset. The error lists the
/// presets.
pub fn find_operations(
    preset: Option<&str>,
) -> Result<BTreeMap<String, OperationSettings>, String> {
    let Some(preset) = preset else { return Ok(BTreeMap::new()) };
    let Some((_, file)) = FILES.iter().find(|(name, _)| *name == preset) else {
        let names: Vec<&str> = FILES.iter().map(|(name, _)| *name).collect();
        return Err(format!("`{preset}` is not a preset; the presets are {}", names.join(", ")));
    };
    let file: PresetFile =
        toml::from_str(file).map_err(|why| format!("preset `{preset}` cannot be read: {why}"))?;
    let mut operations = file.operations;
    for (resource, collection) in &file.collections {
        for (verb, operation) in &file.each {
            let made = fill_names(operation.clone(), resource, collection);
            operations.insert(format!("{resource}_{verb}"), made);
        }
    }
    Ok(operations)
}

fn fill_names(mut made: OperationSettings, resource: &str, collection: &str) -> OperationSettings {
    let fill = |text: &mut String| {
        *text = text.replace("$resource", resource).replace("$collection", collection);
    };
    made.path.iter_mut().for_each(fill);
    if let Some(reply) = &mut made.reply {
        fill(&mut reply.event);
        reply.resource.iter_mut().for_each(fill);
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_whole() {
        for (preset, _) in FILES {
            let operations = find_operations(Some(preset)).unwrap();
            assert!(operations.len() > 10, "{preset}");
            for (name, operation) in operations {
                assert_eq!(operation.check(&name), [], "{preset}: {name}");
                assert!(!format!("{operation:?}").contains('$'), "{preset}: {name}");
            }
        }
    }
}
