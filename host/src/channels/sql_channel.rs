//! The kind `sql`: writes each delivery to a table of PostgreSQL, MySQL or MariaDB, exactly once.
//!
//! One transaction writes the delivery and inserts its id into the table `waybill_inbox`, where the
//! id is the primary key. If an attempt is repeated because its end was not recorded, the id
//! already
//! exists: nothing is written, and the delivery counts as successful.

mod database_route;
mod driver_error;
mod mysql_writer;
mod postgres_writer;
mod sql_publisher;
mod write_plan;

use super::channel_kind::{ChannelCapabilities, ChannelDescription, ChannelKind, EndpointChannel};
use super::event_value::EventPlace;
use super::pipe::ServerPlace;
use super::setting_secret::SettingSecret;
use crate::config::ChannelsSection;
use crate::model::endpoint::EndpointSettings;
use crate::model::fault::InputFault;
use serde::Deserialize;
use sql_publisher::{DatabaseLogin, SqlPublisher};
use std::collections::BTreeMap;
use std::sync::Arc;
use write_plan::{RowWrite, SqlEngine, WritePlan};

/// Most columns of a row.
const MAX_COLUMNS: usize = 200;
/// The URL schemes of each server with its default port.
const POSTGRES: [(&str, u16); 2] = [("postgres", 5432), ("postgresql", 5432)];
const MYSQL: [(&str, u16); 2] = [("mysql", 3306), ("mariadb", 3306)];

/// Endpoints of the kind `sql`.
#[derive(Debug)]
pub struct SqlChannel;

/// Encryption of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SqlTls {
    /// Encrypted. The certificate must be valid for the host of `url`.
    #[default]
    Verify,
    /// Encrypted. The certificate is not verified.
    Require,
    /// Not encrypted.
    Off,
}

/// The settings of an endpoint of kind `sql`, beside its `url`.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SqlSettings {
    /// The user to log in as.
    #[schema(min_length = 1, max_length = 255)]
    username: String,
    /// The user's password.
    #[schema(write_only, value_type = String)]
    password: SettingSecret,
    /// Encryption of the connection: `verify`, `require` or `off`.
    #[serde(default)]
    #[schema(value_type = String, default = "verify")]
    tls: SqlTls,
    /// Certificates of further authorities that may have issued the database's certificate, in PEM.
    /// Mozilla's are always trusted.
    #[serde(default)]
    #[schema(max_length = 65536)]
    ca: Option<String>,
    /// The table to write rows to, with or without its schema: `sales.invoices`.
    #[serde(default)]
    #[schema(max_length = 200, example = "sales.invoices")]
    table: Option<String>,
    /// The values of the row, or of the parameters of `statement`, by column name. A value is
    /// `type`, `source`, `resource`, `id`, `time`, `event_id`, `delivery_id`, `data` or
    /// `data.FIELD`.
    #[schema(example = json!({"number": "data.number", "total": "data.total", "paid_at": "time"}))]
    columns: BTreeMap<String, String>,
    /// The columns that identify a row. If set, an existing row with the same keys is replaced; the
    /// columns need a unique constraint. If left out, rows are only inserted.
    #[serde(default)]
    #[schema(example = json!(["number"]))]
    keys: Vec<String>,
    /// A statement to run instead of writing to `table`, with parameters such as `:total` that
    /// `columns` defines.
    #[serde(default)]
    #[schema(max_length = 16384)]
    statement: Option<String>,
    /// The table that records the ids of successful deliveries. It is created if it does not exist.
    #[serde(default = "inbox")]
    #[schema(max_length = 200, default = "waybill_inbox")]
    inbox: String,
}

fn inbox() -> String {
    "waybill_inbox".to_owned()
}

impl ChannelKind for SqlChannel {
    const DESCRIPTION: ChannelDescription = ChannelDescription {
        kind: "sql",
        label: "SQL database",
        url_schemes: &["postgres", "postgresql", "mysql", "mariadb"],
        url_hint: "the database, such as postgres://db.example:5432/erp or mysql://db.example:3306/erp",
        delivered_when: "the transaction that writes the row and the delivery's id is committed",
        dead_when: "the database rejects the values because of a type, a length or a constraint",
        repeat_known_by: "the table waybill_inbox, so a delivery is written once",
        limits: "the limits of the columns",
        capabilities: ChannelCapabilities {
            signs: false,
            headers: false,
            envelope: false,
            batches: false,
            exactly_once: true,
        },
    };

    type Settings = SqlSettings;

