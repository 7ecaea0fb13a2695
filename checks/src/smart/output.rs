//! What `smartctl --json` prints, as far as it is used (smartmontools 7; fields that a disk does not have are left out).

use std::collections::BTreeMap;

use monchero_core::order;
use serde::Deserialize;

/// A device that `smartctl --scan-open` found.
#[derive(Debug, Deserialize)]
pub(super) struct Scanned {
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
}

/// All that one call prints.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Output {
    pub(super) smartctl: Smartctl,
    pub(super) devices: Vec<Scanned>,
    model_name: Option<String>,
    scsi_model_name: Option<String>,
    serial_number: Option<String>,
    smart_status: Option<Status>,
    temperature: Temperature,
    power_on_time: PowerOn,
    ata_smart_attributes: Attributes,
    ata_smart_self_test_log: SelfTests,
    nvme_smart_health_information_log: Option<Nvme>,
    endurance_used: Endurance,
    scsi_grown_defect_list: Option<f64>,
    /// By `read`, `write` and `verify`.
    scsi_error_counter_log: BTreeMap<String, ScsiErrors>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ScsiErrors {
    total_uncorrected_errors: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Smartctl {
    pub(super) messages: Vec<Message>,
    pub(super) exit_status: i32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Message {
    pub(super) string: String,
}

#[derive(Debug, Deserialize)]
struct Status {
    passed: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Temperature {
    current: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PowerOn {
    hours: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Endurance {
    current_percent: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Attributes {
    table: Vec<Attribute>,
}

#[derive(Debug, Deserialize)]
struct Attribute {
    id: u32,
    raw: Raw,
}

#[derive(Debug, Deserialize)]
struct Raw {
    value: f64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SelfTests {
    standard: SelfTestLog,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SelfTestLog {
    table: Vec<SelfTest>,
}

#[derive(Debug, Deserialize)]
struct SelfTest {
    status: SelfTestStatus,
}

#[derive(Debug, Deserialize)]
struct SelfTestStatus {
    /// Missing while the test runs, or if it was called off.
    passed: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Nvme {
    critical_warning: Option<f64>,
    available_spare: Option<f64>,
    percentage_used: Option<f64>,
    media_errors: Option<f64>,
}

impl Output {
    /// The messages, as one text.
    pub(super) fn messages(&self) -> String {
        let texts: Vec<&str> = self.smartctl.messages.iter().map(|message| message.string.trim()).collect();
        texts.join("; ")
    }

    /// The numbers that the disk has, by the names of the fields.
    pub(super) fn numbers(&self) -> Vec<(&'static str, f64)> {
        let attribute =
            |id: u32| self.ata_smart_attributes.table.iter().find(|row| row.id == id).map(|row| row.raw.value);
        let nvme = |of: fn(&Nvme) -> Option<f64>| self.nvme_smart_health_information_log.as_ref().and_then(of);
        let scsi_errors = self.scsi_error_counter_log.values().filter_map(|errors| errors.total_uncorrected_errors);
        // The numbers of ATA attributes are those that nearly all makers agree on.
        let all = [
            ("reallocated", attribute(5).or(self.scsi_grown_defect_list)),
            ("pending", attribute(197)),
            ("uncorrectable", attribute(198).or(scsi_errors.reduce(|sum, errors| sum + errors))),
            ("crc_errors", attribute(199)),
            ("media_errors", nvme(|log| log.media_errors)),
            ("critical_warning", nvme(|log| log.critical_warning)),
            ("wear", nvme(|log| log.percentage_used).or(self.endurance_used.current_percent)),
            ("spare", nvme(|log| log.available_spare)),
            ("temperature", self.temperature.current),
            ("hours", self.power_on_time.hours),
        ];
        order::tree(all.into_iter().filter_map(|(name, value)| Some((name, value?))))
    }

    /// The disk's own verdict, if it gave one.
    pub(super) fn health(&self) -> Option<&'static str> {
        self.smart_status.as_ref().map(|status| if status.passed { "passed" } else { "failed" })
    }

    /// How the last self-test that came to an end went.
    pub(super) fn self_test(&self) -> Option<&'static str> {
        let passed = self.ata_smart_self_test_log.standard.table.iter().find_map(|test| test.status.passed)?;
        Some(if passed { "passed" } else { "failed" })
    }

    pub(super) fn model(&self) -> String {
        let model = self.model_name.as_ref().or(self.scsi_model_name.as_ref());
        [model, self.serial_number.as_ref()].into_iter().flatten().map(String::as_str).collect::<Vec<_>>().join(", ")
    }
}
