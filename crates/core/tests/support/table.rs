//! Reads a table of a Markdown page, so that what the page says is what the test runs.

use std::collections::BTreeMap;

/// One row: what stands in each column, by the column's title.
pub(crate) type Row = BTreeMap<String, String>;

/// The rows of the table whose titles are `titles`.
pub(crate) fn rows(page: &str, titles: &[&str]) -> Vec<Row> {
    let cells = |line: &str| -> Option<Vec<String>> {
        let inner = line.trim().strip_prefix('|')?.strip_suffix('|')?;
        Some(inner.split('|').map(|cell| cell.trim().to_owned()).collect())
    };
    let mut lines = page.lines().skip_while(|line| cells(line).is_none_or(|cells| cells != titles));
    assert!(lines.next().is_some(), "no table with the columns {titles:?}");
    let rows: Vec<Row> = lines
        .skip(1)
        .map_while(cells)
        .map(|cells| {
            assert_eq!(cells.len(), titles.len(), "a row with other columns: {cells:?}");
            titles.iter().map(|title| (*title).to_owned()).zip(cells).collect()
        })
        .collect();
    assert!(!rows.is_empty(), "the table {titles:?} is empty");
    rows
}