    fn check(settings: &SqlSettings, _rules: &ChannelsSection) -> Vec<InputFault> {
        let mut faults = Vec::new();
        if settings.columns.is_empty() || settings.columns.len() > MAX_COLUMNS {
            let message = format!("must have 1 to {MAX_COLUMNS} columns");
            faults.push(InputFault::new("columns", message));
        }
        for (name, place) in &settings.columns {
            let why = EventPlace::parse(place).err();
            faults.extend(why.map(|why| InputFault::new(format!("columns.{name}"), why)));
        }
        for (n, key) in settings.keys.iter().enumerate() {
            if !settings.columns.contains_key(key) {
                let message = "a key must be one of `columns`";
                faults.push(InputFault::new(format!("keys[{n}]"), message));
            }
        }
        if settings.statement.is_some() && !settings.keys.is_empty() {
            faults.push(InputFault::new("keys", "a statement does not use `keys`; leave it out"));
        }
        match settings.row_write() {
            Ok((path, write)) => {
                // The servers quote names differently, but both find the same faults.
                let engines = [SqlEngine::Postgres, SqlEngine::Mysql];
                let plans = engines.map(|engine| WritePlan::new(engine, &settings.inbox, write));
                if let [Err(why), Err(_)] = plans {
                    faults.push(InputFault::new(path, why));
                }
            }
            Err(why) => faults.push(InputFault::new("table", why)),
        }
        faults
    }

    fn open(
        endpoint: &EndpointSettings,
        settings: SqlSettings,
        _rules: &ChannelsSection,
    ) -> Result<EndpointChannel, String> {
        let (engine, place) = read_place(&endpoint.url)?;
        let (_, write) = settings.row_write()?;
        let plan = WritePlan::new(engine, &settings.inbox, write)?;
        let places = settings
            .columns
            .iter()
            .map(|(name, place)| Ok((name.clone(), EventPlace::parse(place)?)));
        let columns = places.collect::<Result<BTreeMap<String, EventPlace>, String>>()?;
        let SqlSettings { username: user, password, tls, ca, .. } = settings;
        let login = DatabaseLogin { place, user, password, tls, ca };
        let publisher = SqlPublisher::new(engine, login, plan, columns);
        Ok(EndpointChannel::Other(Arc::new(publisher)))
    }
}

impl SqlSettings {
    /// Returns the name and the contents of the setting that says what to write.
    fn row_write(&self) -> Result<(&'static str, RowWrite<'_>), String> {
        match (&self.table, &self.statement) {
            (Some(table), None) => {
                let write = RowWrite::Row { table, columns: &self.columns, keys: &self.keys };
                Ok(("table", write))
            }
            (None, Some(text)) => {
                Ok(("statement", RowWrite::Statement { text, parameters: &self.columns }))
            }
            (Some(_), Some(_)) | (None, None) => {
                Err("set either `table` or `statement`".to_owned())
            }
        }
    }
}

fn read_place(url: &str) -> Result<(SqlEngine, ServerPlace), String> {
    let is_postgres =
        url.get(.."postgres".len()).is_some_and(|s| s.eq_ignore_ascii_case("postgres"));
    let (engine, [first, second]) =
        if is_postgres { (SqlEngine::Postgres, POSTGRES) } else { (SqlEngine::Mysql, MYSQL) };
    let place = ServerPlace::read(url, first, second)?;
    if place.path.is_empty() || place.path.contains('/') {
        return Err("name the database after the host: postgres://db.example:5432/erp".to_owned());
    }
    Ok((engine, place))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn faults(more: &Value) -> Vec<String> {
        let mut settings = json!({"username": "u", "password": "p", "columns": {"no": "data.no"}});
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let settings: SqlSettings = serde_json::from_value(settings).unwrap();
        let faults = SqlChannel::check(&settings, &ChannelsSection::default());
        faults.into_iter().map(|fault| fault.path).collect()
    }

    #[test]
    fn settings_name_a_table_or_a_statement() {
        assert_eq!(faults(&json!({"table": "sales.t", "keys": ["no"]})), [""; 0]);
        assert_eq!(faults(&json!({"statement": "CALL f(:no)"})), [""; 0]);
        for (more, place) in [
            (json!({}), "table"),
            (json!({"table": "t", "statement": "CALL f(:no)"}), "table"),
            (json!({"table": "t;"}), "table"),
            (json!({"table": "t", "inbox": "i\""}), "table"),
            (json!({"table": "t", "keys": ["other"]}), "keys[0]"),
            (json!({"table": "t", "columns": {"no": "payload"}}), "columns.no"),
            (json!({"statement": "CALL f(:other)"}), "statement"),
        ] {
            assert_eq!(faults(&more), [place], "{more}");
        }
    }

    #[test]
    fn a_url_names_a_database() {
        let (engine, place) = read_place("postgresql://db:1/erp").unwrap();
        assert_eq!((engine, place.port, place.path.as_str()), (SqlEngine::Postgres, 1, "erp"));
        let (engine, place) = read_place("mariadb://db/erp").unwrap();
        assert_eq!((engine, place.port), (SqlEngine::Mysql, 3306));
        for url in
            ["postgres://db", "mysql://db/a/b", "mysql://db/erp?ssl-mode=DISABLED", "oracle://db/x"]
        {
            assert!(read_place(url).is_err(), "{url}");
        }
    }
}
