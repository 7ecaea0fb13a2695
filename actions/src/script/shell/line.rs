//! One simple command of a shell script, as far as it matters for the values in it: which program it starts, and which word is which.

/// What a program does with what it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tool {
    /// It takes arguments for arguments.
    Plain,
    /// A shell: runs its arguments or its input.
    Shell,
    /// Hands its arguments to a shell, here or elsewhere.
    Runner,
    /// Takes an argument for a program in a language of its own.
    Language,
    /// Takes arguments for names of variables, in which bash calculates.
    Names,
    /// `[[`, in which bash calculates.
    Brackets,
    /// `[`, `test` and `printf`, whose `-v` takes the name of a variable.
    Test,
}

impl Tool {
    /// Whether what it reads on standard input is code to it.
    pub(super) fn reads_code(self) -> bool {
        matches!(self, Self::Shell | Self::Runner | Self::Language)
    }

    /// Whether what it is given as an argument is code to it, or may be.
    pub(super) fn runs_arguments(self) -> bool {
        matches!(self, Self::Shell | Self::Runner)
    }

    pub(super) fn of(command: &str) -> Self {
        let name = command.rsplit('/').next().unwrap_or(command);
        match name {
            "sh" | "bash" | "dash" | "ash" | "ksh" | "ksh93" | "mksh" | "zsh" | "fish" | "csh" | "tcsh" | "busybox" => {
                Self::Shell
            }
            "eval" | "source" | "." | "trap" | "ssh" | "rsh" | "su" | "runuser" | "watch" | "at" | "batch"
            | "crontab" | "tmux" | "screen" | "parallel" | "expect" | "let" | "alias" => Self::Runner,
            "awk" | "gawk" | "mawk" | "nawk" | "sed" | "perl" | "ruby" | "node" | "nodejs" | "php" | "lua" | "jq"
            | "bc" | "dc" | "sqlite3" | "mysql" | "mariadb" | "psql" | "tclsh" | "ed" | "vi" | "gdb" => Self::Language,
            "unset" | "read" | "declare" | "typeset" | "local" | "readonly" | "export" | "mapfile" | "readarray"
            | "getopts" => Self::Names,
            "[[" => Self::Brackets,
            "[" | "test" | "printf" => Self::Test,
            _ if name.starts_with("python") => Self::Language,
            _ => Self::Plain,
        }
    }
}

/// Words after which a command may still come.
const KEYWORDS: [&str; 11] = ["if", "then", "elif", "else", "while", "until", "do", "!", "{", "time", "coproc"];
/// Programs that start the program that their first argument names.
const STARTERS: [&str; 19] = [
    "sudo",
    "doas",
    "exec",
    "command",
    "builtin",
    "env",
    "nohup",
    "nice",
    "ionice",
    "setsid",
    "timeout",
    "stdbuf",
    "chroot",
    "xargs",
    "flock",
    "systemd-run",
    "chrt",
    "taskset",
    "strace",
];
/// Programs that start a program that a later argument names.
const CARRIERS: [&str; 10] =
    ["find", "docker", "podman", "kubectl", "lxc", "incus", "machinectl", "nsenter", "unshare", "ip"];
/// Programs that take what is piped into them for code.
const PIPED: [&str; 12] =
    ["at", "batch", "crontab", "mysql", "mariadb", "psql", "sqlite3", "bc", "dc", "ed", "gdb", "expect"];

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// The next word is the command.
    #[default]
    Command,
    /// The next word that is no option is the command that a starter starts.
    Started,
    /// The command is known.
    Arguments,
}

/// A simple command as it is being written.
#[expect(clippy::struct_excessive_bools, reason = "independent facts about one command")]
#[derive(Clone, Debug)]
pub(super) struct Line {
    stage: Stage,
    tool: Tool,
    /// Whether it starts what its arguments name.
    starts: bool,
    word: Word,
    /// Whether an option changed what the arguments behind it are: `-v` of `[` and `printf`, `-i` and `-n` of `declare`.
    option: bool,
    /// What the word that is being written is.
    role: Role,
    /// Whether a value stands in it.
    has_value: bool,
    /// Whether a value stands in what is piped into it.
    reads_value: bool,
}

#[derive(Clone, Debug, Default)]
struct Word {
    text: String,
    begun: bool,
    quoted: bool,
    values: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// A command or an argument.
    Own,
    /// The file of a redirection.
    File,
    /// The word that ends a here-document; whether tabs are stripped.
    Here(bool),
}

impl Default for Line {
    fn default() -> Self {
        Self {
            stage: Stage::Command,
            tool: Tool::Plain,
            starts: false,
            word: Word::default(),
            option: false,
            role: Role::Own,
            has_value: false,
            reads_value: false,
        }
    }
}

