//! Common commands for endpoints, flows and sources: list, show, create, change and delete by name
//! or id.

use clap::Args;
use http::Method;
use serde_json::Value;

use super::client::{CallBody, QueryParameters, RemoteServer, ServerClient, escape_path};
use super::input::SettingsArgs;
use super::partial_id::PartialId;
use super::screen::ListColumn;
use super::{CliError, CommandScreen};

/// A kind of object under `/api/v1`.
pub struct ResourceKind {
    /// The word for one object.
    pub word: &'static str,
    /// The path of the list.
    pub path: &'static str,
    /// The prefix of its ids.
    pub prefix: &'static str,
    /// The columns of a list.
    pub columns: &'static [ListColumn],
}

/// Arguments of a list.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Largest number to show.
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub limit: usize,
    #[command(flatten)]
    pub remote: RemoteServer,
}

/// An object, by name or id.
#[derive(Debug, Args)]
pub struct OneArgs {
    /// Name or id.
    #[arg(value_name = "NAME|ID")]
    pub name: String,
    #[command(flatten)]
    pub remote: RemoteServer,
}

/// An object to delete, by name or id.
#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// Name or id.
    #[arg(value_name = "NAME|ID")]
    pub name: String,
    #[command(flatten)]
    pub yes: YesArg,
    #[command(flatten)]
    pub remote: RemoteServer,
}

/// Consent to a deletion in advance.
#[derive(Debug, Clone, Copy, Args)]
pub struct YesArg {
    /// Do not ask for confirmation. Without a terminal there is no question.
    #[arg(long, short)]
    yes: bool,
}

impl YesArg {
    /// Asks for confirmation on a terminal. Fails if the answer is no.
    pub fn confirm(self, question: &str, screen: &mut CommandScreen<'_>) -> Result<(), CliError> {
        if self.yes || screen.ask(question)? {
            return Ok(());
        }
        Err(CliError::failed("nothing was deleted"))
    }
}

/// An object, by id.
#[derive(Debug, Args)]
pub struct IdArgs {
    /// Id, or the beginning or end of it.
    #[arg(value_name = "ID")]
    pub id: String,
    #[command(flatten)]
    pub remote: RemoteServer,
}

/// A change of an object.
#[derive(Debug, Args)]
pub struct UpdateArgs {
    /// Name or id.
    #[arg(value_name = "NAME|ID")]
    name: String,
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(flatten)]
    remote: RemoteServer,
}

impl ResourceKind {
    pub async fn list(
        &self,
        args: ListArgs,
        screen: &mut CommandScreen<'_>,
    ) -> Result<(), CliError> {
        let client = args.remote.connect(screen)?;
        let found = client.list_pages(self.path, &QueryParameters::default(), args.limit).await?;
        let none = format!("no {} yet; make one with `waybill {} create`", self.word, self.word);
        Ok(screen.print_list(self.columns, &found, &none)?)
    }

    pub async fn show(
        &self,
        args: OneArgs,
        screen: &mut CommandScreen<'_>,
    ) -> Result<(), CliError> {
        let client = args.remote.connect(screen)?;
        let id = self.find(&client, &args.name).await?;
        let one =
            client.call_api(Method::GET, &format!("{}/{id}", self.path), CallBody::None).await?;
        Ok(screen.print_object(&one)?)
    }

    pub async fn create(
        &self,
        remote: RemoteServer,
        settings: Value,
        screen: &mut CommandScreen<'_>,
    ) -> Result<(), CliError> {
        let client = remote.connect(screen)?;
        let one = client.call_api(Method::POST, self.path, CallBody::Json(settings)).await?;
        let text =
            |name: &str| one.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        if screen.is_human() {
            screen.print_line(format!("{} {} made: {}", self.word, text("name"), text("id")))?;
            for shown_once in ["secret", "token"] {
                if let Some(text) = one.get(shown_once).and_then(Value::as_str) {
                    screen.print_line(format!(
                        "{shown_once}: {text}\nKeep it: it is not shown again."
                    ))?;
                }
            }
            return Ok(());
        }
        Ok(screen.print_json(&one)?)
    }

