//! A small chart of both error ratios over time.

use super::display::{CANDIDATE, LIVE, headed};
use super::ratios::Sample;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style, Stylize};
use ratatui::symbols::Marker;
use ratatui::text::Line;
use ratatui::widgets::{Axis, Chart, Dataset, GraphType};

/// The time that the chart has room for from the start, in seconds; longer stories make it wider.
const SPAN: f64 = 40.0;
/// The least height of the chart, in percent: the usual errors shall not look like mountains.
const LEAST_HEIGHT: f64 = 5.0;

pub(super) fn draw(frame: &mut Frame, area: Rect, samples: &[Sample]) {
    let live: Vec<(f64, f64)> = samples.iter().map(|sample| (sample.at, sample.live)).collect();
    let candidates = segments(samples);
    let end = samples.last().map_or(SPAN, |sample| sample.at.max(SPAN));
    let ratios = samples.iter().flat_map(|sample| [sample.live, sample.candidate.unwrap_or(0.0)]);
    let top = ratios.fold(LEAST_HEIGHT, f64::max);
    let mut lines = vec![line(&live, LIVE)];
    lines.extend(candidates.iter().map(|segment| line(segment, CANDIDATE)));
    let block = headed(Line::from(vec![
        "errors in percent of answers: ".into(),
        "live".fg(LIVE),
        ", ".into(),
        "candidate".fg(CANDIDATE),
    ]));
    let dim = Style::new().dim();
    let x_axis = Axis::default().style(dim).bounds([0.0, end]).labels(["0 s".to_owned(), format!("{end:.0} s")]);
    let y_axis = Axis::default().style(dim).bounds([0.0, top]).labels(["0%".to_owned(), format!("{top:.0}%")]);
    frame.render_widget(Chart::new(lines).block(block).x_axis(x_axis).y_axis(y_axis), area);
}

fn line(data: &[(f64, f64)], color: Color) -> Dataset<'_> {
    Dataset::default().data(data).marker(Marker::Braille).graph_type(GraphType::Line).style(Style::new().fg(color))
}

/// The candidates' lines: one for each time that there was one, so that nothing is drawn in between.
fn segments(samples: &[Sample]) -> Vec<Vec<(f64, f64)>> {
    let has_candidate = |a: &Sample, b: &Sample| a.candidate.is_some() == b.candidate.is_some();
    samples
        .chunk_by(has_candidate)
        .map(|chunk| chunk.iter().filter_map(|sample| Some((sample.at, sample.candidate?))).collect())
        .filter(|segment: &Vec<_>| !segment.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_candidate_has_a_line_of_its_own() {
        let sample = |at: f64, candidate| Sample { at, live: 0.0, candidate };
        let samples = [
            sample(0.0, None),
            sample(1.0, Some(1.0)),
            sample(2.0, Some(2.0)),
            sample(3.0, None),
            sample(4.0, Some(4.0)),
        ];
        assert_eq!(segments(&samples), [vec![(1.0, 1.0), (2.0, 2.0)], vec![(4.0, 4.0)]]);
    }
}
