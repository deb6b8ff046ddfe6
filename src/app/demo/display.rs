//! The story on a terminal: where it stands, who gets what, both error ratios, the evidence, what was decided and why.

use super::act::Act;
use super::chart;
use super::plain::moment;
use super::scene::Scene;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::symbols;
use ratatui::text::Line;
use ratatui::widgets::{Block, Borders, LineGauge, Paragraph, Wrap};
use ratatui::{DefaultTerminal, Frame};
use std::io;
use std::time::Duration;

/// The colours of the two releases, everywhere.
pub(super) const LIVE: Color = Color::Green;
pub(super) const CANDIDATE: Color = Color::Yellow;

/// More than fits on any terminal.
const NEWS_SHOWN: usize = 40;

/// A terminal that is drawn on; it is as before once this is dropped.
pub(super) struct Display {
    terminal: DefaultTerminal,
}

impl Display {
    pub(super) fn open() -> io::Result<Self> {
        let terminal = ratatui::try_init();
        if terminal.is_err() {
            // It may have come half of the way.
            ratatui::restore();
        }
        Ok(Self { terminal: terminal? })
    }

    pub(super) fn show(&mut self, scene: &Scene) {
        // A terminal that has gone is noticed by its signal.
        let _ = self.terminal.draw(|frame| draw(frame, scene));
    }

    /// Whether Ctrl-C or q was pressed since it was last asked.
    pub(super) fn asked_to_end() -> bool {
        // Bounded, should someone lean on the keyboard.
        for _ in 0..100 {
            if !event::poll(Duration::ZERO).unwrap_or(false) {
                return false;
            }
            if let Ok(Event::Key(key)) = event::read() {
                let is_interrupt = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
                if is_interrupt || key.code == KeyCode::Char('q') {
                    return true;
                }
            }
        }
        false
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

fn draw(frame: &mut Frame, scene: &Scene) {
    let [acts, pools, ratios, news, footer] = Layout::vertical([
        Constraint::Length(4),
        Constraint::Length(5),
        Constraint::Fill(3),
        Constraint::Fill(2),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    draw_acts(frame, acts, scene);
    draw_pools(frame, pools, scene);
    chart::draw(frame, ratios, scene.ratios);
    draw_news(frame, news, scene);
    draw_footer(frame, footer, scene);
}

/// A part of the screen below a line with its title.
pub(super) fn headed<'a>(title: impl Into<Line<'a>>) -> Block<'a> {
    let mut title: Line = title.into();
    title.push_span(" ");
    Block::new().borders(Borders::TOP).title(title.bold())
}

fn draw_acts(frame: &mut Frame, area: Rect, scene: &Scene) {
    let now = scene.act.index();
    let lines: Vec<Line> = Act::ALL
        .iter()
        .map(|act| {
            let title = format!("{}. {}", act.index() + 1, act.title(scene.fault));
            match act.index().cmp(&now) {
                std::cmp::Ordering::Less => Line::from(format!("  {title}")),
                std::cmp::Ordering::Equal => Line::from(format!("> {title}")).bold(),
                std::cmp::Ordering::Greater => Line::from(format!("  {title}")).dim(),
            }
        })
        .collect();
    let clock = Line::from(format!(" {} s; Ctrl-C ends it ", scene.at.as_secs())).right_aligned();
    let block = headed("cutover demo").title_top(clock);
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn draw_pools(frame: &mut Frame, area: Rect, scene: &Scene) {
    let block = headed(format!("who gets what: {}", scene.standing()));
    let rows: [Rect; 4] = Layout::vertical([Constraint::Length(1); 4]).areas(block.inner(area));
    frame.render_widget(block, area);
    for (pool, row) in scene.service.pools.keys().zip(rows) {
        let role = scene.role(pool);
        let share = scene.share(pool);
        let label = format!("{pool}  {:<5} {role:<10} {:>6.2}%", scene.release(pool), share * 100.0);
        let color = if role == "live" { LIVE } else { CANDIDATE };
        frame.render_widget(gauge(label, share, color), row);
    }
    let (label, ratio) = match scene.evidence() {
        Some((ln, threshold)) => {
            (format!("evidence against it: ln E {ln:>4.1} of {threshold:.1}"), (ln / threshold).clamp(0.0, 1.0))
        }
        None => ("evidence against it: none asked".to_owned(), 0.0),
    };
    frame.render_widget(gauge(format!("{label:<38}"), ratio, Color::Red), rows[2]);
    let waiting = scene.waiting_for().map(|text| format!("waits for: {text}"));
    frame.render_widget(Line::from(waiting.unwrap_or_default()).dim(), rows[3]);
}

fn gauge(label: String, ratio: f64, color: Color) -> LineGauge<'static> {
    LineGauge::default()
        .label(label)
        .ratio(ratio)
        .filled_symbol(symbols::line::THICK_HORIZONTAL)
        .unfilled_symbol(symbols::line::HORIZONTAL)
        .filled_style(Style::new().fg(color).add_modifier(Modifier::BOLD))
        .unfilled_style(Style::new().add_modifier(Modifier::DIM))
}

fn draw_news(frame: &mut Frame, area: Rect, scene: &Scene) {
    let lines: Vec<Line> = scene
        .news
        .iter()
        .rev()
        .take(NEWS_SHOWN)
        .map(|news| Line::from(format!("{}  {}", moment(news.at), news.text)))
        .collect();
    let block = headed("what was decided and why, the last first");
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }).block(block), area);
}

