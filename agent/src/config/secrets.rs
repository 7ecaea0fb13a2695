//! Fetches what secrets refer to, and knows which parts of the tree are secret (3.5 of the security model, R67).

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use monchero_core::node::{Key, Node, SecretSource, Secrets, Span, Value, nearest};
use serde_json::Value as Json;

/// Words in the name of a setting that make its value a secret, whatever the schema says: a misspelt or unknown setting has none.
const SECRET_WORDS: [&str; 10] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "credential",
    "api_key",
    "apikey",
    "authorization",
    "cookie",
];

/// Where secrets come from.
pub struct SecretStore<'a> {
    /// Looks up a variable of the daemon's environment.
    pub variable: &'a dyn Fn(&str) -> Option<OsString>,
    /// Reads a file in which only a secret stands.
    pub file: &'a dyn Fn(&Path) -> Result<String, String>,
}

/// The secrets of one file: fetches them, and keeps what the fingerprint and the masks need.
pub(crate) struct Fetcher<'a> {
    store: &'a SecretStore<'a>,
    /// The path of the file, if every user can read it: then no secret may stand in it.
    readable: Option<Arc<str>>,
    /// What was fetched since the last [`Fetcher::taken`].
    fetched: RefCell<Vec<String>>,
    /// Where secrets stand in the text of the file.
    inline: RefCell<Vec<Span>>,
}

impl<'a> Fetcher<'a> {
    pub(crate) fn new(store: &'a SecretStore<'a>, readable: Option<Arc<str>>) -> Self {
        Self { store, readable, fetched: RefCell::default(), inline: RefCell::default() }
    }

    /// What was fetched since the last call, for the fingerprint.
    pub(crate) fn taken(&self) -> Vec<String> {
        self.fetched.take()
    }

    /// Where secrets stood in the text itself.
    pub(crate) fn into_inline(self) -> Vec<Span> {
        self.inline.into_inner()
    }

    fn find(&self, source: SecretSource<'_>) -> Result<String, String> {
        match source {
            SecretSource::Text(text, span) => {
                self.inline.borrow_mut().push(span);
                match &self.readable {
                    Some(path) => Err(format!(
                        "a secret stands here, and every user can read this file: run `chmod o-r '{path}'`, or write `{{ file: .. }}`, \
                         `{{ env: .. }}` or `{{ credential: .. }}`"
                    )),
                    None => Ok(text.to_owned()),
                }
            }
            SecretSource::File(path) if !Path::new(path).is_absolute() => {
                Err(format!("the path `{path}` of the secret is not absolute"))
            }
            SecretSource::File(path) => (self.store.file)(Path::new(path)),
            SecretSource::Env(name) => self
                .variable(name)?
                .ok_or_else(|| format!("the environment variable `{name}` of the secret is not set")),
            SecretSource::Credential(name) => {
                let directory = self.variable("CREDENTIALS_DIRECTORY")?.ok_or_else(|| {
                    format!("the credential `{name}` is not there, because systemd gave none: add `LoadCredential={name}:PATH` to the unit")
                })?;
                // A credential is a file right in that directory.
                let mut parts = Path::new(name).components();
                match (parts.next(), parts.next()) {
                    (Some(Component::Normal(_)), None) => (self.store.file)(&PathBuf::from(directory).join(name)),
                    _ => Err(format!("`{name}` cannot be the name of a credential")),
                }
            }
        }
    }

    fn variable(&self, name: &str) -> Result<Option<String>, String> {
        match (self.store.variable)(name) {
            None => Ok(None),
            Some(value) if value.is_empty() => Err(format!("the environment variable `{name}` is empty")),
            Some(value) => {
                value.into_string().map(Some).map_err(|_| format!("the environment variable `{name}` is not UTF-8"))
            }
        }
    }
}

impl Secrets for Fetcher<'_> {
    fn fetch(&self, source: SecretSource<'_>) -> Result<String, String> {
        let text = self.find(source)?;
        self.fetched.borrow_mut().push(text.clone());
        Ok(text)
    }
}

/// Finds the parts of a tree that are secret: by the schema of the settings, and by their names where the schema knows nothing.
pub(crate) struct SecretFinder<'a> {
    /// The document that `$ref` refers to.
    document: &'a Json,
    pub(crate) found: Vec<Span>,
    /// Which names sound secret, and which kind a key means: comparing words is slow, and a file has the same ones over and over.
    sounds: HashMap<String, bool>,
    kinds: HashMap<String, Option<(&'a str, &'a Json)>>,
}

