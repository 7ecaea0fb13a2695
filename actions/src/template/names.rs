//! Which names a template may use: what an event holds, and which filters there are.

use monchero_core::order;

use super::source::{Part, Segment, Statement, Tag, TemplateError, Token};

/// What stands behind a name.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    /// A text, number or truth value.
    Value,
    /// Free-form names: labels.
    Labels,
    /// Parts with these names.
    Parts(&'static [(&'static str, Shape)]),
    /// Several of the same.
    List(&'static Shape),
    /// Something that only the run knows.
    Anything,
}

/// What an event holds, for templates.
pub(super) const EVENT: Shape = Shape::Parts(&[
    ("host", Shape::Value),
    ("check", Shape::Parts(&[("name", Shape::Value), ("kind", Shape::Value), ("labels", Shape::Labels)])),
    ("labels", Shape::Labels),
    ("state", Shape::Value),
    ("previous_state", Shape::Value),
    ("state_type", Shape::Value),
    ("attempt", Shape::Value),
    ("max_attempts", Shape::Value),
    ("message", Shape::Value),
    ("output", Shape::Value),
    ("metrics", Shape::List(&METRIC)),
    ("incident", Shape::Parts(&[("id", Shape::Value), ("since", Shape::Value), ("duration", Shape::Value)])),
    ("reason", Shape::Value),
    ("now", Shape::Value),
    ("drill", Shape::Value),
]);

const METRIC: Shape = Shape::Parts(&[
    ("label", Shape::Value),
    ("value", Shape::Value),
    ("unit", Shape::Value),
    ("state", Shape::Value),
    ("warning", Shape::Value),
    ("bad", Shape::Value),
    ("min", Shape::Value),
    ("max", Shape::Value),
]);

/// The filters that there are: pure, and unable to make much of little.
const FILTERS: [&str; 19] = [
    "default",
    "upper",
    "lower",
    "capitalize",
    "trim",
    "trim_start",
    "trim_end",
    "replace",
    "truncate",
    "split",
    "first",
    "last",
    "nth",
    "length",
    "round",
    "abs",
    "int",
    "str",
    "reverse",
];

/// Words of the language that are no names.
const KEYWORDS: [&str; 13] =
    ["and", "or", "not", "in", "is", "if", "else", "true", "false", "True", "False", "none", "null"];

/// What the names of a template say about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    /// Labels that it names anywhere.
    pub(super) labels: Vec<String>,
    /// Labels that it cannot do without: named outside of any condition and without a default.
    pub(super) needed_labels: Vec<String>,
}

/// Judges all names of a template.
pub(super) fn check(segments: &[Segment]) -> Result<Names, TemplateError> {
    let mut checker = Checker { scope: Vec::new(), conditions: 0, names: Names::default() };
    for segment in segments {
        checker.segment(segment).map_err(|message| TemplateError::new(segment.line, message))?;
    }
    order::sort(&mut checker.names.labels);
    checker.names.labels.dedup();
    order::sort(&mut checker.names.needed_labels);
    checker.names.needed_labels.dedup();
    Ok(checker.names)
}

struct Checker {
    /// The variables of the loop that is open.
    scope: Vec<(String, Shape)>,
    /// How many conditions and loops are open.
    conditions: usize,
    names: Names,
}

impl Checker {
    fn segment(&mut self, segment: &Segment) -> Result<(), String> {
        match &segment.part {
            Part::Text(_) => Ok(()),
            Part::Value(tag) => {
                let optional =
                    tag.tokens.iter().any(|t| ["default", "if", "is", "or"].iter().any(|word| t.is_name(word)));
                let found = self.expression(&tag.tokens)?;
                if self.conditions == 0 && !optional {
                    self.names.needed_labels.extend(found);
                }
                Ok(())
            }
            Part::Statement(statement, tag) => self.statement(*statement, tag),
        }
    }

    fn statement(&mut self, statement: Statement, tag: &Tag) -> Result<(), String> {
        let rest = tag.tokens.get(1..).unwrap_or_default();
        match statement {
            Statement::If | Statement::Elif => {
                self.conditions += usize::from(statement == Statement::If);
                self.expression(rest).map(drop)
            }
            Statement::For => {
                self.conditions += 1;
                self.begin_loop(rest)
            }
            Statement::EndIf | Statement::EndFor => {
                self.conditions = self.conditions.saturating_sub(1);
                if statement == Statement::EndFor {
                    self.scope.clear();
                }
                Ok(())
            }
            Statement::Else | Statement::Break | Statement::Continue => Ok(()),
        }
    }

