//! Rows as text: a table, or a line for each value.

use comfy_table::Table;
use comfy_table::presets::NOTHING;
use mainstem_api::Row;
use serde_json::Value;

/// All keys of all rows, in the order of their first appearance.
pub(crate) fn columns_of(rows: &[Row]) -> Vec<&str> {
    let mut columns: Vec<&str> = Vec::new();
    for key in rows.iter().flat_map(Row::keys) {
        if !columns.contains(&key.as_str()) {
            columns.push(key);
        }
    }
    columns
}

/// A header line, unless it is not wanted, and the rows; nothing when there are no rows.
pub(crate) fn render(columns: &[&str], rows: &[Row], no_header: bool) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut table = Table::new();
    table.load_style(NOTHING);
    if !no_header {
        table.set_header(columns);
    }
    for row in rows {
        table.add_row(columns.iter().map(|column| cell(row.get(*column))));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt() + "\n"
}

/// A line for each value, and an empty one between rows.
pub(crate) fn listing(rows: &[Row]) -> String {
    let width = rows.iter().flat_map(Row::keys).map(|key| key.chars().count()).max().unwrap_or(0);
    let line = |(key, value): (&String, &Value)| {
        format!("{key:width$}  {}", cell(Some(value))).trim_end().to_owned() + "\n"
    };
    let blocks = rows.iter().map(|row| row.iter().map(line).collect::<String>());
    blocks.collect::<Vec<_>>().join("\n")
}

/// A value as a cell of a table.
pub(crate) fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) if items.is_empty() => String::new(),
        Some(Value::Object(parts)) => {
            let parts = parts.iter().map(|(key, value)| format!("{key}: {}", cell(Some(value))));
            parts.collect::<Vec<_>>().join("; ")
        }
        Some(other) => other.to_string(),
    }
}