/// What a word that ended was.
#[derive(Debug, Default)]
pub(super) struct Ended {
    /// The end of a here-document that begins with the next line: the word, whether it was quoted, whether tabs are stripped.
    pub(super) here: Option<(String, bool, bool)>,
    /// The command, if it was that.
    pub(super) command: Option<String>,
    /// What that does with what it is given.
    pub(super) tool: Option<Tool>,
}

impl Line {
    /// A command into which another one is piped.
    pub(super) fn piped(inserted: bool) -> Self {
        Self { reads_value: inserted, ..Self::default() }
    }

    /// The elements of an array.
    pub(super) fn of_words() -> Self {
        Self { stage: Stage::Arguments, ..Self::default() }
    }

    pub(super) fn is_between_words(&self) -> bool {
        !self.word.begun
    }

    pub(super) fn is_fresh(&self) -> bool {
        !self.word.begun && self.stage == Stage::Command && !self.starts
    }

    /// Whether what is piped out of it holds values.
    pub(super) fn pipes_values(&self) -> bool {
        self.has_value || self.reads_value
    }

    /// Whether the word is `name=` so far.
    pub(super) fn is_assignment(&self) -> bool {
        assigned(&self.word.text).is_some()
    }

    /// A character that stands for itself.
    pub(super) fn plain(&mut self, c: char) {
        if c == '-' && self.role == Role::Here(false) && !self.word.begun {
            self.role = Role::Here(true);
            return;
        }
        self.word.text.push(c);
        self.word.begun = true;
    }

    /// A character within quotes.
    pub(super) fn quoted(&mut self, c: char) {
        self.word.text.push(c);
        self.open_quote();
    }

    /// A character behind a backslash: a newline there is nothing at all.
    pub(super) fn escaped(&mut self, c: char) {
        if c != '\n' {
            self.quoted(c);
        }
    }

    pub(super) fn open_quote(&mut self) {
        self.word.begun = true;
        self.word.quoted = true;
    }

    /// `2` of `2>` is no word.
    pub(super) fn drop_descriptor(&mut self) {
        if !self.word.quoted && !self.word.values && self.word.text.chars().all(|c| c.is_ascii_digit()) {
            self.word = Word::default();
        }
    }

    pub(super) fn redirect(&mut self, c: char, previous: char) {
        self.role = match (previous, c, self.role) {
            ('<', '<', Role::Here(_)) => Role::File,
            ('<', '<', _) => Role::Here(false),
            _ => Role::File,
        };
    }

    pub(super) fn end_redirect(&mut self) {
        self.role = Role::Own;
    }

    /// Takes note of a value in the word that is being written, or says why it cannot stand there.
    pub(super) fn value(&mut self, is_number: bool) -> Result<(), String> {
        let prefix = self.word.text.as_str();
        let named = assigned(prefix);
        let at_start = !self.word.begun || prefix.is_empty();
        match self.role {
            Role::Here(_) => return Err("stands in the word that ends a here-document".to_owned()),
            Role::Own if named.is_some_and(|name| name.contains('[')) || is_subscript(prefix) => {
                return Err(
                    "stands in the index of an array, where bash calculates, which can run commands that a value names"
                        .to_owned(),
                );
            }
            Role::Own if self.stage == Stage::Command && named.is_none() => {
                return Err("stands where the name of a command is expected: the value would be run".to_owned());
            }
            Role::Own if self.stage == Stage::Started && at_start => {
                return Err("stands where a command may be expected: the value would be run".to_owned());
            }
            Role::Own if self.stage == Stage::Arguments => self.judge_argument(is_number, at_start)?,
            Role::File | Role::Own => {}
        }
        self.word.begun = true;
        self.word.values = true;
        self.has_value = true;
        Ok(())
    }

    fn judge_argument(&self, is_number: bool, at_start: bool) -> Result<(), String> {
        let prefix = self.word.text.as_str();
        let is_option = prefix.starts_with('-') && prefix.ends_with('=');
        match self.tool {
            Tool::Shell | Tool::Runner => Err("is handed to a program that runs its arguments as code".to_owned()),
            Tool::Language if !at_start && assigned(prefix).is_none() && !is_option => {
                Err("stands within a text that its program may take for code".to_owned())
            }
            Tool::Names if at_start => Err("stands where the name of a variable is expected".to_owned()),
            Tool::Brackets if !is_number => {
                Err("stands in `[[ .. ]]`, where bash may calculate, which can run commands that a value names: use `[ .. ]` or `case`".to_owned())
            }
            Tool::Names if self.option => Err("stands where bash may calculate, which can run commands that a value names".to_owned()),
            Tool::Test if self.option => Err("stands behind `-v`, which takes the name of a variable".to_owned()),
            _ => Ok(()),
        }
    }

