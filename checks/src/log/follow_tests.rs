use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

/// A log in a directory of its own that is followed with what is remembered as JSON.
struct World {
    root: tempfile::TempDir,
    known: Option<String>,
    follower: Follower,
    seen: Vec<String>,
    written: u32,
    /// Whether `a.log.1` was renamed rather than copied.
    is_renamed: bool,
}

impl World {
    fn new(pattern: &str) -> Self {
        let follower = Follower {
            patterns: vec![pattern.to_owned()],
            from_end: true,
            max_read: 1024 * 1024,
            deadline: Instant::now() + Duration::from_secs(600),
        };
        let root = tempfile::tempdir().unwrap();
        Self { root, known: None, follower, seen: Vec::new(), written: 0, is_renamed: false }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn append(&self, name: &str, text: impl AsRef<[u8]>) {
        let mut file = File::options().create(true).append(true).open(self.path(name)).unwrap();
        file.write_all(text.as_ref()).unwrap();
    }

    /// A line that is like no other.
    fn next_line(&mut self) -> String {
        self.written += 1;
        format!("<{}> a line", self.written)
    }

    fn run(&mut self) -> Followed {
        let known: Option<Vec<Position>> = self.known.as_deref().map(|json| serde_json::from_str(json).unwrap());
        let mut lines = Vec::new();
        let mut judge = |line: &[u8]| lines.push(String::from_utf8_lossy(line).into_owned());
        let followed = self.follower.follow(self.root.path(), known.as_deref(), &mut judge).unwrap();
        self.known = Some(serde_json::to_string(&followed.positions).unwrap());
        assert_eq!(followed.lines, lines.len() as u64);
        self.seen.extend(lines);
        followed
    }

    fn rename(&self, from: &str, to: &str) {
        if self.path(from).exists() {
            std::fs::rename(self.path(from), self.path(to)).unwrap();
        }
    }

    fn truncate(&self, name: &str) {
        if self.path(name).exists() {
            File::options().write(true).open(self.path(name)).unwrap().set_len(0).unwrap();
        }
    }

    /// As logrotate does it: what was rotated before gets a higher number.
    fn shift(&self) {
        let last = (1..100).find(|number| !self.path(&format!("a.log.{number}")).exists()).unwrap();
        for number in (1..last).rev() {
            self.rename(&format!("a.log.{number}"), &format!("a.log.{}", number + 1));
        }
    }

    fn copy(&mut self) {
        if self.path("a.log").exists() {
            std::fs::copy(self.path("a.log"), self.path("a.log.1")).unwrap();
            self.is_renamed = false;
        }
    }
}

#[test]
fn what_is_appended_is_seen_once() {
    let mut world = World::new("/a.log");
    world.append("a.log", "old\nhalf");
    world.run();
    assert!(world.seen.is_empty(), "the first run starts at the end");
    world.append("a.log", " done\r\nnew\n\n");
    world.run();
    world.run();
    assert_eq!(world.seen, ["half done", "new", ""]);
}

#[test]
fn a_last_line_without_end_is_seen_when_nothing_follows() {
    let mut world = World::new("/a.log");
    world.append("a.log", "");
    world.run();
    world.append("a.log", "panic");
    world.run();
    assert!(world.seen.is_empty());
    world.run();
    world.run();
    assert_eq!(world.seen, ["panic"]);
}

#[test]
fn long_lines_are_cut_and_any_bytes_are_fine() {
    let mut world = World::new("/a.log");
    world.append("a.log", "");
    world.run();
    let mut bytes = vec![b'x'; 300_000];
    bytes.extend(b"\nnext\n\xff\0\xfe\n");
    bytes.extend(vec![b'y'; 100_000]);
    world.append("a.log", &bytes);
    world.run();
    world.append("a.log", "yyy\nlast\n");
    world.run();
    let lengths: Vec<usize> = world.seen.iter().map(String::len).collect();
    assert_eq!(lengths, [lines::MAX_LINE, 4, 7, lines::MAX_LINE, 4]);
}

#[test]
fn too_much_is_skipped_and_counted() {
    let mut world = World::new("/a.log");
    world.append("a.log", "");
    world.run();
    world.follower.max_read = 1_000;
    world.append("a.log", "0123456789\n".repeat(1_000));
    let followed = world.run();
    assert_eq!((followed.skipped, followed.lines), (10_000, 90));
    world.append("a.log", "next\n");
    world.run();
    assert_eq!(world.seen.last().unwrap(), "next");
    world.follower.max_read = 10 * 11;
    world.append("a.log", "0123456789\n".repeat(20));
    assert_eq!(world.run().lines, 10, "it went on at the start of a line");
}

#[test]
fn all_files_that_fit_a_pattern_are_followed() {
    let mut world = World::new("/app-*.log");
    world.append("app-1.log", "old\n");
    world.append("other.log", "other\n");
    world.run();
    world.append("app-1.log", "one\n");
    world.append("app-2.log", "two\n");
    world.append("app-2.log.gz", "packed\n");
    world.append(".app-3.log", "hidden\n");
    assert_eq!(world.run().files, 2);
    world.seen.sort();
    assert_eq!(world.seen, ["one", "two"]);
}

#[test]
fn what_cannot_be_seen_for_a_while_is_not_new_when_it_is_back() {
    let mut world = World::new("/log/a.log");
    std::fs::create_dir(world.path("log")).unwrap();
    world.append("log/a.log", "old\n");
    world.run();
    world.rename("log", "hidden");
    assert_eq!(world.run().missing, ["/log/a.log"]);
    world.run();
    world.rename("hidden", "log");
    world.append("log/a.log", "new\n");
    world.run();
    assert_eq!(world.seen, ["new"]);
}

#[test]
fn names_that_rotations_give() {
    for (name, base, is) in [
        ("app.log.1", "app.log", true),
        ("app.log-20260601", "app.log", true),
        ("app.log.2026-06-01", "app.log", true),
        ("app-20260601.log", "app.log", true),
        ("app.2026-06-01T10.log", "app.log", true),
        ("app.log.old", "app.log", true),
        ("app.log.1.gz", "app.log", false),
        ("app-2.log", "app.log", false),
        ("app-extra.log", "app.log", false),
        ("app.log.bak1", "app.log", false),
        ("syslog.1", "syslog", true),
        ("syslog-2", "syslog", false),
    ] {
        assert_eq!(before_rotation(name).iter().any(|found| found == base), is, "{name}");
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Whole lines.
    Lines(u8),
    /// A long run of lines, more than the checksums cover.
    Many,
    /// The start of a line, and its end.
    Half,
    Rest,
    Run,
    /// Rename and make a new file, or leave that to the writer.
    Rename,
    Leave,
    /// A line of a writer that still has the renamed file open.
    Late,
    CopyTruncate,
    /// A run comes between the two.
    CopyRunTruncate,
    /// A run and more lines come between.
    CopyRunAppendTruncate,
    /// A copy by hand.
    Copy,
    /// Everything that was seen is lost.
    RunTruncate,
    RunDelete,
    /// The oldest is packed.
    RunPack,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1_u8..5).prop_map(Step::Lines),
        1 => Just(Step::Many),
        1 => Just(Step::Half),
        1 => Just(Step::Rest),
        4 => Just(Step::Run),
        2 => Just(Step::Rename),
        1 => Just(Step::Leave),
        1 => Just(Step::Late),
        2 => Just(Step::CopyTruncate),
        1 => Just(Step::CopyRunTruncate),
        1 => Just(Step::CopyRunAppendTruncate),
        1 => Just(Step::Copy),
        1 => Just(Step::RunTruncate),
        1 => Just(Step::RunDelete),
        1 => Just(Step::RunPack),
    ]
}

