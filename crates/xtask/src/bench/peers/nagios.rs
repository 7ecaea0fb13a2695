//! Nagios Core 4. It has no command that shows states: it writes them into a file every ten seconds.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::{Load, Peer, SATURATION};

pub(super) const PEER: Peer = Peer {
    name: "Nagios 4",
    configure,
    start: |folder, _| {
        let mut command = Command::new("/usr/sbin/nagios4");
        command.arg(folder.join("nagios.cfg"));
        command
    },
    validate: |folder, _| {
        let mut command = Command::new("/usr/sbin/nagios4");
        command.arg("-v").arg(folder.join("nagios.cfg"));
        command
    },
    status: None,
    saturation: SATURATION,
};

/// The settings of Debian's package where they cost something, and everything in one folder. Notifications and performance data are off: nobody else does
/// either here.
const SETTINGS: &str = "log_file={folder}/nagios.log
cfg_file={folder}/objects.cfg
object_cache_file={folder}/objects.cache
precached_object_file={folder}/objects.precache
status_file={folder}/status.dat
status_update_interval=10
nagios_user=root
nagios_group=root
check_external_commands=0
command_file={folder}/nagios.cmd
lock_file={folder}/nagios.pid
temp_file={folder}/nagios.tmp
temp_path={folder}
check_result_path={folder}/results
query_socket={folder}/nagios.qh
state_retention_file={folder}/retention.dat
retain_state_information=1
retention_update_interval=60
event_broker_options=-1
log_rotation_method=n
use_syslog=0
interval_length=1
max_concurrent_checks=0
service_check_timeout=60
enable_notifications=0
process_performance_data=0
check_for_updates=0
";

fn configure(folder: &Path, load: &Load) -> Result<()> {
    std::fs::create_dir_all(folder.join("results"))?;
    std::fs::write(folder.join("nagios.cfg"), SETTINGS.replace("{folder}", &folder.display().to_string()))?;
    let mut objects = format!(
        "define timeperiod {{
  timeperiod_name always
  alias always
  monday 00:00-24:00
  tuesday 00:00-24:00
  wednesday 00:00-24:00
  thursday 00:00-24:00
  friday 00:00-24:00
  saturday 00:00-24:00
  sunday 00:00-24:00
}}
define command {{
  command_name stamp
  command_line {} {} $ARG1$
}}
define contact {{
  contact_name nobody
  host_notification_period always
  service_notification_period always
  host_notification_commands stamp
  service_notification_commands stamp
}}
define host {{
  host_name bench
  address 127.0.0.1
  max_check_attempts 3
  active_checks_enabled 0
  check_period always
  notification_period always
  contacts nobody
  notifications_enabled 0
}}
",
        load.plugin,
        load.stamps.display()
    );
    for i in 0..load.checks {
        let interval = load.interval.as_secs();
        objects += &format!(
            "define service {{
  host_name bench
  service_description s{i}
  check_command stamp!{i}
  max_check_attempts 3
  check_interval {interval}
  retry_interval {interval}
  check_period always
  notification_period always
  contacts nobody
  notifications_enabled 0
}}
"
        );
    }
    Ok(std::fs::write(folder.join("objects.cfg"), objects)?)
}