    /// The word is over, if there is one.
    pub(super) fn end_word(&mut self) -> Result<Ended, String> {
        let mut ended = Ended::default();
        if !self.word.begun {
            return Ok(ended);
        }
        let word = std::mem::take(&mut self.word);
        match std::mem::replace(&mut self.role, Role::Own) {
            Role::Here(strips_tabs) => ended.here = Some((word.text, word.quoted, strips_tabs)),
            Role::File => {}
            Role::Own => {
                self.option = match self.tool {
                    Tool::Test => word.text == "-v",
                    Tool::Names => self.option || word.text.starts_with('-') && word.text.contains(['i', 'n']),
                    _ => false,
                };
                match self.stage {
                    Stage::Command => self.command(&word, &mut ended)?,
                    Stage::Started => self.started(&word, &mut ended)?,
                    Stage::Arguments if self.starts && !word.values => self.classify(&word.text, &mut ended)?,
                    Stage::Arguments if self.tool == Tool::Language && word.values && embeds(&word) => {
                        return Err("a value stands within a text that its program may take for code".to_owned());
                    }
                    Stage::Arguments => {}
                }
            }
        }
        Ok(ended)
    }

    fn command(&mut self, word: &Word, ended: &mut Ended) -> Result<(), String> {
        if assigned(&word.text).is_some() || (!word.quoted && KEYWORDS.contains(&word.text.as_str())) {
            return Ok(());
        }
        ended.command = (!word.quoted).then(|| word.text.clone());
        self.stage = Stage::Arguments;
        if is_one_of(&STARTERS, &word.text) {
            self.starts = true;
            self.stage = Stage::Started;
            return Ok(());
        }
        self.starts = is_one_of(&CARRIERS, &word.text);
        self.classify(&word.text, ended)
    }

    fn started(&mut self, word: &Word, ended: &mut Ended) -> Result<(), String> {
        let is_option = word.text.starts_with('-') || assigned(&word.text).is_some();
        let is_amount = word.text.starts_with(|c: char| c.is_ascii_digit());
        if is_option || is_amount || is_one_of(&STARTERS, &word.text) {
            return Ok(());
        }
        self.stage = Stage::Arguments;
        self.classify(&word.text, ended)
    }

    fn classify(&mut self, word: &str, ended: &mut Ended) -> Result<(), String> {
        let tool = Tool::of(word);
        if tool == Tool::Plain {
            return Ok(());
        }
        if self.reads_value && (tool == Tool::Shell || is_one_of(&PIPED, word)) {
            return Err(format!(
                "a value of the template is piped into `{word}`, which would run it as code; write it to a file or use the environment"
            ));
        }
        self.tool = tool;
        ended.tool = Some(tool);
        Ok(())
    }

    /// Takes over what may be so after another branch.
    pub(super) fn join(&mut self, other: &Self) {
        if self.tool == Tool::Plain {
            self.tool = other.tool;
        }
        self.stage = match (self.stage, other.stage) {
            (Stage::Command, _) | (_, Stage::Command) => Stage::Command,
            (Stage::Started, _) | (_, Stage::Started) => Stage::Started,
            (Stage::Arguments, Stage::Arguments) => Stage::Arguments,
        };
        self.starts |= other.starts;
        self.option |= other.option;
        self.has_value |= other.has_value;
        self.reads_value |= other.reads_value;
        self.word.begun |= other.word.begun;
        self.word.quoted |= other.word.quoted;
        self.word.values |= other.word.values;
        if self.word.text.is_empty() {
            self.word.text.clone_from(&other.word.text);
        }
    }
}

fn is_one_of(programs: &[&str], word: &str) -> bool {
    programs.contains(&word.rsplit('/').next().unwrap_or(word))
}

/// The name of `name=..` and `name+=..`, with the index of an array if there is one.
fn assigned(word: &str) -> Option<&str> {
    let (name, _) = word.split_once('=')?;
    let name = name.strip_suffix('+').unwrap_or(name);
    let plain = name.split_once('[').map_or(name, |(plain, _)| plain);
    let is_name = plain.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && plain.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    is_name.then_some(name)
}

/// Whether the word is `name[..` so far.
fn is_subscript(word: &str) -> bool {
    word.split_once('[').is_some_and(|(name, index)| {
        !name.is_empty() && !index.contains(']') && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    })
}

/// Whether more than the value stands in the word, other than `name=` or `--option=` before it.
fn embeds(word: &Word) -> bool {
    let text = word.text.as_str();
    !text.is_empty() && assigned(text).is_none() && !(text.starts_with('-') && text.ends_with('='))
}
