//! What endpoints, flows and sources have in common: they are listed, shown, made, changed and
//! deleted by name or id.

use clap::Args;
use http::Method;
use serde_json::Value;

use super::client::{CallBody, QueryParameters, RemoteServer, ServerClient, escape_path};
use super::input::SettingsArgs;
use super::partial_id::PartialId;
use super::screen::ListColumn;
use super::{CliError, CommandScreen};

/// A kind of thing under `/api/v1`.
pub struct ResourceKind {
    /// What one is called.
    pub word: &'static str,
    /// Where they are.
    pub path: &'static str,
    /// How their ids begin.
    pub prefix: &'static str,
    /// What a list shows.
    pub columns: &'static [ListColumn],
}

/// Options of a list.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Most to show.
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub limit: usize,
    #[command(flatten)]
    pub remote: RemoteServer,
}

/// One thing, by name or id.
#[derive(Debug, Args)]
pub struct OneArgs {
    /// Its name or id.
    #[arg(value_name = "NAME|ID")]
    pub name: String,
    #[command(flatten)]
    pub remote: RemoteServer,
}

/// One thing to delete, by name or id.
#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// Its name or id.
    #[arg(value_name = "NAME|ID")]
    pub name: String,
    #[command(flatten)]
    pub yes: YesArg,
    #[command(flatten)]
    pub remote: RemoteServer,
}

/// Consent to a deletion that is given beforehand.
#[derive(Debug, Clone, Copy, Args)]
pub struct YesArg {
    /// Do not ask. Without a terminal nothing is asked.
    #[arg(long, short)]
    yes: bool,
}

impl YesArg {
    /// Asks on a terminal before something is deleted, and fails where the answer is no.
    pub fn confirm(self, question: &str, screen: &mut CommandScreen<'_>) -> Result<(), CliError> {
        if self.yes || screen.ask(question)? {
            return Ok(());
        }
        Err(CliError::failed("nothing was deleted"))
    }
}

/// One thing, by id.
#[derive(Debug, Args)]
pub struct IdArgs {
    /// Its id, or the beginning or the ending of it.
    #[arg(value_name = "ID")]
    pub id: String,
    #[command(flatten)]
    pub remote: RemoteServer,
}

/// A change of one thing.
#[derive(Debug, Args)]
pub struct UpdateArgs {
    /// Its name or id.
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

    /// As [`ResourceKind::find_id`], escaped for a path.
    async fn find(&self, client: &ServerClient, name: &str) -> Result<String, CliError> {
        Ok(escape_path(&self.find_id(client, name).await?))
    }

    /// The whole id in the place of a part of one. A name is left to the server.
    pub async fn complete_id(&self, client: &ServerClient, name: &str) -> Result<String, CliError> {
        let is_part = name.starts_with(self.prefix) && PartialId::read(name, self.prefix).is_some();
        if is_part { self.find_id(client, name).await } else { Ok(name.to_owned()) }
    }

    /// The id of that name, or that begins or ends so; a whole id is taken as it is.
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
