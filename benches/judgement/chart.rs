//! The chart of the README: false rollbacks and missed regressions of each rule, legible in light and dark.

use super::table::{is_clear, of, percent, pooled};
use super::{Record, STRICT, names};
use cutover::app::simulate::STYLE;
use std::fmt::Write as _;

const NAMES: f64 = 270.0;
const BAR: f64 = 200.0;
const GAP: f64 = 60.0;
const ROW: f64 = 26.0;
const TOP: f64 = 48.0;

pub fn svg(all: &[Record]) -> String {
    let names = names();
    #[expect(clippy::cast_precision_loss, reason = "a dozen rules")]
    let height = TOP + ROW * names.len() as f64 + 12.0;
    let width = NAMES + 2.0 * (BAR + GAP);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
         aria-label=\"False rollbacks and missed regressions by rule\">{STYLE}\n"
    );
    let (left, right) = (NAMES, NAMES + BAR + GAP);
    // Writing to a string does not fail.
    let _ = writeln!(out, "<text x=\"{left}\" y=\"18\">faultless releases taken back</text>");
    let _ = writeln!(out, "<text x=\"{right}\" y=\"18\">clear regressions missed</text>");
    let _ = writeln!(out, "<text class=\"dim\" x=\"{left}\" y=\"36\">in an hour, mean of all cells</text>");
    let _ = writeln!(out, "<text class=\"dim\" x=\"{right}\" y=\"36\">in an hour, mean of all cells</text>");
    let mut y = TOP;
    for (rule, name) in names.iter().enumerate() {
        let back = pooled(&of(all, rule, |record| record.cell.ratio <= 1.0)).0;
        let missed = 1.0 - pooled(&of(all, rule, is_clear)).0;
        let class = if rule <= STRICT { "promoted" } else { "back" };
        let _ = writeln!(out, "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{name}</text>", NAMES - 10.0, y + 15.0);
        for (x, share) in [(left, back), (right, missed)] {
            let long = BAR * share;
            let _ = writeln!(
                out,
                "<rect class=\"{class}\" x=\"{x}\" y=\"{}\" width=\"{long:.1}\" height=\"16\"/>\
                 <text class=\"dim\" x=\"{:.1}\" y=\"{}\">{}</text>",
                y + 2.0,
                x + long + 6.0,
                y + 15.0,
                percent(share)
            );
        }
        y += ROW;
    }
    out.push_str("</svg>\n");
    out
}
