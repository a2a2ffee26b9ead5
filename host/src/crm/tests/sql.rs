//! As much of SQL as the fixture uses, in memory: so that one text serves here and against a real
//! database.

use std::collections::BTreeMap;

use crate::crm::row::{CellValue, CrmRow};

/// A value of a row: text or null.
type Value = Option<String>;

#[derive(Debug, Clone, Default)]
struct TableRows {
    defaults: Vec<(String, Value)>,
    rows: Vec<BTreeMap<String, Value>>,
}

/// Tables with rows.
#[derive(Debug, Clone, Default)]
pub struct Database {
    tables: BTreeMap<String, TableRows>,
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Name(String),
    Text(String),
    Word(String),
    Sign(char),
}

fn tokens(sql: &str) -> Vec<Token> {
    let mut found = Vec::new();
    let mut chars = sql.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '`' => found.push(Token::Name(chars.by_ref().take_while(|c| *c != '`').collect())),
            '\'' => {
                let mut text = String::new();
                while let Some(c) = chars.next() {
                    if c != '\'' {
                        text.push(c);
                    } else if chars.next_if_eq(&'\'').is_some() {
                        text.push('\'');
                    } else {
                        break;
                    }
                }
                found.push(Token::Text(text));
            }
            '-' if chars.peek() == Some(&'-') => {
                chars.by_ref().take_while(|c| *c != '\n').for_each(drop);
            }
            c if c.is_alphanumeric() || "-._".contains(c) => {
                let mut word = String::from(c);
                while let Some(c) = chars.next_if(|c| c.is_alphanumeric() || "-._".contains(*c)) {
                    word.push(c);
                }
                found.push(Token::Word(word));
            }
            c if c.is_whitespace() => {}
            c => found.push(Token::Sign(c)),
        }
    }
    found
}

struct Parser(std::collections::VecDeque<Token>);

impl Parser {
    fn next(&mut self) -> Token {
        self.0.pop_front().expect("more of the statement")
    }

    fn peek(&self) -> Option<&Token> {
        self.0.front()
    }

    fn name(&mut self) -> String {
        let token = self.next();
        let Token::Name(name) = token else { panic!("a quoted name, not {token:?}") };
        name
    }

    fn value(&mut self) -> Value {
        match self.next() {
            Token::Text(text) => Some(text),
            Token::Word(word) if word == "NULL" => None,
            Token::Word(word) => Some(word),
            token @ (Token::Name(_) | Token::Sign(_)) => panic!("a value, not {token:?}"),
        }
    }

    fn expect(&mut self, words: &str) {
        for word in words.split(' ') {
            let token = self.next();
            let fits = match &token {
                Token::Word(found) => found.eq_ignore_ascii_case(word),
                Token::Sign(sign) => word == sign.to_string(),
                Token::Name(_) | Token::Text(_) => false,
            };
            assert!(fits, "{word} expected, not {token:?}");
        }
    }

    fn takes(&mut self, sign: &Token) -> bool {
        let is_next = self.peek() == Some(sign);
        if is_next {
            self.next();
        }
        is_next
    }

    /// Something between brackets, with commas.
    fn list<T>(&mut self, one: impl Fn(&mut Self) -> T) -> Vec<T> {
        self.expect("(");
        let mut found = vec![one(self)];
        while self.takes(&Token::Sign(',')) {
            found.push(one(self));
        }
        self.expect(")");
        found
    }

    /// `name` = value, with such between.
    fn pairs(&mut self, between: &Token) -> Vec<(String, Value)> {
        let mut found = Vec::new();
        loop {
            let name = self.name();
            self.expect("=");
            found.push((name, self.value()));
            if !self.takes(between) {
                return found;
            }
        }
    }
}

impl Database {
    /// Empty tables as `CREATE TABLE` describes them, a column a line.
    pub fn create(ddl: &str) -> Self {
        let mut tables: BTreeMap<String, TableRows> = BTreeMap::new();
        let mut current = String::new();
        for line in ddl.lines() {
            let Some(name) = line.split('`').nth(1) else { continue };
            if line.starts_with("CREATE TABLE") {
                name.clone_into(&mut current);
                tables.entry(current.clone()).or_default();
            } else if line.starts_with("  `") {
                let default =
                    line.split_once("DEFAULT '").and_then(|(_, rest)| rest.split('\'').next());
                let column = (name.to_owned(), default.map(str::to_owned));
                tables.get_mut(&current).unwrap().defaults.push(column);
            }
        }
        Self { tables }
    }

