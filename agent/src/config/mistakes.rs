//! All mistakes of a load: noted where they are found, and told at the end, each once and without the secrets that stand beside it.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use monchero_core::node::{Node, SettingsError, Span};
use monchero_core::order;
use schemars::SchemaGenerator;
use serde_json::Value as Json;

use super::files::{FileError, Source};
use super::load::Loader;
use super::problem::Problem;
use super::secrets::{SecretFinder, secrets_of_line};
use super::yaml;

/// How many mistakes are told. Who makes more has put the wrong file into `conf.d`.
const MAX_PROBLEMS: usize = 1_000;

/// A mistake that is known and not yet rendered.
pub(crate) struct Found {
    subject: Option<String>,
    error: SettingsError,
}

impl Loader<'_> {
    /// Notes a mistake.
    pub(crate) fn report(&mut self, subject: Option<&str>, error: SettingsError) {
        self.found.push(Found { subject: subject.map(str::to_owned), error });
    }

    pub(crate) fn report_at(
        &mut self,
        subject: Option<&str>,
        span: Span,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        self.report(subject, SettingsError { span, path: String::new(), message: message.into(), help });
    }

    /// Notes that a file as a whole cannot be used. What stands in it is unknown from now on.
    pub(crate) fn report_file(&mut self, path: &Path, error: FileError) {
        self.incomplete = true;
        let name = self.shown_name(path);
        self.whole_files.push(Problem::of_file(&name, error.message, error.help));
    }

    /// Makes of each mistake what is shown; a mistake that several checks share (by an alias, a default, instances) is told once.
    pub(crate) fn render(&mut self) -> Vec<Problem> {
        let mut found = std::mem::take(&mut self.found);
        order::sort_by_key(&mut found, |found| (found.error.span.file, found.error.span.start));
        let mut seen: HashSet<(u32, u32, u32, String)> = HashSet::new();
        found.retain(|Found { error, .. }| {
            seen.insert((error.span.file, error.span.start, error.span.end, error.message.clone()))
        });
        let too_many = (found.len() + self.whole_files.len()).saturating_sub(MAX_PROBLEMS);
        found.truncate(MAX_PROBLEMS);
        let mut problems = std::mem::take(&mut self.whole_files);
        problems.truncate(MAX_PROBLEMS);
        let document = if found.is_empty() { Json::Null } else { self.schema() };
        let mut finder = SecretFinder::new(&document);
        let mut masks: HashMap<u32, Vec<Span>> = HashMap::new();
        for Found { subject, error } in found {
            let Some(source) = self.sources.get(error.span.file) else { continue };
            let masked = masks.entry(error.span.file).or_insert_with(|| self.masked(error.span, source, &mut finder));
            problems.push(Problem::new(source, subject, error, masked));
        }
        problems.truncate(MAX_PROBLEMS);
        if too_many > 0 {
            let file = problems.last().map(|problem| problem.file.clone()).unwrap_or_default();
            problems.push(Problem::of_file(&file, format!("{too_many} further mistakes are not shown"), None));
        }
        problems
    }

    /// The parts of a file that nobody may see. The file is read once more for it, since trees are let go as soon as they are read.
    fn masked(&self, error: Span, source: &Source, finder: &mut SecretFinder<'_>) -> Vec<Span> {
        let file = error.file;
        // Of a file that is no YAML there is one mistake, and only its line is shown.
        if self.no_yaml.contains(&file) {
            let (line, start) = source.line_of(error.start);
            let at = |offset: usize| start + u32::try_from(offset).unwrap_or(0);
            let secret = secrets_of_line(source.line_text(line), &finder.secret_names());
            return secret.map(|range| Span { file, start: at(range.start), end: at(range.end) }).into_iter().collect();
        }
        let mut spans: Vec<Span> = self.inline_secrets.iter().filter(|span| span.file == file).copied().collect();
        if let Ok(parsed) = yaml::parse(&source.text, file) {
            finder.walk_names(&parsed.root);
            for (section, general) in [("checks", &self.check_keys), ("actions", &self.action_keys)] {
                for (_, entry) in parsed.root.get(section).map(Node::entries).unwrap_or_default() {
                    finder.walk_entry(entry, general, |kind| self.short_for(kind));
                }
            }
            spans.append(&mut finder.found);
            spans.extend(parsed.dropped);
        }
        spans
    }

    /// The schemas of all kinds: `properties` by the name of the kind, and what they refer to.
    fn schema(&self) -> Json {
        let mut generator = SchemaGenerator::default();
        let mut kinds = serde_json::Map::new();
        for kind in self.options.kinds.checks {
            kinds.insert(kind.name.to_owned(), kind.schema(&mut generator).to_value());
        }
        for kind in self.options.kinds.actions {
            kinds.insert(kind.name.to_owned(), kind.schema(&mut generator).to_value());
        }
        serde_json::json!({ "properties": kinds, "$defs": generator.take_definitions(true) })
    }

    fn short_for(&self, kind: &str) -> Option<&'static str> {
        let kinds = self.options.kinds;
        let check = kinds.checks.iter().find(|known| known.name == kind).and_then(|kind| kind.short_for);
        check.or_else(|| kinds.actions.iter().find(|known| known.name == kind).and_then(|kind| kind.short_for))
    }
}
