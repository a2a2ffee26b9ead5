//! Forms that make and change what operators set. A form has a field for each part of the settings
//! that the REST API describes, so a part that is added there is in the form too; [`FormKind`] only
//! says in which section it stands.

pub mod conflict;
pub mod draw_fields;
pub mod draw_form;
pub mod form_fields;
pub mod form_kinds;
pub mod form_values;
pub mod pages;
pub mod removal;
pub mod rotation;
pub mod secret_page;

use super::call::{PageCall, PageProblem, PageSection};
use crate::api::resource::SettingsResource;
use form_fields::FormField;
use serde_json::Value;
use utoipa::ToSchema;

/// A part of a form: its title, a sentence about it, and the parts of the settings in it.
pub type FormSection = (&'static str, &'static str, &'static [&'static str]);

/// What a form says of the kind of thing that it is about.
#[derive(Debug)]
pub struct FormKind {
    pub section: PageSection,
    /// The name of the list, such as `Endpoints`.
    pub list_title: &'static str,
    /// The address of the list.
    pub list: &'static str,
    /// The route of the REST API that lists and makes them.
    pub rest: &'static str,
    /// The route of one.
    pub rest_one: &'static str,
    /// One of them, such as `endpoint`.
    pub noun: &'static str,
    /// What is said at the field for the secret, where they have one that can be given.
    pub secret_hint: Option<&'static str>,
    /// Where each part of the settings stands. What is not named here comes last.
    pub sections: &'static [FormSection],
}

/// Values that there are, by the path of the field that offers them.
pub type OfferedValues = Vec<(&'static str, Vec<String>)>;

/// A kind of object with a form.
pub trait SettingsForm: SettingsResource<Settings: ToSchema> {
    const FORM: FormKind;

    /// The settings that a new one begins with. `variant` is what the address says after `kind`.
    fn starting_settings(variant: Option<&str>) -> Value;

    /// The page of one.
    fn address(name: &str) -> String;

    /// Whether a field stands in the form of these settings.
    fn has_field(_field: &FormField, _settings: &Value) -> bool {
        true
    }

    /// Whether a field must be filled in, beside those of which the schema says so.
    fn must_fill(_field: &FormField) -> bool {
        false
    }

    /// The kinds that a person chooses from before the form is shown.
    fn variants() -> &'static [(&'static str, &'static str)] {
        &[]
    }

    fn offered_values(
        call: &PageCall,
    ) -> impl Future<Output = Result<OfferedValues, PageProblem>> + Send;

    /// What stops when this one is deleted, in sentences.
    fn tell_loss(
        call: &PageCall,
        object: &Self::Object,
    ) -> impl Future<Output = Result<Vec<String>, PageProblem>> + Send;
}
