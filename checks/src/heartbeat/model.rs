//! One alarm for each missed deadline, neither more nor less, and at the second when it is missed: against a model that knows nothing but
//! what was said and when, in a time that nobody sets.

use monchero_core::{CheckStatus, Name, Policy, StateType};
use proptest::prelude::*;

use super::tests::{Story, every};
use super::*;

/// A period of 100 s with a grace of 20 s.
const LIMIT: u64 = 120;

#[derive(Clone, Debug)]
enum Step {
    /// Time passes, and the check is looked at when it asks for it.
    Wait(u64),
    /// It is looked at besides.
    Look,
    /// The job says that it is done.
    Ping,
    /// A run begins.
    Begin,
    /// One of the runs that began ends well.
    End(proptest::sample::Index),
    /// The daemon is gone for so long. Nobody hears the job then.
    Down(u64),
    /// Somebody sets the wall clock by so many seconds.
    Set(i64),
}

fn step() -> impl Strategy<Value = Step> {
    // Set by less than `CLOCK_STEP` it is left to NTP, and moves deadlines by as much.
    let set = prop_oneof![5_i64..100_000, -100_000_i64..-5];
    prop_oneof![
        6 => (1_u64..300).prop_map(Step::Wait),
        2 => Just(Step::Look),
        4 => Just(Step::Ping),
        2 => Just(Step::Begin),
        2 => any::<proptest::sample::Index>().prop_map(Step::End),
        1 => (0_u64..400).prop_map(Step::Down),
        1 => set.prop_map(Step::Set),
    ]
}

/// What the job said, by seconds since the check was configured.
#[derive(Default)]
struct Model {
    now: u64,
    /// The last time that it began or ended.
    sign: u64,
    /// When each run began, and when it ended.
    runs: Vec<(u64, Option<u64>)>,
    /// When something went well, and when that had begun.
    well: Vec<(u64, u64)>,
}

impl Model {
    /// Whether a run still has to end. One that is too late is given up when what began after it has gone well.
    fn is_open(&self, (began, ended): (u64, Option<u64>)) -> bool {
        ended.is_none() && !self.well.iter().any(|(end, start)| *start >= began && *end >= began + LIMIT)
    }

    fn is_missed(&self) -> bool {
        let open = self.runs.iter().copied().filter(|run| self.is_open(*run));
        let is_silent = self.now >= self.sign + LIMIT;
        let (mut late, mut in_time) = (false, false);
        for (began, _) in open {
            late |= self.now >= began + LIMIT;
            in_time |= self.now < began + LIMIT;
        }
        late || is_silent && !in_time
    }

    fn ping(&mut self) {
        self.sign = self.now;
        self.well.push((self.now, self.now));
    }

    fn begin(&mut self) -> String {
        self.sign = self.now;
        self.runs.push((self.now, None));
        (self.runs.len() - 1).to_string()
    }

    /// Ends a run that began; which one.
    fn end(&mut self, which: proptest::sample::Index) -> Option<String> {
        let open: Vec<usize> = (0..self.runs.len()).filter(|run| self.is_open(self.runs[*run])).collect();
        if open.is_empty() {
            return None;
        }
        let run = *which.get(&open);
        self.runs[run].1 = Some(self.now);
        self.sign = self.now;
        self.well.push((self.now, self.runs[run].0));
        Some(run.to_string())
    }
}

/// The check, what became of its results, and the model beside it.
struct Trial {
    story: Story,
    model: Model,
    status: CheckStatus,
    alarms: u64,
    missed: u64,
    was_missed: bool,
}

impl Trial {
    fn new() -> Self {
        Self {
            story: Story::new(every("100s", "20s"), "2026-06-01T12:00"),
            model: Model::default(),
            status: CheckStatus::default(),
            alarms: 0,
            missed: 0,
            was_missed: false,
        }
    }

    /// What a result means, and what it should.
    fn judge(&mut self) {
        let policy = Policy { max_attempts: 1, flapping: None, ..Policy::default() };
        let transition = self.status.apply(&Name::new("job"), self.story.last.state, &policy, self.story.now);
        self.alarms += u64::from(transition.is_some_and(|t| t.state == State::Bad && t.state_type == StateType::Hard));
        let is_missed = self.model.is_missed();
        self.missed += u64::from(is_missed && !self.was_missed);
        self.was_missed = is_missed;
        assert_eq!(self.status.state == State::Bad, is_missed, "{}: {}", self.model.now, self.story.last.message);
    }

    fn look(&mut self) {
        self.story.look();
        self.judge();
    }

    fn wait(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.model.now += 1;
            let is_asked = self.story.again.is_some_and(|again| again <= Duration::from_secs(1));
            self.story.pass("1s");
            self.story.again = self.story.again.map(|again| again.saturating_sub(Duration::from_secs(1)));
            if is_asked {
                self.look();
            }
            // Nothing is missed in between.
            assert_eq!(self.model.is_missed(), self.was_missed, "{}: not looked at in time", self.model.now);
        }
    }

    fn go(&mut self, step: &Step) {
        match step {
            Step::Wait(seconds) => self.wait(*seconds),
            Step::Look => self.look(),
            Step::Ping => {
                self.model.ping();
                self.story.say(SignalKind::Success, None, "");
                self.judge();
            }
            // Of more runs the oldest would be forgotten.
            Step::Begin if self.model.runs.len() >= 30 => {}
            Step::Begin => {
                let run = self.model.begin();
                self.story.say(SignalKind::Start, Some(&run), "");
                self.judge();
            }
            Step::End(which) => {
                if let Some(run) = self.model.end(*which) {
                    self.story.say(SignalKind::Success, Some(&run), "");
                    self.judge();
                }
            }
            Step::Down(seconds) => {
                self.model.now += seconds;
                self.story.pass(&format!("{seconds}s"));
                *self.story.check.clock.lock().unwrap() = None;
                let kept = serde_json::to_string(&self.status).unwrap();
                self.status = serde_json::from_str(&kept).unwrap();
                self.look();
            }
            Step::Set(seconds) => {
                self.story.now += SignedDuration::from_secs(*seconds);
                self.look();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn one_alarm_for_each_missed_deadline(steps in proptest::collection::vec(step(), 1..80)) {
        let mut trial = Trial::new();
        for step in &steps {
            trial.go(step);
            prop_assert_eq!(trial.alarms, trial.missed, "{:?}", step);
        }
    }
}

/// The model itself finds what a person would: three silences, one of them over a restart, are three alarms.
#[test]
fn the_model_counts_as_people_do() {
    let mut trial = Trial::new();
    let steps = [
        Step::Wait(119),
        Step::Ping,
        Step::Wait(400),
        Step::Look,
        Step::Ping,
        Step::Down(200),
        Step::Look,
        Step::Ping,
        Step::Begin,
        Step::Wait(130),
    ];
    for step in &steps {
        trial.go(step);
    }
    assert_eq!((trial.alarms, trial.missed), (3, 3));
}
