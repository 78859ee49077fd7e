//! What the demo replicates.

use std::path::Path;

use mainstem_types::Error;
use mainstem_types::limits::BATCH_BYTES_MAX;

/// Hourly temperatures of a year; see testdata/input/README.md.
const DEFAULT: &str = include_str!("../../../../testdata/input/sf-temps.csv");
const DEFAULT_NAME: &str = "hourly temperatures at San Francisco in 2010 (NOAA)";

/// Records, one for each line.
pub(crate) struct Input {
    /// What to call it.
    pub(crate) name: String,
    pub(crate) records: Vec<Vec<u8>>,
}

impl Input {
    /// The lines of a file, or those that come with the program, without their header.
    pub(crate) fn load(file: Option<&Path>) -> Result<Self, Error> {
        let Some(file) = file else {
            let lines = DEFAULT.lines().skip(1).map(|line| line.as_bytes().to_vec());
            return Ok(Self { name: DEFAULT_NAME.into(), records: lines.collect() });
        };
        let name = file.display().to_string();
        let bytes = std::fs::read(file).map_err(|e| Error::invalid(format!("{name}: {e}")))?;
        let lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::to_vec);
        let records: Vec<_> = lines.filter(|line| !line.is_empty()).collect();
        if records.is_empty() {
            return Err(Error::invalid(format!("{name} has no lines; give a file with some")));
        }
        if let Some(at) = records.iter().position(|record| record.len() > BATCH_BYTES_MAX / 2) {
            return Err(Error::invalid(format!(
                "{name}: line {} is longer than a record may be; give a file of shorter lines",
                at + 1
            )));
        }
        Ok(Self { name, records })
    }

    pub(crate) fn bytes(&self) -> usize {
        self.records.iter().map(Vec::len).sum()
    }
}
