//! Hands a mail to the host's own `sendmail`.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use lettre::Address;
use monchero_core::action::DeliveryError;
use monchero_core::program::{Exit, Program, RunEnd, RunError, Spawner};
use monchero_core::text;

/// The most of what the program said that stands in an error, in bytes.
const MAX_SAID: usize = 300;

/// Runs the program and waits until it took the mail. `-i`: a line with a single point does not end the mail.
pub(super) async fn deliver(
    path: &Path,
    from: &Address,
    to: &[Address],
    mail: Vec<u8>,
    timeout: Duration,
    spawner: &dyn Spawner,
) -> Result<String, DeliveryError> {
    let from: &str = from.as_ref();
    let mut argv: Vec<OsString> = vec![path.into(), "-i".into(), "-f".into(), from.into(), "--".into()];
    argv.extend(to.iter().map(|address| OsString::from(AsRef::<str>::as_ref(address))));
    let mut program = Program::new(argv, timeout);
    program.stdin = Some(mail);
    // A mail system may deliver after the program that took the mail has ended.
    program.allow_background = true;
    match spawner.run(program).await {
        Ok(end) => judge(path, &end, timeout),
        Err(error @ RunError::Cancelled) => Err(DeliveryError::Transient { why: error.to_string(), after: None }),
        // A program that is not there may be installed in a moment, as during an upgrade.
        Err(error) => Err(DeliveryError::Transient { why: format!("cannot hand over the mail: {error}"), after: None }),
    }
}

/// What the end of the program means; the numbers are those of `sysexits.h`.
fn judge(path: &Path, end: &RunEnd, timeout: Duration) -> Result<String, DeliveryError> {
    let path = path.display();
    let said = text::clean(if end.stderr.is_empty() { &end.stdout } else { &end.stderr });
    let said = text::shorten(&text::escape_controls(said.trim()), MAX_SAID);
    let said = if said.is_empty() { String::new() } else { format!(": {said}") };
    let why = match &end.exit {
        Exit::Status(0) => return Ok(format!("taken by `{path}`")),
        Exit::Status(status) => {
            let meaning = match status {
                64 => " (wrong usage)",
                65 => " (wrong data)",
                67 => " (no such recipient)",
                68 => " (no such host)",
                75 => " (temporary failure)",
                77 => " (not allowed)",
                78 => " (wrong configuration)",
                _ => "",
            };
            let why = format!("`{path}` ended with status {status}{meaning}{said}");
            if matches!(status, 64 | 65 | 67 | 68 | 77) {
                return Err(DeliveryError::Permanent { why });
            }
            why
        }
        Exit::Signal(signal) => format!("`{path}` was ended by signal {signal}{said}"),
        Exit::TimedOut => {
            format!("`{path}` did not take the mail within {}{said}", monchero_core::duration::human(timeout))
        }
        Exit::TooMuchOutput => format!("`{path}` was ended, because it wrote too much output{said}"),
        Exit::Stuck { pid } => format!("`{path}` is stuck: process {pid} hangs in the kernel (state D)"),
    };
    Err(DeliveryError::Transient { why, after: None })
}