    /// Runs statements that end in `;`.
    pub fn run(&mut self, sql: &str) {
        for statement in tokens(sql).split(|token| *token == Token::Sign(';')) {
            if !statement.is_empty() {
                self.run_one(Parser(statement.iter().cloned().collect()));
            }
        }
    }

    fn run_one(&mut self, mut parser: Parser) {
        let token = parser.next();
        let Token::Word(word) = token else { panic!("no statement begins with {token:?}") };
        match word.as_str() {
            "INSERT" => self.insert(parser),
            "UPDATE" => self.update(parser),
            "DELETE" => self.delete(parser),
            other => panic!("no statement begins with {other}"),
        }
    }

    fn table(&mut self, name: &str) -> &mut TableRows {
        self.tables.get_mut(name).unwrap_or_else(|| panic!("no table {name}"))
    }

    fn insert(&mut self, mut parser: Parser) {
        parser.expect("INTO");
        let data = self.table(&parser.name());
        let columns = parser.list(Parser::name);
        parser.expect("VALUES");
        loop {
            let values = parser.list(Parser::value);
            assert_eq!(columns.len(), values.len(), "a value for each of {columns:?}");
            let mut row: BTreeMap<String, Value> = data.defaults.iter().cloned().collect();
            for (column, value) in columns.iter().zip(values) {
                let place = row.get_mut(column).unwrap_or_else(|| panic!("no column {column}"));
                *place = value;
            }
            data.rows.push(row);
            if !parser.takes(&Token::Sign(',')) {
                return;
            }
        }
    }

    fn update(&mut self, mut parser: Parser) {
        let data = self.table(&parser.name());
        parser.expect("SET");
        let changes = parser.pairs(&Token::Sign(','));
        parser.expect("WHERE");
        let conditions = parser.pairs(&Token::Word("AND".into()));
        let mut found = 0;
        for row in data.rows.iter_mut().filter(|row| fits(row, &conditions)) {
            for (column, value) in &changes {
                let place = row.get_mut(column).unwrap_or_else(|| panic!("no column {column}"));
                value.clone_into(place);
            }
            found += 1;
        }
        assert!(found > 0, "no row with {conditions:?}");
    }

    fn delete(&mut self, mut parser: Parser) {
        parser.expect("FROM");
        let data = self.table(&parser.name());
        parser.expect("WHERE");
        let conditions = parser.pairs(&Token::Word("AND".into()));
        let before = data.rows.len();
        data.rows.retain(|row| !fits(row, &conditions));
        assert!(data.rows.len() < before, "no row with {conditions:?}");
    }

    /// The names of a table's columns.
    pub fn columns(&self, table: &str) -> Vec<String> {
        self.tables.get(table).map_or_else(Vec::new, |data| {
            data.defaults.iter().map(|(column, _)| column.clone()).collect()
        })
    }

    /// Takes away a column, as an older version of the CRM lacks it.
    pub fn drop_column(&mut self, table: &str, column: &str) {
        let data = self.table(table);
        data.defaults.retain(|(name, _)| name != column);
        data.rows.iter_mut().for_each(|row| drop(row.remove(column)));
    }

    /// The rows of a table that have these values, with these columns.
    pub fn select(&self, table: &str, columns: &[&str], is: &[(&str, &str)]) -> Vec<CrmRow> {
        let conditions: Vec<(String, Value)> =
            is.iter().map(|(c, v)| ((*c).to_owned(), Some((*v).to_owned()))).collect();
        let data = self.tables.get(table).unwrap_or_else(|| panic!("no table {table}"));
        let rows = data.rows.iter().filter(|row| fits(row, &conditions));
        let cell = |row: &BTreeMap<String, Value>, column: &str| {
            CellValue::from(row.get(column).unwrap_or_else(|| panic!("no column {column}")).clone())
        };
        rows.map(|row| columns.iter().map(|c| ((*c).to_owned(), cell(row, c))).collect()).collect()
    }
}

fn fits(row: &BTreeMap<String, Value>, conditions: &[(String, Value)]) -> bool {
    conditions.iter().all(|(column, value)| row.get(column) == Some(value))
}
