//! The results as a page of plots, which is self-contained: no network, no script.

use crate::{
    charts::{COLOURS, Limit, Mark, Series, draw},
    results::{Bar, LARGE, LOGINS, MEMORY, Results, Row, USUAL},
};
use anyhow::Result;
use minijinja::{Environment, Value, value::Serde};
use serde::Serialize;

const COMPANIES: [&str; 3] = ["smallest", "median", "largest"];

/// The template's data.
#[derive(Serialize)]
struct Page<'a> {
    results: &'a Results,
    plots: Vec<Plot>,
    bars: Vec<Verdict<'a>>,
}

#[derive(Serialize)]
struct Verdict<'a> {
    bar: &'a Bar,
    met: bool,
}

#[derive(Serialize)]
struct Plot {
    title: String,
    note: String,
    svg: String,
    legend: Vec<Key>,
}

#[derive(Serialize)]
struct Key {
    name: String,
    colour: &'static str,
    ring: bool,
}

fn plot(title: &str, note: &str, places: &[String], series: &[Series], axis: &str, limits: &[Limit]) -> Result<Plot> {
    let key = |s: &Series| Key {
        name: s.name.clone(),
        colour: COLOURS[s.colour % COLOURS.len()],
        ring: s.mark == Mark::Ring,
    };
    let svg = draw(places, series, axis, limits)?;
    Ok(Plot { title: title.into(), note: note.into(), svg, legend: series.iter().map(key).collect() })
}

/// Renders the page.
pub fn render(results: &Results) -> Result<String> {
    let mut environment = Environment::new();
    environment.add_filter("figure", figure);
    environment.add_filter("ratio", ratio);
    environment.add_template("page.html", include_str!("page.html"))?;
    let page = environment.get_template("page.html")?;
    let bars = results.bars.iter().map(|bar| Verdict { bar, met: bar.is_met() }).collect();
    Ok(page.render(Value::from(Serde(Page { results, plots: plots(results)?, bars })))?)
}

/// The median of a ratio, with the least and the most.
fn ratio(value: &Value) -> String {
    let of = |name: &str| figure(value.get_attr(name).ok().and_then(|number| f64::try_from(number).ok()));
    if value.is_none() { figure(None) } else { format!("{} ({} to {})", of("median"), of("least"), of("most")) }
}

/// A number with three significant digits.
fn figure(value: Option<f64>) -> String {
    match value {
        None => "–".into(),
        Some(value) if value.abs() >= 100.0 => format!("{value:.0}"),
        Some(value) if value.abs() >= 10.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.2}"),
    }
}