    /// `metric in metrics`, `name, value in labels`.
    fn begin_loop(&mut self, tokens: &[Token]) -> Result<(), String> {
        const FORM: &str = "a loop is written `for metric in metrics` or `for name, value in labels`";
        let (variables, iterated) = match tokens {
            [Token::Name(value), Token::Name(word), rest @ ..] if word == "in" => (vec![value], rest),
            [Token::Name(key), Token::Symbol(","), Token::Name(value), Token::Name(word), rest @ ..]
                if word == "in" =>
            {
                (vec![key, value], rest)
            }
            _ => return Err(FORM.to_owned()),
        };
        self.expression(iterated)?;
        let element = match iterated {
            [Token::Name(name)] if variables.len() == 1 => match self.head(name) {
                Some(Shape::List(element)) => *element,
                _ => Shape::Anything,
            },
            _ => Shape::Anything,
        };
        for variable in variables {
            if let Shape::Parts(parts) = EVENT
                && parts.iter().any(|(name, _)| name == variable)
            {
                return Err(format!(
                    "the loop calls its variable `{variable}`, which would hide the event's; choose another name"
                ));
            }
            self.scope.push((variable.clone(), element));
        }
        self.scope.push(("loop".to_owned(), Shape::Anything));
        Ok(())
    }

    /// Judges the names of an expression; answers which labels it names.
    fn expression(&mut self, tokens: &[Token]) -> Result<Vec<String>, String> {
        let mut labels = Vec::new();
        let mut brackets = Vec::new();
        let mut rest = tokens;
        let mut before: Option<&Token> = None;
        while let Some((token, behind)) = rest.split_first() {
            rest = behind;
            match token {
                Token::Name(name) => {
                    let next = behind.first();
                    let is_filter = before.is_some_and(|token| token.is_symbol("|"));
                    let is_test = before.is_some_and(|t| t.is_name("is")) && name != "not"
                        || is_negated_test(tokens, behind.len());
                    let is_argument = next.is_some_and(|token| token.is_symbol("=")) && !brackets.is_empty();
                    if is_filter {
                        check_filter(name)?;
                    } else if name == "for" {
                        return Err("a list made by a loop cannot stand in an expression".to_owned());
                    } else if !is_test && !is_argument && !KEYWORDS.contains(&name.as_str()) {
                        if next.is_some_and(|token| token.is_symbol("(")) {
                            return Err(format!(
                                "there is no function `{name}`: templates have names and filters only"
                            ));
                        }
                        rest = self.path(name, behind, &mut labels)?;
                    }
                }
                Token::Symbol(open @ ("(" | "[" | "?[")) => brackets.push(if *open == "(" { ")" } else { "]" }),
                Token::Symbol(close @ (")" | "]")) => {
                    if brackets.pop() != Some(close) {
                        return Err(format!("`{close}` closes nothing"));
                    }
                }
                Token::Symbol("@") => return Err("`@` has no meaning in a template".to_owned()),
                Token::Symbol("." | "?.") => return Err("`.` stands behind no name".to_owned()),
                Token::Symbol(_) | Token::Text(_) | Token::Number => {}
            }
            before = Some(token);
        }
        if let Some(close) = brackets.pop() {
            return Err(format!("`{close}` is missing"));
        }
        self.names.labels.extend(labels.iter().cloned());
        Ok(labels)
    }

    /// Follows `name.part["part"]`; answers what stands behind it.
    fn path<'t>(&self, head: &str, mut rest: &'t [Token], labels: &mut Vec<String>) -> Result<&'t [Token], String> {
        let Some(mut shape) = self.head(head) else { return Err(self.unknown(head)) };
        let mut path = head.to_owned();
        loop {
            let (part, behind) = match rest {
                [Token::Symbol("." | "?."), Token::Name(part), behind @ ..]
                | [Token::Symbol("[" | "?["), Token::Text(part), Token::Symbol("]"), behind @ ..] => {
                    (Some(part), behind)
                }
                [Token::Symbol("[" | "?["), Token::Number, Token::Symbol("]"), behind @ ..] => (None, behind),
                _ => return Ok(rest),
            };
            shape = match (shape, part) {
                (Shape::Anything, _) | (Shape::Labels | Shape::Parts(_), None) => Shape::Anything,
                (Shape::List(element), None) => *element,
                (Shape::Labels, Some(label)) => {
                    labels.push(label.clone());
                    Shape::Value
                }
                (Shape::Parts(parts), Some(part)) => {
                    let found = parts.iter().find(|(name, _)| name == part).map(|(_, shape)| *shape);
                    found.ok_or_else(|| {
                        let known: Vec<&str> = parts.iter().map(|(name, _)| *name).collect();
                        format!("`{path}` has no `{part}`; {}", monchero_core::node::suggest(part, &known))
                    })?
                }
                (Shape::List(_), Some(part)) => {
                    return Err(format!(
                        "`{path}` is a list and has no `{part}`; write `{{% for x in {path} %}}{{{{ x.{part} }}}}{{% endfor %}}`"
                    ));
                }
                (Shape::Value, Some(part)) => return Err(format!("`{path}` is a plain value and has no `{part}`")),
                (Shape::Value, None) => Shape::Value,
            };
            path = format!("{path}.{}", part.map_or("0", String::as_str));
            rest = behind;
        }
    }

    fn head(&self, name: &str) -> Option<Shape> {
        let Shape::Parts(parts) = EVENT else { return None };
        let own = self.scope.iter().find(|(variable, _)| variable == name).map(|(_, shape)| *shape);
        own.or_else(|| parts.iter().find(|(known, _)| *known == name).map(|(_, shape)| *shape))
    }

    fn unknown(&self, name: &str) -> String {
        let Shape::Parts(parts) = EVENT else { return String::new() };
        let known: Vec<&str> =
            parts.iter().map(|(known, _)| *known).chain(self.scope.iter().map(|(v, _)| v.as_str())).collect();
        format!("unknown name `{name}`; {}", monchero_core::node::suggest(name, &known))
    }
}

