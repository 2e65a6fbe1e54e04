// SPDX-License-Identifier: GPL-2.0

//! Columns for people.

use std::io::{self, Write};

/// Writes rows below a heading, each column as wide as its widest cell.
pub fn write<const N: usize>(
    out: &mut impl Write,
    heading: [&str; N],
    rows: &[[String; N]],
) -> io::Result<()> {
    let width = |n: usize| {
        let cells = rows.iter().map(|row| row[n].chars().count());
        cells.chain([heading[n].len()]).max().unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    write_row(out, heading, widths)?;
    for row in rows {
        write_row(out, std::array::from_fn(|n| row[n].as_str()), widths)?;
    }
    Ok(())
}

fn write_row<const N: usize>(
    out: &mut impl Write,
    cells: [&str; N],
    widths: [usize; N],
) -> io::Result<()> {
    let mut line = String::new();
    for (cell, width) in cells.into_iter().zip(widths) {
        line += &format!("{cell:width$}  ");
    }
    writeln!(out, "{}", line.trim_end())
}

#[cfg(test)]
mod tests {
    #[test]
    fn columns_line_up() {
        let mut out = Vec::new();
        let rows = [
            ["web1".to_owned(), "x".to_owned()],
            ["a-longer-one".to_owned(), String::new()],
        ];
        super::write(&mut out, ["NAME", "STATE"], &rows).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "NAME          STATE\nweb1          x\na-longer-one\n"
        );
    }
}