    pub async fn update(
        &self,
        args: UpdateArgs,
        screen: &mut CommandScreen<'_>,
    ) -> Result<(), CliError> {
        let settings = args.settings.object(Vec::new())?;
        if settings.as_object().is_some_and(serde_json::Map::is_empty) {
            return Err(CliError::Usage(
                "nothing to change: give --set KEY=VALUE or --from FILE".to_owned(),
            ));
        }
        let client = args.remote.connect(screen)?;
        let id = self.find(&client, &args.name).await?;
        let path = format!("{}/{id}", self.path);
        let one = client.call_api(Method::PATCH, &path, CallBody::Json(settings)).await?;
        Ok(screen.print_outcome(format!("{} {} changed", self.word, args.name), &one)?)
    }

    pub async fn delete(
        &self,
        args: DeleteArgs,
        screen: &mut CommandScreen<'_>,
    ) -> Result<(), CliError> {
        let client = args.remote.connect(screen)?;
        let id = self.find(&client, &args.name).await?;
        args.yes.confirm(&format!("Delete {} {}?", self.word, args.name), screen)?;
        let answer =
            client.call_api(Method::DELETE, &format!("{}/{id}", self.path), CallBody::None).await?;
        Ok(screen.print_outcome(format!("{} {} deleted", self.word, args.name), &answer)?)
    }

    /// Calls `POST …/{id}/{verb}`.
    pub async fn act(
        &self,
        client: &ServerClient,
        name: &str,
        verb: &str,
        body: CallBody,
    ) -> Result<Value, CliError> {
        let id = self.find(client, name).await?;
        client.call_api(Method::POST, &format!("{}/{id}/{verb}", self.path), body).await
    }

    /// Like [`ResourceKind::find_id`], escaped for a path.
    async fn find(&self, client: &ServerClient, name: &str) -> Result<String, CliError> {
        Ok(escape_path(&self.find_id(client, name).await?))
    }

    /// Replaces a part of an id by the whole id. A name is left to the server.
    pub async fn complete_id(&self, client: &ServerClient, name: &str) -> Result<String, CliError> {
        let is_part = name.starts_with(self.prefix) && PartialId::read(name, self.prefix).is_some();
        if is_part { self.find_id(client, name).await } else { Ok(name.to_owned()) }
    }

    /// Returns the id of the object with this name, or whose id begins or ends with it. A whole id
    /// is returned unchanged.
    pub async fn find_id(&self, client: &ServerClient, name: &str) -> Result<String, CliError> {
        let part = PartialId::read(name, self.prefix);
        if name.starts_with(self.prefix) && part.is_none() {
            return Ok(name.to_owned());
        }
        let all = client.list_pages(self.path, &QueryParameters::default(), usize::MAX).await?;
        let is_it = |one: &&Value| one.get("name").and_then(Value::as_str) == Some(name);
        let id_of = |one| Value::get(one, "id").and_then(Value::as_str);
        let mut id = all.iter().find(is_it).and_then(id_of);
        if let (None, Some(part)) = (id, part) {
            id = part.find_only(self.word, all.iter().filter_map(id_of))?;
        }
        id.map(str::to_owned).ok_or_else(|| {
            let names = all.iter().filter_map(|one| one.get("name").and_then(Value::as_str));
            let scored = names.map(|known| (strsim::osa_distance(known, name), known));
            let nearest = scored.min().filter(|(distance, _)| *distance <= 2);
            let hint = nearest.map_or_else(
                || format!("see `waybill {} list`", self.word),
                |(_, known)| format!("was `{known}` meant?"),
            );
            CliError::with_next(format!("there is no {} called {name}", self.word), hint)
        })
    }
}