impl<'a> SecretFinder<'a> {
    pub(crate) fn new(document: &'a Json) -> Self {
        Self { document, found: Vec::new(), sounds: HashMap::new(), kinds: HashMap::new() }
    }

    /// Walks over settings and their schema.
    pub(crate) fn walk(&mut self, node: &Node, schema: &'a Json) {
        let schemas = self.alternatives(schema);
        if schemas.iter().any(|schema| is_secret(schema)) {
            self.hide(node);
            return;
        }
        // A text or list in the place of a map of secrets is one, wrongly written.
        let of_secrets = |schema: &&'a Json| {
            schema
                .get("additionalProperties")
                .is_some_and(|inner| self.alternatives(inner).iter().any(|s| is_secret(s)))
        };
        if !matches!(node.value, Value::Map(_)) && schemas.iter().any(of_secrets) {
            self.hide(node);
            return;
        }
        match &node.value {
            Value::Map(entries) => {
                for (key, value) in entries {
                    let known: Vec<&'a Json> =
                        schemas.iter().filter_map(|schema| schema.get("properties")?.get(&*key.name)).collect();
                    if known.is_empty() {
                        self.walk_unknown(&key.name, value, &schemas);
                    }
                    for schema in known {
                        self.walk(value, schema);
                    }
                }
            }
            Value::List(items) => {
                for schema in schemas.iter().filter_map(|schema| schema.get("items")) {
                    for item in items {
                        self.walk(item, schema);
                    }
                }
            }
            Value::Scalar { .. } | Value::Null => {}
        }
    }

    /// Walks over everything, by names alone.
    pub(crate) fn walk_names(&mut self, node: &Node) {
        match &node.value {
            Value::Map(entries) => {
                for (key, value) in entries {
                    // A map may be a check that is called `token`; its settings are looked at one by one.
                    match &value.value {
                        Value::Scalar { .. } | Value::List(_) if self.sounds_secret(&key.name) => self.hide(value),
                        _ => self.walk_names(value),
                    }
                }
            }
            Value::List(items) => items.iter().for_each(|item| self.walk_names(item)),
            Value::Scalar { .. } | Value::Null => {}
        }
    }

    /// Walks over an entry of `checks:` or `actions:`: the settings of its kind, whose schemas are the properties of the document.
    pub(crate) fn walk_entry(
        &mut self,
        entry: &Node,
        general: &[&str],
        short_for: impl Fn(&str) -> Option<&'static str>,
    ) {
        for (key, value) in entry.entries().iter().filter(|(key, _)| !general.iter().any(|known| **known == *key.name))
        {
            let kind = self.kinds.get(&*key.name).copied().unwrap_or_else(|| self.kind(&key.name));
            self.kinds.entry(key.name.to_string()).or_insert(kind);
            if let Some((kind, schema)) = kind {
                self.walk_settings(value, schema, short_for(kind));
            }
        }
    }

    /// The kind of that name, or the one that was probably meant.
    fn kind(&self, name: &str) -> Option<(&'a str, &'a Json)> {
        let kinds = self.document.get("properties")?.as_object()?;
        let near = || nearest(name, kinds.keys().map(String::as_str));
        let (name, schema) = kinds.get_key_value(name).or_else(|| kinds.get_key_value(near()?))?;
        Some((name, schema))
    }

    /// Whether the name of a setting says that its value is a secret.
    fn sounds_secret(&mut self, name: &str) -> bool {
        if let Some(known) = self.sounds.get(name) {
            return *known;
        }
        let lower = name.to_lowercase().replace('-', "_");
        let sounds = SECRET_WORDS.iter().any(|word| lower.contains(word)) || nearest(&lower, SECRET_WORDS).is_some();
        self.sounds.insert(name.to_owned(), sounds);
        sounds
    }

    /// Walks over the settings of a kind. A bare text is short for one of them.
    pub(crate) fn walk_settings(&mut self, settings: &Node, schema: &'a Json, short_for: Option<&str>) {
        match (&settings.value, short_for) {
            (Value::Scalar { .. } | Value::List(_), Some(setting)) => {
                for schema in
                    self.alternatives(schema).iter().filter_map(|schema| schema.get("properties")?.get(setting))
                {
                    self.walk(settings, schema);
                }
            }
            _ => self.walk(settings, schema),
        }
    }

    /// A key that the schema does not name: maps with free keys, and misspelt ones.
    fn walk_unknown(&mut self, name: &str, value: &Node, schemas: &[&'a Json]) {
        for schema in
            schemas.iter().filter_map(|schema| schema.get("additionalProperties")).filter(|schema| schema.is_object())
        {
            self.walk(value, schema);
        }
        let meant = schemas.iter().filter_map(|schema| {
            let properties = schema.get("properties")?.as_object()?;
            properties.get(nearest(name, properties.keys().map(String::as_str))?)
        });
        let is_meant = meant.into_iter().any(|schema| self.alternatives(schema).iter().any(|schema| is_secret(schema)));
        if self.sounds_secret(name) || is_meant {
            self.hide(value);
        }
    }

    /// The names of all settings that are secrets in some kind.
    pub(crate) fn secret_names(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        let mut open = vec![self.document];
        while let Some(json) = open.pop() {
            let properties = json.get("properties").and_then(Json::as_object).into_iter().flatten();
            let secret = properties.filter(|(_, schema)| self.alternatives(schema).into_iter().any(is_secret));
            names.extend(secret.map(|(name, _)| name.clone()));
            match json {
                Json::Object(map) => open.extend(map.values()),
                Json::Array(items) => open.extend(items),
                _ => {}
            }
        }
        names
    }

    fn hide(&mut self, node: &Node) {
        match &node.value {
            Value::Scalar { .. } => self.found.push(node.span),
            Value::List(items) => items.iter().for_each(|item| self.hide(item)),
            // `{ file: PATH }` is no secret, its content is; anything else in its place may be one.
            Value::Map(entries) => {
                let refers = |(key, value): &&(Key, Node)| {
                    ["file", "env", "credential"].contains(&&*key.name) && matches!(value.value, Value::Scalar { .. })
                };
                entries.iter().filter(|entry| !refers(entry)).for_each(|(_, value)| self.hide(value));
            }
            Value::Null => {}
        }
    }

    /// The schema, what it refers to, and each of what it may be.
    fn alternatives(&self, schema: &'a Json) -> Vec<&'a Json> {
        /// References and alternatives of generated schemas are two or three deep.
        const MAX: usize = 64;
        let mut all = vec![schema];
        let mut next = 0;
        while let Some(schema) = all.get(next).copied() {
            next += 1;
            if all.len() > MAX {
                break;
            }
            let at = schema.get("$ref").and_then(Json::as_str);
            if at.is_some_and(|at| at.ends_with("/MaybeSecret")) {
                // A text in its place is for everybody to read.
                continue;
            }
            all.extend(at.and_then(|at| self.document.pointer(at.strip_prefix('#')?)));
            for word in ["anyOf", "oneOf", "allOf"] {
                all.extend(schema.get(word).and_then(Json::as_array).into_iter().flatten());
            }
        }
        all
    }
}

fn is_secret(schema: &Json) -> bool {
    schema.get("$ref").and_then(Json::as_str).is_some_and(|at| at.ends_with("/Secret"))
}

/// Where a secret may stand in a line of a file that could not be read as YAML: behind a key whose name says so, or behind one of
/// `names`.
pub(crate) fn secrets_of_line(line: &str, names: &BTreeSet<String>) -> Option<Range<usize>> {
    let lower = line.to_ascii_lowercase();
    let of_word = |word: &&str| lower.find(*word).map(|at| at + word.len());
    let of_name = |name: &String| {
        let is_key = |at: &usize| {
            let before = lower.get(..*at).unwrap_or_default();
            let behind = lower.get(at + name.len()..).unwrap_or_default();
            !before.ends_with(|c: char| c.is_alphanumeric() || c == '_')
                && behind.trim_start_matches(['"', '\'', ' ']).starts_with(':')
        };
        lower.match_indices(name.as_str()).map(|(at, _)| at).find(is_key).map(|at| at + name.len())
    };
    let behind = SECRET_WORDS.iter().filter_map(of_word).chain(names.iter().filter_map(of_name)).min()?;
    let colon = behind + line.get(behind..)?.find(':')? + 1;
    let rest = line.get(colon..)?;
    let start = colon + rest.len() - rest.trim_start().len();
    (start < line.len()).then_some(start..line.len())
}
