//! What became of the runs over time, as an SVG of text and shapes that is legible in light and dark.

use super::chart::seconds;
use super::report::{Moment, Report, Summary};
use std::fmt::Write as _;

const WIDTH: f64 = 720.0;
const PANEL: f64 = 200.0;
const GAP: f64 = 56.0;
const LEFT: f64 = 48.0;
const TOP: f64 = 44.0;
const RIGHT: f64 = 16.0;

/// The colours of every SVG of this program.
pub const STYLE: &str = "<style>\
text{font:13px system-ui,sans-serif;fill:#1f2328}\
.dim{fill:#59636e}.line{stroke:#59636e;fill:none}\
.promoted{fill:#2da44e}.back{fill:#cf222e}.going{fill:#d0d7de}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.dim{fill:#9198a1}.line{stroke:#9198a1}\
.promoted{fill:#3fb950}.back{fill:#f85149}.going{fill:#30363d}}</style>";

/// The chart of a report.
#[must_use]
pub fn svg(report: &Report) -> String {
    let height = TOP + 2.0 * (PANEL + GAP);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-label=\"Runs promoted and rolled back over time\">{STYLE}\n"
    );
    legend(&mut out);
    let panels = [("A candidate as good as live", &report.faultless), ("The candidate as given", &report.candidate)];
    let mut top = TOP;
    for (title, summary) in panels {
        panel(&mut out, top, title, summary);
        top += PANEL + GAP;
    }
    out.push_str("</svg>\n");
    out
}

fn legend(out: &mut String) {
    let mut x = LEFT;
    for (class, name) in [("promoted", "promoted"), ("going", "still going on"), ("back", "rolled back")] {
        // Writing to a string does not fail.
        let _ = writeln!(
            out,
            "<rect class=\"{class}\" x=\"{x}\" y=\"8\" width=\"12\" height=\"12\"/><text x=\"{}\" y=\"19\">{name}</text>",
            x + 18.0
        );
        x += 130.0;
    }
}

fn panel(out: &mut String, top: f64, title: &str, summary: &Summary) {
    let (width, bottom) = (WIDTH - LEFT - RIGHT, top + PANEL);
    let end = summary.timeline.last().map_or(0.0, |moment| moment.seconds);
    let _ = writeln!(out, "<text x=\"{LEFT}\" y=\"{}\">{title}</text>", top - 8.0);
    let _ = writeln!(out, "<rect class=\"going\" x=\"{LEFT}\" y=\"{top}\" width=\"{width}\" height=\"{PANEL}\"/>");
    area(out, "promoted", &summary.timeline, end, top, |moment| top + PANEL * moment.promoted);
    area(out, "back", &summary.timeline, end, bottom, |moment| bottom - PANEL * moment.rolled_back);
    for (label, y) in [("100%", top + 12.0), ("0%", bottom)] {
        let _ = writeln!(out, "<text class=\"dim\" x=\"{}\" y=\"{y}\" text-anchor=\"end\">{label}</text>", LEFT - 6.0);
    }
    let _ = writeln!(out, "<text class=\"dim\" x=\"{LEFT}\" y=\"{}\">0 s</text>", bottom + 18.0);
    let _ = writeln!(
        out,
        "<text class=\"dim\" x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
        LEFT + width,
        bottom + 18.0,
        seconds(end)
    );
}

/// Between the line `base` and the heights of the moments.
fn area(out: &mut String, class: &str, timeline: &[Moment], end: f64, base: f64, height: impl Fn(&Moment) -> f64) {
    let width = WIDTH - LEFT - RIGHT;
    let x = |moment: &Moment| LEFT + width * moment.seconds / end.max(f64::MIN_POSITIVE);
    let mut points = format!("{LEFT:.1},{base:.1}");
    for moment in timeline {
        let _ = write!(points, " {:.1},{:.1}", x(moment), height(moment));
    }
    let _ = write!(points, " {:.1},{base:.1}", LEFT + width);
    let _ = writeln!(out, "<polygon class=\"{class}\" points=\"{points}\"/>");
}