fn draw_footer(frame: &mut Frame, area: Rect, scene: &Scene) {
    let counts = scene.counts;
    let text = format!(
        " {} requests, {:.0}/s; visitors saw {} errors, {} of {}; {} rescued",
        counts.requests,
        scene.rate,
        counts.errors(),
        counts.bad_release(),
        super::act::BAD,
        scene.rescues
    );
    frame.render_widget(Line::from(text), area);
}

#[cfg(test)]
mod tests {
    use super::super::ratios::Sample;
    use super::super::scene::News;
    use super::super::tally::Counts;
    use super::*;
    use crate::app::DemoFault;
    use crate::model::view::{EvidenceView, ServiceView};
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn service() -> ServiceView {
        let pool =
            |release: &str| serde_json::json!({"release": release, "targets": [], "in_flight": 0, "drained": false});
        serde_json::from_value(serde_json::json!({
            "name": "shop", "revision": 3, "live": "server0", "candidate": "server1", "weight": 25.0,
            "phase": "canary", "held": null, "watch_until": null, "mode": "serve", "mode_source": "command",
            "mode_setting": crate::model::ModeSetting::default(), "verdict": "insufficient", "durable": true,
            "pools": {"server0": pool("1.0"), "server1": pool("1.1")},
        }))
        .unwrap()
    }

    fn drawn(width: u16, height: u16) -> String {
        let (service, evidence) = (service(), EvidenceView::default());
        let sample = |at: f64, candidate| Sample { at, live: 0.2, candidate };
        let ratios = [sample(0.0, None), sample(1.0, Some(0.0)), sample(2.0, Some(30.0)), sample(3.0, None)];
        let news = [News { at: Duration::from_millis(4200), text: "step by time: step 1 of 3 at 5%".to_owned() }];
        let scene = Scene {
            fault: DemoFault::Errors,
            act: Act::Healthy,
            at: Duration::from_secs(5),
            service: &service,
            evidence: &evidence,
            ratios: &ratios,
            counts: Counts { requests: 2100, usual_errors: 4, ..Counts::default() },
            rate: 412.0,
            rescues: 7,
            news: &news,
        };
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, &scene)).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn a_usual_terminal_shows_all_of_it() {
        let text = drawn(80, 24);
        for part in [
            "> 2. release 1.1 is healthy: to be promoted",
            "server0  1.0   live        75.00%",
            "server1  1.1   candidate   25.00%",
            "evidence against it",
            "4.2s  step by time: step 1 of 3 at 5%",
            "2100 requests, 412/s; visitors saw 4 errors, 0 of 1.2; 7 rescued",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }

    #[test]
    fn a_tiny_terminal_is_no_fault() {
        for (width, height) in [(1, 1), (20, 5), (300, 100)] {
            drawn(width, height);
        }
    }
}