fn plots(results: &Results) -> Result<Vec<Plot>> {
    let rows = &results.requests;
    let mut operations: Vec<&str> = Vec::new();
    let mut connections: Vec<usize> = Vec::new();
    for row in rows {
        if row.operation != "login" && !operations.contains(&row.operation) {
            operations.push(row.operation);
        }
        if !connections.contains(&row.connections) {
            connections.push(row.connections);
        }
    }
    let companies: Vec<&str> = COMPANIES.into_iter().filter(|c| rows.iter().any(|row| row.company == *c)).collect();
    let places: Vec<String> = operations.iter().map(|o| o.replace("get by id", "get")).collect();
    let find = |operation: &str, company: &str, connections: usize| {
        rows.iter().find(|r| r.operation == operation && r.company == company && r.connections == connections)
    };
    let of_company = |company: &str, connections: usize, value: fn(&Row) -> Option<f64>| -> Vec<Option<f64>> {
        operations.iter().map(|operation| find(operation, company, connections).and_then(value)).collect()
    };
    let mut plots = Vec::new();
    if !operations.is_empty() {
        for &connections in &connections {
            let mut series = Vec::new();
            for (colour, company) in companies.iter().enumerate() {
                let of = |name: &str, mark, value| Series {
                    name: format!("{company} company{name}"),
                    values: of_company(company, connections, value),
                    colour,
                    mark,
                };
                series.push(of(", to pgbench with the same statements", Mark::Dot, |row| Some(row.to_pgbench.median)));
                series.push(of(", to the statement by hand", Mark::Ring, |row| Some(row.to_by_hand?.median)));
            }
            plots.push(plot(
                &format!("Throughput on {connections} connection{}", if connections == 1 { "" } else { "s" }),
                "Requests a second of the server, as a part of pgbench's transactions a second. More is better.",
                &places,
                &series,
                "ratio of throughput",
                &[Limit { at: 1.0, label: "as many as pgbench" }],
            )?);
        }
        plots.extend(of_connections(rows, &operations, &companies, &connections)?);
        let tails = connections.iter().enumerate().map(|(colour, &connections)| {
            let worst = |operation: &&str| {
                let found = companies.iter().filter_map(|company| find(operation, company, connections));
                found.map(|row| row.tail.median).reduce(f64::max)
            };
            let values = operations.iter().map(worst).collect();
            Series { name: format!("{connections} connections"), values, colour, mark: Mark::Dot }
        });
        plots.push(plot(
            "The slowest hundredth",
            "p99/p50 of the server, divided by pgbench's, for the company where it is worst. Less is better.",
            &places,
            &tails.collect::<Vec<_>>(),
            "ratio of p99/p50",
            &[Limit { at: 2.0, label: "bar: twice pgbench's" }],
        )?);
        let company = companies.last().copied().unwrap_or_default();
        let part = |name: &str, colour, value| Series {
            name: name.into(),
            values: of_company(company, USUAL, value),
            colour,
            mark: Mark::Stacked,
        };
        plots.push(plot(
            &format!("Processor time of a request, {company} company, {USUAL} connections"),
            "Of server and database, as a multiple of what PostgreSQL takes for pgbench's transaction.",
            &places,
            &[
                part("database", 0, |row| Some(row.server.database_cpu_us / row.pgbench.database_cpu_us)),
                part("server", 1, |row| Some(row.server.server_cpu_us / row.pgbench.database_cpu_us)),
            ],
            "multiple of pgbench's",
            &[Limit { at: 1.0, label: "pgbench's, without its client" }],
        )?);
        let policies = companies.iter().enumerate().map(|(colour, company)| Series {
            name: format!("{company} company"),
            values: of_company(company, USUAL, |row| Some(row.policies?.median)),
            colour,
            mark: Mark::Dot,
        });
        plots.push(plot(
            &format!("What the policies cost, {USUAL} connections"),
            "Throughput of pgbench without policies and the company written by hand, to that with policies: as many statements.",
            &places,
            &policies.collect::<Vec<_>>(),
            "ratio of throughput",
            &[Limit { at: 1.1, label: "bar: 1.1" }],
        )?);
    }
    let bar = [Limit { at: 2.0, label: "bar: 2" }];
    for (load, title, limits) in
        [(LOGINS, "Reads while 256 people log in", &bar[..]), (LARGE, "Reads while four clients take megabytes", &[])]
    {
        let reads: Vec<_> = results.beside.iter().filter(|beside| beside.load == load).collect();
        if reads.is_empty() {
            continue;
        }
        let places: Vec<String> = reads.iter().map(|read| read.operation.replace("get by id", "get")).collect();
        let values = reads.iter().map(|read| Some(read.ratio)).collect();
        plots.push(plot(
            title,
            "p99 of reads of the largest company beside them, to that of the same reads alone.",
            &places,
            &[Series { name: "p99 beside them to p99 alone".into(), values, colour: 0, mark: Mark::Stacked }],
            "ratio of p99",
            limits,
        )?);
    }
    let places: Vec<String> = results.memory.iter().map(|m| m.after.clone()).collect();
    let values = results.memory.iter().map(|m| Some(m.mib)).collect();
    plots.push(plot(
        "Resident memory of the server",
        "The most so far, after each part of the first round and at the end.",
        &places,
        &[Series { name: "server".into(), values, colour: 0, mark: Mark::Stacked }],
        "MiB",
        &[Limit { at: MEMORY, label: "bar: 128 MiB" }],
    )?);
    Ok(plots)
}

/// How the largest company's throughput changes with the number of connections.
fn of_connections(
    rows: &[Row],
    operations: &[&str],
    companies: &[&str],
    connections: &[usize],
) -> Result<Option<Plot>> {
    let company = companies.last().copied().unwrap_or_default();
    if connections.len() < 2 {
        return Ok(None);
    }
    let of = |operation: &str, connections: usize| {
        let mut found = rows.iter().filter(|r| r.operation == operation && r.company == company);
        let row = found.find(|r| r.connections == connections)?;
        if connections == USUAL { Some(1.0) } else { Some(row.to_usual?.median) }
    };
    let series = operations.iter().enumerate().map(|(colour, operation)| {
        let values = connections.iter().map(|c| of(operation, *c));
        Series { name: (*operation).into(), values: values.collect(), colour, mark: Mark::Line }
    });
    let places: Vec<String> = connections.iter().map(|c| format!("{c} connections")).collect();
    plot(
        &format!("More connections, {company} company"),
        "Throughput of the server to its own on 8 connections. It must not fall when many come.",
        &places,
        &series.collect::<Vec<_>>(),
        "ratio of throughput",
        &[Limit { at: 0.9, label: "bar: 0.9" }],
    )
    .map(Some)
}