/// Whether the name with `behind` tokens behind it is the test of `is not defined`.
fn is_negated_test(tokens: &[Token], behind: usize) -> bool {
    let at = tokens.len().saturating_sub(behind + 1);
    matches!(at.checked_sub(2).and_then(|from| tokens.get(from..at)), Some([a, b]) if a.is_name("is") && b.is_name("not"))
}

fn check_filter(name: &str) -> Result<(), String> {
    if FILTERS.contains(&name) {
        return Ok(());
    }
    let help = match name {
        "safe" | "escape" | "e" | "escape_html" | "escape_xml" | "quote" | "shell_quote" => {
            "values are inserted so that they cannot become anything but text: no filter is needed, and none can change that".to_owned()
        }
        _ => monchero_core::node::suggest(name, &FILTERS),
    };
    Err(format!("there is no filter `{name}`; {help}"))
}

#[cfg(test)]
mod tests {
    use super::super::source::parse;
    use super::*;

    fn names(source: &str) -> Result<Names, TemplateError> {
        check(&parse(source).unwrap_or_else(|error| panic!("{source}: {error}")))
    }

    #[test]
    fn known_names_pass() {
        for source in [
            "{{ host }} {{ check.name }} {{ check.labels.unit }} {{ incident.id }} {{ state_type }}",
            "{% for m in metrics %}{{ m.label }}={{ m.value }}{{ loop.index }}{% endfor %}",
            "{% for name, value in labels %}{{ name }}={{ value }}{% endfor %}",
            "{{ metrics[0].label }}",
            "{{ output | split(pat=\"\n\") | first | truncate(length=20) }}",
            "{% if state in [\"bad\", 'unknown'] and not drill %}{{ message if message else \"-\" }}{% endif %}",
            "{% if labels.x is not defined or message is containing(pat=\"a\") %}{% endif %}",
            "{{ labels[\"my-unit\"] ~ \"x\" }}",
        ] {
            assert!(names(source).is_ok(), "{source}: {:?}", names(source));
        }
    }

    #[test]
    fn unknown_names_are_found_wherever_they_stand() {
        for (source, help) in [
            ("{{ hots }}", "did you mean `host`"),
            ("{{ check.nmae }}", "did you mean `name`"),
            ("{% if false %}{{ incident.idd }}{% endif %}", "did you mean `id`"),
            ("{% for m in metrics %}{{ m.lable }}{% endfor %}", "did you mean `label`"),
            ("{{ metrics.label }}", "is a list"),
            ("{{ message.text }}", "plain value"),
            ("{{ metrics[0].lable }}", "did you mean `label`"),
            ("{{ message | safe }}", "no filter is needed"),
            ("{{ message | uper }}", "did you mean `upper`"),
            ("{{ range(end=3) }}", "no function"),
            ("{{ __tera_context }}", "unknown name"),
            ("{{ message) | upper ~ (output }}", "closes nothing"),
            ("{{ (message }}", "is missing"),
            ("{{ [x for x in metrics] }}", "unknown name `x`"),
            ("{{ [1 for m in metrics] }}", "loop"),
            ("{{ m }}{% for m in metrics %}{% endfor %}", "unknown name `m`"),
            ("{% for host in metrics %}{% endfor %}", "hide"),
            ("{% for in metrics %}{% endfor %}", "a loop is written"),
            ("{{ message | default(value=nothing) }}", "unknown name `nothing`"),
        ] {
            let error = names(source).expect_err(source);
            assert!(error.to_string().contains(help), "{source}: {error}");
        }
    }

    #[test]
    fn labels_that_are_needed_and_labels_that_may_miss() {
        let found =
            names("{{ labels.unit }}{{ labels.a | default(value=1) }}{% if labels.b %}{{ check.labels.c }}{% endif %}")
                .unwrap();
        assert_eq!(found.labels, ["a", "b", "c", "unit"]);
        assert_eq!(found.needed_labels, ["unit"]);
    }
}
