//! Developer tasks: `cargo xtask <task>`.

mod arrows;
mod bench;
mod deny;
mod dist;
mod generate;
mod hot;
mod man;
mod packages;
mod pictures;
mod release;
mod run;
mod terminal;

use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask <task>
  test            all tests; as root on Debian it installs what they need, otherwise it names what is missing
  gen [--check]   make all generated files, or verify that they are as they would be made
  arrows          prove that crates depend on each other only as ARCHITECTURE.md says
  deny            prove that libraries and their licences are as deny.toml says
  bench [--quick] measure, as ratios to a raw posix_spawn loop in the same run
  bench --peers [--binary PATH]  the same checks with Nagios, Icinga 2 and Monit from Debian's packages, one after the other; 7 minutes
  bench --kinds [--quick]
                  only what kinds cost, as ratios to the plugins of the same job
  dist            a deb and an rpm in target/dist; their builds need debhelper and rpmbuild, and no root
  dist --check    the same; then build again and compare, judge (lintian, rpmlint, systemd-analyze), install (also on a fresh Debian 12), upgrade, remove, purge (as root)
  dist --boot     install, break, upgrade and remove the packages of target/dist in an emulated Debian, where systemd runs (as root; a quarter of an hour)
  hot             record which functions the daemon calls, into packaging/hot.ld, so that a release keeps them together; 2 minutes and a build
  pictures        the pictures of mails in docs/pictures, by headless Chromium, from actions/cases/email/*.html
  stage DIR       everything that is installed, put into DIR as it stands on a host: what debian/rules and rpm/monchero.spec take
  ci              fmt, clippy, gen --check, arrows, deny, test: what .ci/run does";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["test", rest @ ..] => run::test(rest),
        ["gen"] => generate::generate(false),
        ["gen", "--check"] => generate::generate(true),
        ["deny"] => deny::prove(),
        ["arrows"] => arrows::prove(),
        ["bench"] => bench::bench(false),
        ["bench", "--quick"] => bench::bench(true),
        ["bench", "--peers"] => bench::peers::bench(None),
        ["bench", "--peers", "--binary", path] => bench::peers::bench(Some(path)),
        ["bench", "--kinds"] => bench::bench_kinds(false),
        ["bench", "--kinds", "--quick"] => bench::bench_kinds(true),
        ["dist"] => dist::dist().map(drop),
        ["dist", "--check"] => dist::check::check(),
        ["dist", "--boot"] => dist::boot::boot(),
        ["hot"] => hot::record(),
        ["pictures"] => pictures::make(),
        ["stage", directory] => dist::stage_into(directory),
        ["ci"] => run::ci(),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(64);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
