//! Forms that create and change settings. A form has one field for each part of the settings that
//! the REST API describes, so a part that is added there appears in the form too. [`FormKind`] only
//! says in which section a field appears.

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

/// A section of a form: its title, a sentence about it, and its parts of the settings.
pub type FormSection = (&'static str, &'static str, &'static [&'static str]);

/// The form for one kind of object.
#[derive(Debug)]
pub struct FormKind {
    pub section: PageSection,
    /// The title of the list, such as `Endpoints`.
    pub list_title: &'static str,
    /// The address of the list.
    pub list: &'static str,
    /// The REST route that lists and creates these objects.
    pub rest: &'static str,
    /// The REST route of one object.
    pub rest_one: &'static str,
    /// The word for one object, such as `endpoint`.
    pub noun: &'static str,
    /// The hint at the field for the secret, if these objects have a secret that can be given.
    pub secret_hint: Option<&'static str>,
    /// The field without which nothing uses the secret, such as `signing`.
    pub secret_used_by: Option<&'static str>,
    /// The sections with their parts of the settings. Parts that no section names come last.
    pub sections: &'static [FormSection],
    /// How many sections are always open. Later ones are folded while nobody changes them.
    pub open_sections: usize,
    /// The question above the kinds to choose from.
    pub question: &'static str,
}

/// A kind of objects to choose from: its name in the settings, its label, and a sentence.
pub type FormVariant = (&'static str, &'static str, &'static str);

/// Values to choose from, by the path of the field.
pub type OfferedValues = Vec<(&'static str, Vec<String>)>;

/// A kind of object with a form.
pub trait SettingsForm: SettingsResource<Settings: ToSchema> {
    const FORM: FormKind;

    /// Returns the settings in the form for a new object. `variant` is the kind in the address.
    fn starting_settings(variant: Option<&str>) -> Value;

    /// Returns the address of an object's page.
    fn address(name: &str) -> String;

    /// Whether the form for these settings has this field.
    fn has_field(_field: &FormField, _settings: &Value) -> bool {
        true
    }

    /// Returns the fields that take the place of a field in the form for these settings.
    fn inner_fields(_field: &FormField, _settings: &Value) -> Option<Vec<FormField>> {
        None
    }

    /// Returns the hint of a field in the form for these settings, if the schema's description is
    /// too general for them.
    fn special_hint(_field: &FormField, _settings: &Value) -> Option<String> {
        None
    }

    /// Whether a field must be filled in, although the schema does not require it.
    fn must_fill(_field: &FormField) -> bool {
        false
    }

    /// Returns the kinds from which a person chooses before the form is shown.
    fn variants() -> &'static [FormVariant] {
        &[]
    }

    fn offered_values(
        call: &PageCall,
    ) -> impl Future<Output = Result<OfferedValues, PageProblem>> + Send;

    /// Returns sentences that say what stops if this object is deleted.
    fn tell_loss(
        call: &PageCall,
        object: &Self::Object,
    ) -> impl Future<Output = Result<Vec<String>, PageProblem>> + Send;
}