impl World {
    fn lines(&mut self, count: u8) {
        let lines: String = (0..count).map(|_| self.next_line() + "\n").collect();
        self.append("a.log", lines);
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Lines(count) => self.lines(count),
            Step::Many => self.lines(200),
            Step::Half => {
                let line = self.next_line();
                self.append("a.log", line);
            }
            Step::Rest => self.append("a.log", " and its end\n"),
            Step::Run => drop(self.run()),
            Step::Rename | Step::Leave => {
                self.shift();
                self.rename("a.log", "a.log.1");
                self.is_renamed = true;
                if matches!(step, Step::Rename) {
                    self.append("a.log", "");
                }
            }
            Step::Late if self.is_renamed && self.path("a.log.1").exists() => {
                let line = self.next_line();
                self.append("a.log.1", format!("\n{line}\n"));
            }
            Step::Late => {}
            Step::CopyTruncate | Step::CopyRunTruncate | Step::CopyRunAppendTruncate => {
                self.shift();
                self.copy();
                if !matches!(step, Step::CopyTruncate) {
                    self.run();
                }
                if matches!(step, Step::CopyRunAppendTruncate) {
                    // What is written while the copy is being made gets into it.
                    self.lines(2);
                    self.copy();
                }
                self.truncate("a.log");
            }
            Step::Copy => {
                // A line of which only a copy has no end is seen in both: a limit.
                self.append("a.log", "\n");
                self.shift();
                self.copy();
            }
            Step::RunTruncate => {
                self.run();
                self.run();
                self.truncate("a.log");
            }
            Step::RunDelete => {
                self.run();
                self.run();
                let _ = std::fs::remove_file(self.path("a.log"));
            }
            Step::RunPack => {
                self.run();
                self.run();
                let oldest = (1..45).rev().map(|number| format!("a.log.{number}"));
                if let Some(oldest) = oldest.into_iter().find(|name| self.path(name).exists()) {
                    self.rename(&oldest, "a.log.packed.gz");
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn no_line_is_lost_and_none_is_seen_twice(steps in prop::collection::vec(step(), 1..40)) {
        let mut world = World::new("/a.log");
        world.append("a.log", "");
        world.run();
        for step in steps {
            world.step(step);
        }
        world.run();
        world.run();
        let mut times: BTreeMap<u32, u32> = (1..=world.written).map(|number| (number, 0)).collect();
        for line in &world.seen {
            // A half line may be followed by the next one.
            for part in line.split('<').skip(1) {
                let number = part.split('>').next().unwrap().parse().unwrap();
                *times.get_mut(&number).unwrap() += 1;
            }
        }
        times.retain(|_, times| *times != 1);
        prop_assert!(times.is_empty(), "seen another number of times than once: {times:?}");
    }
}
