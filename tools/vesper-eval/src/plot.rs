// SPDX-License-Identifier: GPL-2.0

//! Plots: a row for each fault and way, a dot for each run, on a logarithmic scale.

use std::path::Path;

use plotters::prelude::*;

use crate::error::{Error, Result};
use crate::event::Way;
use crate::report::{Sum, Sums};

const ROW: i32 = 22;
const WIDTH: u32 = 900;

fn colour(way: Way) -> RGBColor {
    match way {
        Way::Heartbeat => RGBColor(136, 136, 136),
        Way::Pacemaker => RGBColor(200, 90, 20),
        Way::Vesper => RGBColor(20, 90, 180),
    }
}

/// What one row shows.
struct Row<'a> {
    label: String,
    way: Way,
    /// Of each run.
    values: &'a [Option<f64>],
}

/// Draws the seconds that `of` takes from each sum. Runs that have none are a cross at
/// the right edge, with `none` as the reason.
pub fn draw(
    path: &Path,
    title: &str,
    none: &str,
    sums: &Sums,
    of: fn(&Sum) -> &[Option<f64>],
) -> Result<()> {
    let rows: Vec<Row> = sums
        .iter()
        .flat_map(|(fault, ways)| {
            ways.iter().map(move |(way, sum)| Row {
                label: format!("{fault}, {}", way.name()),
                way: *way,
                values: of(sum),
            })
        })
        .collect();
    paint(path, title, none, &rows).map_err(|error| Error::Plot {
        path: path.to_owned(),
        error: error.to_string(),
    })
}

type Failed = Box<dyn std::error::Error>;

fn paint(path: &Path, title: &str, none: &str, rows: &[Row]) -> std::result::Result<(), Failed> {
    let height = (rows.len() as i32 * ROW + 110) as u32;
    let area = SVGBackend::new(path, (WIDTH, height)).into_drawing_area();
    area.fill(&WHITE)?;
    let values = rows.iter().flat_map(|row| row.values.iter().flatten());
    let (least, most) = values.fold((0.1_f64, 10.0_f64), |(least, most), value| {
        (least.min(value.max(1e-4)), most.max(*value))
    });
    let (left, right) = (least / 2.0, most * 4.0);
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .margin_right(24)
        .x_label_area_size(40)
        .y_label_area_size(190)
        .build_cartesian_2d((left..right).log_scale(), 0.0..rows.len() as f64)?;
    let name = |at: &f64| {
        let row = rows.iter().rev().nth(*at as usize);
        row.filter(|_| at.fract() == 0.5)
            .map_or_else(String::new, |row| row.label.clone())
    };
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .x_desc(format!("seconds after the fault; cross: {none}"))
        .x_label_formatter(&|at| format!("{at}"))
        .draw()?;
    for (index, row) in rows.iter().rev().enumerate() {
        let y = index as f64 + 0.5;
        let (x0, y0) = chart.backend_coord(&(left, y));
        let style = ("sans-serif", 13).into_font().color(&colour(row.way));
        let width = area.estimate_text_size(&name(&y), &style)?.0 as i32;
        area.draw_text(&name(&y), &style, (x0 - width - 8, y0 - 7))?;
        let dots = row.values.iter().flatten();
        chart.draw_series(dots.map(|at| Circle::new((*at, y), 4, colour(row.way).filled())))?;
        if row.values.iter().any(Option::is_none) {
            let at = (right * 0.8, y);
            chart.draw_series([Cross::new(at, 4, colour(row.way).stroke_width(2))])?;
        }
    }
    area.present()?;
    Ok(())
}
