//! Quotes and their PDF (contract: quotes).

use crate::support::{
    database::OwnDatabase,
    server::{api_url, config, start_server},
    world::{Person, World},
};
use lopdf::{Document, ObjectId};
use ringfence::{config::Config, db, pdf};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

async fn quote(who: &Person, fields: Value) -> Value {
    let mut new = json!({"title": Uuid::new_v4(), "amount": 100});
    new.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    who.post("/api/quotes/", new).await.expect(201)
}

fn path(quote: &Value) -> String {
    format!("/api/quotes/{}", quote["id"].as_str().unwrap())
}

fn number(n: usize) -> String {
    let year = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).year();
    format!("QT-{year}-{n:03}")
}

#[tokio::test]
async fn a_quote_is_made_listed_and_read() {
    let acme = World::new().await;
    let client = acme.contact("Ada", "Lovelace").await;
    let deal = acme.admin.post("/api/deals/", json!({"title": "D", "value": 1, "stage_id": "Lead"})).await.expect(200);
    let made = quote(&acme.member, json!({"title": "Engine", "amount": "1234.565", "client_id": client["id"], "deal_id": deal["id"],
        "valid_until": "2027-01-31T00:00:00", "description": "D", "terms": "T", "notes": "N",
        "line_items": [{"description": "Wheel", "quantity": 2.5, "unit_price": 1999, "tax": 19, "discount": 10}, {"description": "Work", "unit_price": 5000}]})).await;
    assert_eq!(made["quote_number"], json!(number(1)));
    assert_eq!(
        (
            &made["amount"],
            &made["status"],
            &made["client_id"],
            &made["deal_id"],
            &made["owner_id"],
            &made["valid_until"]
        ),
        (&json!(1234.57), &json!("draft"), &client["id"], &deal["id"], &json!(acme.member.id), &json!("2027-01-31"))
    );
    assert_eq!((&made["description"], &made["terms"], &made["notes"]), (&json!("D"), &json!("T"), &json!("N")));
    assert_eq!(
        made["line_items"],
        json!([{"description": "Wheel", "quantity": 2.5, "unit_price": 1999, "tax": 19, "discount": 10},
            {"description": "Work", "quantity": 1, "unit_price": 5000, "tax": 0, "discount": 0}])
    );
    assert_eq!(acme.admin.get(&path(&made)).await.expect(200), made);
    let second =
        quote(&acme.admin, json!({"status": "sent", "client_id": "", "deal_id": "none", "line_items": null})).await;
    assert_eq!((&second["quote_number"], &second["client_id"]), (&json!(number(2)), &json!(null)));
    assert!(second["sent_at"].is_string());
    let ids = async |query: &str| -> Vec<Value> {
        let list = acme.admin.get(&format!("/api/quotes/?{query}")).await.expect(200);
        list.as_array().unwrap().iter().map(|q| q["id"].clone()).collect()
    };
    assert_eq!(ids("").await, [second["id"].clone(), made["id"].clone()], "the newest first");
    assert_eq!(ids("status=sent").await, [second["id"].clone()]);
    assert_eq!(ids("status=").await, ids("").await);
    assert_eq!(ids("skip=1&limit=1").await, [made["id"].clone()]);
    let unknown = acme.admin.get("/api/quotes/?status=unknown").await.expect(422);
    assert_eq!(unknown["detail"][0]["msg"], "Input should be one of draft, sent, accepted, rejected, expired");
    for (given, day) in [
        ("9999-12-31", "9999-12-31"),
        ("2026-12-31T00:00:00+05:00", "2026-12-31"),
        ("2026-12-31T00:00:00.000Z", "2026-12-31"),
    ] {
        assert_eq!(quote(&acme.admin, json!({"valid_until": given})).await["valid_until"], day);
    }
    for bad in [
        json!({"amount": null}),
        json!({"valid_until": "-009999-12-31"}),
        json!({"amount": "much"}),
        json!({"amount": 1e14}),
        json!({"amount": "NaN"}),
        json!({"amount": "inf"}),
        json!({"status": "open"}),
        json!({"valid_until": ""}),
        json!({"valid_until": "2027-01-31T10:00:00"}),
        json!({"title": "x".repeat(256)}),
        json!({"line_items": [{"unit_price": 1}]}),
        json!({"line_items": [{"description": "x", "unit_price": 1.5}]}),
        json!({"line_items": [{"description": "x", "unit_price": 1, "quantity": 0}]}),
        json!({"line_items": [{"description": "x", "unit_price": 1, "tax": 101}]}),
    ] {
        let mut new = json!({"title": "Bad", "amount": 1});
        new.as_object_mut().unwrap().extend(bad.as_object().unwrap().clone());
        assert_eq!(acme.admin.post("/api/quotes/", new).await.status, 422, "{bad}");
    }
    for (value, msg) in [
        (9_999_999_999_999.995, "Input should be at most 9999999999999.99"),
        (-1e13, "Input should be at least -9999999999999.99"),
    ] {
        let problem =
            &acme.admin.post("/api/quotes/", json!({"title": "Bad", "amount": value})).await.expect(422)["detail"][0];
        assert_eq!([&problem["loc"], &problem["msg"]], [&json!(["body", "amount"]), &json!(msg)]);
    }
    let lone = acme.lone().await;
    for answer in [
        lone.get("/api/quotes/").await,
        lone.post("/api/quotes/", json!({"title": "x", "amount": 1})).await,
        lone.get(&path(&made)).await,
    ] {
        assert_eq!(answer.detail(403), "No company associated with user");
    }
}

#[tokio::test]
async fn fifty_at_once_get_fifty_consecutive_numbers_in_each_company() {
    let (acme, other) = (World::new().await, World::new().await);
    let create = |world: &World, n: usize| {
        let who = world.admin.clone();
        async move { who.post("/api/quotes/", json!({"title": format!("Q{n}"), "amount": 1})).await }
    };
    let all =
        futures_util::future::join_all((0..100).map(|n| create(if n % 2 == 0 { &acme } else { &other }, n))).await;
    for of in [0, 1] {
        let numbers: BTreeSet<String> = all
            .iter()
            .skip(of)
            .step_by(2)
            .map(|a| a.clone().expect(201)["quote_number"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(numbers, (1..=50).map(number).collect());
    }
    // A request that fails uses no number, and a deleted quote keeps its number.
    assert!(
        acme.admin
            .post("/api/quotes/", json!({"title": "Q0", "amount": 1}))
            .await
            .detail(400)
            .contains("already exists")
    );
    let unknown = json!({"title": "New", "amount": 1, "client_id": Uuid::now_v7()});
    assert_eq!(acme.admin.post("/api/quotes/", unknown).await.detail(404), "Client not found");
    let last = quote(&acme.admin, json!({})).await;
    assert_eq!(last["quote_number"], json!(number(51)));
    acme.admin.delete(&path(&last)).await.expect(200);
    assert_eq!(quote(&acme.admin, json!({})).await["quote_number"], json!(number(52)));
    // Numbers grow beyond three digits.
    let forged = "insert into quotes (tenant_id, company_id, owner_id, title, amount, quote_number) values ($1, $1, $2, 'x', 1, $3)";
    acme.db.execute(forged, &[&acme.company, &acme.admin.id, &number(999)]).await.unwrap();
    assert_eq!(quote(&acme.admin, json!({})).await["quote_number"], json!(number(1000)));
    assert_eq!(quote(&acme.admin, json!({})).await["quote_number"], json!(number(1001)));
    // After the last possible number come those that were skipped.
    acme.db.execute(forged, &[&acme.company, &acme.admin.id, &number(999_999_999)]).await.unwrap();
    assert_eq!(quote(&acme.admin, json!({})).await["quote_number"], json!(number(53)));
    assert_eq!(quote(&acme.admin, json!({})).await["quote_number"], json!(number(54)));
}

#[tokio::test]
async fn a_title_is_used_once_in_a_company_at_creation() {
    let acme = World::new().await;
    let new = json!({"title": "Twice", "amount": 1});
    let all = [&acme.admin, &acme.member, &acme.admin, &acme.member].map(|who| who.post("/api/quotes/", new.clone()));
    let all = futures_util::future::join_all(all).await;
    assert_eq!(all.iter().filter(|a| a.status == 201).count(), 1);
    let other = quote(&acme.admin, json!({})).await;
    acme.admin.patch(&path(&other), json!({"title": "Twice"})).await.expect(200);
    World::new().await.admin.post("/api/quotes/", new).await.expect(201);
}

#[tokio::test]
async fn any_member_changes_a_quote() {
    let acme = World::new().await;
    let client = acme.contact("Ada", "L").await;
    let made =
        quote(&acme.admin, json!({"client_id": client["id"], "line_items": [{"description": "A", "unit_price": 1}]}))
            .await;
    let path = path(&made);
    let edit = json!({"title": "New", "amount": 5.555, "valid_until": "2027-05-06", "description": "D", "status": "sent", "notes": null,
        "quote_number": "QT-1", "owner_id": acme.member.id, "company_id": Uuid::now_v7(), "sent_at": "2020-01-01T00:00:00"});
    let sent = acme.member.patch(&path, edit).await.expect(200);
    assert_eq!(
        (
            &sent["title"],
            &sent["amount"],
            &sent["valid_until"],
            &sent["status"],
            &sent["quote_number"],
            &sent["owner_id"]
        ),
        (&json!("New"), &json!(5.56), &json!("2027-05-06"), &json!("sent"), &made["quote_number"], &made["owner_id"])
    );
    assert_eq!((&sent["client_id"], &sent["line_items"]), (&client["id"], &made["line_items"]));
    assert!(sent["sent_at"].as_str().unwrap() > "2026");
    let accepted = acme.member.put(&path, json!({"status": "accepted"})).await.expect(200);
    assert!(accepted["accepted_at"].is_string());
    let again = acme.member.put(&path, json!({"status": "sent"})).await.expect(200);
    assert_eq!(
        (&again["sent_at"], &again["accepted_at"]),
        (&sent["sent_at"], &accepted["accepted_at"]),
        "the first times stay"
    );
    let lines = json!({"line_items": [{"description": "B", "unit_price": 2}, {"description": "C", "unit_price": -3}]});
    let lined = acme.member.patch(&path, lines).await.expect(200);
    assert_eq!(
        (&lined["line_items"][1]["description"], &lined["amount"]),
        (&json!("C"), &json!(5.56)),
        "the amount stays"
    );
    assert_eq!(acme.member.patch(&path, json!({"line_items": []})).await.expect(200)["line_items"], json!([]));
    assert_eq!(acme.member.patch(&path, json!({"client_id": "none"})).await.expect(200)["client_id"], json!(null));
    for (field, what) in [("client_id", "Client"), ("deal_id", "Deal")] {
        assert_eq!(
            acme.member.patch(&path, json!({field: Uuid::now_v7()})).await.detail(404),
            format!("{what} not found")
        );
    }
    for bad in [
        json!({"status": "open"}),
        json!({"amount": 1e14}),
        json!({"valid_until": "soon"}),
        json!({"line_items": [{"description": "x", "unit_price": 1, "discount": -1}]}),
    ] {
        acme.member.patch(&path, bad).await.expect(422);
    }
    acme.member.delete(&path).await.expect(200);
    for gone in [
        acme.admin.get(&path).await,
        acme.admin.patch(&path, json!({})).await,
        acme.admin.delete(&path).await,
        acme.admin.get(&format!("{path}/download")).await,
    ] {
        assert_eq!(gone.detail(404), "Quote not found");
    }
}

/// A text without whitespace, which in a PDF depends on the spacing of letters.
fn dense(text: &str) -> String {
    text.split_whitespace().collect()
}

/// What is printed at one place of a page, in one font.
struct Piece {
    text: String,
    /// Where it begins, in points from the left and from the top; it stands on `y`.
    x: f32,
    y: f32,
    /// Whether its letters are drawn with thicker lines, in a font that is not bold itself.
    is_thickened: bool,
}

/// The pieces of each page, in the order in which they are drawn. No character is an empty box, which is every font's
/// first glyph.
fn pieces(pdf: &[u8]) -> Vec<Vec<Piece>> {
    let document = Document::load_mem(pdf).unwrap();
    let pages = document.get_pages();
    let of_page = |page: &ObjectId| {
        let fonts = document.get_page_fonts(*page).unwrap();
        let (mut font, mut is_thickened, mut x, mut y) = (None, false, 0.0, 0.0);
        let mut pieces = Vec::new();
        for operation in document.get_and_decode_page_content(*page).unwrap().operations {
            let operand = |n: usize| operation.operands[n].as_float().unwrap();
            match operation.operator.as_str() {
                "Tf" => font = Some(fonts[operation.operands[0].as_name().unwrap()]),
                "Tr" => is_thickened = operand(0) == 2.0,
                "Tm" => (x, y) = (operand(4), operand(5)),
                "Tj" | "TJ" => {
                    let shown = &operation.operands[0];
                    let parts = shown.as_array().map_or(std::slice::from_ref(shown), Vec::as_slice);
                    let glyphs: Vec<u8> =
                        parts.iter().filter_map(|part| part.as_str().ok()).flatten().copied().collect();
                    let encoding = font.unwrap().get_font_encoding(&document).unwrap();
                    let text = Document::decode_text(&encoding, &glyphs).unwrap();
                    assert!(glyphs.chunks(2).all(|glyph| glyph != [0, 0]), "an empty box in {text:?}");
                    pieces.push(Piece { text, x, y, is_thickened });
                }
                _ => {}
            }
        }
        pieces
    };
    pages.values().map(of_page).collect()
}

/// The lines of a page as text, from top to bottom.
fn lines(page: &[Piece]) -> Vec<String> {
    let mut lines = BTreeMap::<i32, String>::new();
    for piece in page {
        *lines.entry((piece.y * 10.0) as i32).or_default() += &piece.text;
    }
    lines.into_values().collect()
}

/// The pages of a PDF as text without whitespace.
async fn printed(who: &Person, quote: &Value) -> Vec<String> {
    let response = who.request("GET", &format!("{}/download", path(quote))).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/pdf");
    let name = quote["quote_number"].as_str().unwrap();
    assert_eq!(response.headers()["content-disposition"], format!("attachment; filename={name}.pdf"));
    let bytes = response.bytes().await.unwrap();
    pieces(&bytes).iter().map(|page| page.iter().map(|piece| dense(&piece.text)).collect()).collect()
}

/// A PDF of a quote with these fields, on A4.
fn sheet(fields: Value) -> Vec<Vec<Piece>> {
    let mut quote = json!({"number": "QT-1", "title": "An offer", "amount": 1, "status": "draft", "date": "2026-01-02",
        "generated": "2026-01-02 03:04 UTC", "lines": [], "company": {"name": "Acme", "currency": "EUR"}});
    quote.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    pieces(&pdf::quote::render(&serde_json::from_value(quote).unwrap()).unwrap())
}

fn line(description: &str, unit_price: i64) -> Value {
    json!({"description": description, "quantity": 1, "unit_price": unit_price, "tax": 0, "discount": 0})
}

/// The vertical position of the footer on A4, in points: nothing else comes near it.
const FOOTER: f32 = 795.0;

#[test]
fn no_figure_is_broken() {
    let rupiah = json!({"name": "PT Sumber Makmur", "currency": "IDR"});
    for (price, written) in [(1_850_000_000, "18,500,000.00"), (999_999_999_999_999, "9,999,999,999,999.99")] {
        let mut sold = line("Laptop", price);
        sold["quantity"] = json!(99_999.125);
        sold["tax"] = json!(12.3456);
        sold["discount"] = json!(98.7654);
        let lines = [sold, line("A case", 100)];
        let pages = sheet(json!({"company": rupiah, "amount": 9_999_999_999_999.0_f64, "lines": lines}));
        let row = pages[0].iter().find(|piece| piece.text == "Laptop").unwrap().y;
        for figure in [written, "99999.125", "12.3456 %", "98.7654 %"] {
            let piece = pages[0].iter().find(|piece| piece.text == figure);
            let piece = piece.unwrap_or_else(|| panic!("{figure} is broken: {:?}", lines_of(&pages)));
            assert!((piece.y - row).abs() < 5.0, "{figure} is not beside its description");
        }
        assert!(pages[0].iter().any(|piece| piece.text == "IDR 9,999,999,999,999.00"), "{:?}", lines_of(&pages));
    }
}

fn lines_of(pages: &[Vec<Piece>]) -> Vec<Vec<String>> {
    pages.iter().map(|page| lines(page)).collect()
}

#[test]
fn a_row_that_is_taller_than_a_page_is_continued_below_another_head() {
    let tall: String = (1..=120).map(|n| format!("item {n}\n")).collect();
    let pages = sheet(json!({"lines": [line(&tall, 100), line("After it", 200)]}));
    assert_eq!(pages.len(), 3);
    let mut items = Vec::new();
    for page in &pages {
        let lines = lines(page);
        let head = lines.iter().position(|line| line.starts_with("Description")).unwrap();
        assert!(lines[head + 1].contains("item"), "{lines:?}");
        items.extend(page.iter().filter(|piece| piece.text.starts_with("item")));
    }
    let told: Vec<_> = items.iter().map(|item| item.text.clone()).collect();
    assert_eq!(told, (1..=120).map(|n| format!("item {n}")).collect::<Vec<_>>());
    assert!(items.iter().all(|item| item.y < FOOTER - 10.0), "printed over the footer");
    // A head is not left alone, however much room there is for it.
    for above in 30..55 {
        let text = "above\n".repeat(above);
        for page in sheet(json!({"description": text, "lines": [line("one\ntwo\nthree\nfour\nfive\nsix", 1)]})) {
            let lines = lines(&page);
            if let Some(head) = lines.iter().position(|line| line.starts_with("Description")) {
                assert!(lines[head + 1].contains("one") && lines[head + 6] == "six", "{above}: {lines:?}");
            }
        }
    }
}

#[test]
fn a_long_paragraph_goes_on_over_pages_without_breaks_in_its_sentences() {
    let sentence = |n| format!("Sentence number {n} says something about the terms of this offer. ");
    let terms: String = (0..140).map(sentence).collect();
    let pages = sheet(json!({"description": terms, "terms": format!("{terms}\n\nThe end.")}));
    assert_eq!(pages.len(), 4);
    let all: Vec<String> = lines_of(&pages).concat().into_iter().filter(|line| !line.contains("QT-1")).collect();
    let paragraph = all.iter().filter(|line| line.contains("offer.") || line.contains("something"));
    let short: Vec<_> = paragraph.filter(|line| line.chars().count() < 75).collect();
    assert!(short.len() <= 2, "a paragraph has one short line, its last one: {short:?}");
    let text = dense(&all.concat());
    assert_eq!(text.matches(&dense(&terms)).count(), 2, "both are whole");
    assert!(text.ends_with("Theend."), "{text}");
}

#[test]
fn what_is_written_from_right_to_left_keeps_its_place() {
    let company = json!({"name": "شركة الأفق", "currency": "AED", "city": "دبي", "email": "info@ofoq.example"});
    let client = json!({"name": "محمد العبدالله", "company": "مؤسسة النور", "email": "m@x.example"});
    let terms = "الدفع خلال ثلاثين يوم";
    let [page] = <[_; 1]>::try_from(sheet(json!({"company": company, "client": client, "terms": terms}))).ok().unwrap();
    let place = |text: &str| page.iter().find(|piece| piece.text == text).unwrap();
    let left_of =
        |y: f32| page.iter().filter(|piece| (piece.y - y).abs() < 1.0).map(|piece| piece.x).fold(f32::MAX, f32::min);
    let (mail, client) = (place("info@ofoq.example"), place("m@x.example"));
    let margin = place("PREPARED FOR").x;
    // The names and all that stands between them and the addresses.
    for (above, below) in [(100.0, mail.y), (place("PREPARED FOR").y, client.y)] {
        for piece in page.iter().filter(|piece| piece.y > above && piece.y <= below && piece.x < 300.0) {
            assert!((left_of(piece.y) - margin).abs() < 1.0, "{:?} is not at the left", piece.text);
        }
    }
    assert!(place("TERMS").x > 300.0, "the heading is with its text");
    let number = page.iter().find(|piece| piece.text.contains("QT-1") && piece.y > FOOTER - 10.0).unwrap();
    assert!((left_of(number.y) - margin).abs() < 1.0 && number.x > margin + 20.0, "the company is first");
    assert!(number.text.find("QT-1") < number.text.find("made"), "{}", number.text);
    let name = page.iter().find(|piece| piece.y > 100.0 && piece.y < mail.y && piece.x < 300.0).unwrap();
    assert!(name.is_thickened && !mail.is_thickened);
}

/// A red image of one pixel.
fn png() -> Vec<u8> {
    use base64::{Engine, prelude::BASE64_STANDARD};
    let text = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==";
    BASE64_STANDARD.decode(text).unwrap()
}

#[tokio::test]
async fn the_pdf_prints_the_quote() {
    let acme = World::new().await;
    let client = acme.contact("Ada", "Lovelace").await;
    let lines = json!([{"description": "Wheels", "quantity": 2.5, "unit_price": 199_900, "tax": 10, "discount": 20}]);
    let made = quote(&acme.admin, json!({"title": "Analytical engine", "amount": 4400, "client_id": client["id"], "status": "sent",
        "valid_until": "2027-01-31", "description": "With punched cards", "terms": "Half in advance", "line_items": lines})).await;
    let pages = printed(&acme.member, &made).await;
    assert_eq!(pages.len(), 1);
    for part in [
        "QUOTATION",
        &number(1),
        "2027-01-31",
        "SENT",
        "Ada Lovelace",
        "Analytical engine",
        "With punched cards",
        "Half in advance",
        "Wheels",
        "2.5",
        "1,999.00",
        "20 %",
        "10 %",
        "3,998.00",
        "4,997.50",
        "-999.50",
        "399.80",
        "Adjustment",
        "2.20",
        "USD 4,400.00",
        "Page 1 of 1",
        &acme.name,
    ] {
        assert!(pages[0].contains(&dense(part)), "{part} is not in {}", pages[0]);
    }
    let bare = quote(&acme.admin, json!({"title": "Bare", "amount": 1234567.5})).await;
    let page = printed(&acme.admin, &bare).await.concat();
    assert!(page.contains("N/A") && page.contains("1,234,567.50") && page.contains("DRAFT"), "{page}");

    let company = format!("/api/companies/{}", acme.company);
    let odd = format!("/api/files/{}/download", "-".repeat(36));
    acme.admin.put(&company, json!({"logo_url": odd})).await.expect(200);
    assert_eq!(printed(&acme.admin, &bare).await.len(), 1, "an address that is no file's is no logo");

    // The company's logo is one of its files.
    let logo = reqwest::multipart::Part::bytes(png()).file_name("logo.png").mime_str("image/png").unwrap();
    let form = reqwest::multipart::Form::new().part("file", logo);
    let file = crate::support::world::answer(acme.admin.request("POST", "/api/files/upload").multipart(form))
        .await
        .expect(200);
    acme.admin.put(&company, json!({"logo_url": file["url"]})).await.expect(200);
    let response = acme.admin.request("GET", &format!("{}/download", path(&bare))).send().await.unwrap();
    let document = lopdf::Document::load_mem(&response.bytes().await.unwrap()).unwrap();
    let is_image = |object: &lopdf::Object| {
        object.as_stream().is_ok_and(|s| s.dict.get(b"Subtype").is_ok_and(|t| t.as_name().is_ok_and(|t| t == b"Image")))
    };
    assert!(document.objects.values().any(is_image), "the logo is not in the document");
    acme.admin.delete(&format!("/api/files/{}", file["id"].as_str().unwrap())).await.expect(200);
    assert_eq!(printed(&acme.admin, &bare).await.len(), 1, "without the file it prints all the same");

    // Nor does a logo that the store cannot read prevent printing: here, a symbolic link to itself.
    let store = format!("{}/logos-{}", env!("CARGO_TARGET_TMPDIR"), acme.company);
    let config = Config { storage_url: Some(format!("file://{store}")), ..config() };
    let admin = acme.admin.at(&start_server(config, &api_url()));
    let logo = admin.upload("/api/files/upload", "logo.png", "image/png", png()).await.expect(200);
    admin.put(&company, json!({"logo_url": logo["url"]})).await.expect(200);
    for object in std::fs::read_dir(format!("{store}/{}", acme.company)).unwrap() {
        let object = object.unwrap().path();
        std::fs::remove_file(&object).unwrap();
        std::os::unix::fs::symlink(&object, &object).unwrap();
    }
    admin.get(logo["url"].as_str().unwrap()).await.detail(502);
    assert_eq!(printed(&admin, &bare).await.len(), 1);

    // Many lines take several pages; another currency has other digits; names in any script print.
    acme.db
        .execute(
            "update companies set currency = 'JPY', name = name || ' Αθήνα 東京 القاهرة' where id = $1",
            &[&acme.company],
        )
        .await
        .unwrap();
    let lines: Vec<Value> = (1..=80).map(|n| json!({"description": format!("Part {n} {}", "with a long name ".repeat(n % 9)), "unit_price": 1000 + n})).collect();
    let long = quote(&acme.admin, json!({"title": "Επίσημη προσφορά для 東京", "amount": 1, "terms": "A sentence of the terms. ".repeat(300), "line_items": lines})).await;
    let pages = printed(&acme.admin, &long).await;
    assert!(pages.len() >= 4, "{}", pages.len());
    for (n, page) in pages.iter().enumerate() {
        assert!(page.contains(&format!("Page{}of{}", n + 1, pages.len())), "{page}");
    }
    let text = pages.concat();
    for n in 1..=80 {
        assert!(text.contains(&format!("Part{n}")), "{n}");
    }
    assert!(
        pages[0].contains(&dense("Επίσημη προσφορά для 東京")) && text.contains("1,080") && text.contains("JPY1"),
        "{}",
        pages[0]
    );
    let scripts = "Ελλάδα Україна Việt العربية עברית हिन्दी বাংলা தமிழ் తెలుగు ಕನ್ನಡ മലയാളം ગુજરાતી ਪੰਜਾਬੀ ଓଡ଼ିଆ සිංහල ไทย ລາວ \
        ភាសាខ្មែរ မြန်မာ ქართული Հայերեն አማርኛ 日本語 简体中文 한국어 뷁 ✓ ✗ → ≤ √ ① Ⅳ ★ ● ☎ € ₹ ₿ 😀 👍🏽";
    let all =
        quote(&acme.admin, json!({"title": scripts, "line_items": [{"description": scripts, "unit_price": 1}]})).await;
    printed(&acme.admin, &all).await;
}

/// Totals are exact, percentages have four decimals, and days are in the company's time zone.
#[tokio::test]
async fn a_quote_is_printed_as_it_was_made() {
    let acme = World::new().await;
    let line =
        |tax: f64, quantity: f64| json!([{"description": "L", "quantity": quantity, "unit_price": 100, "tax": tax}]);
    for (tax, quantity) in [(8.875_01, 1.0), (10.0, 1.0005)] {
        let new = json!({"title": "Too exact", "amount": 1, "line_items": line(tax, quantity)});
        acme.admin.post("/api/quotes/", new).await.expect(422);
    }
    let made = quote(&acme.admin, json!({"title": "Taxed", "amount": 2, "line_items": line(8.875, 1.005)})).await;
    assert_eq!(made["line_items"][0]["tax"], json!(8.875));
    acme.db
        .execute("update companies set timezone = 'Pacific/Kiritimati' where id = $1", &[&acme.company])
        .await
        .unwrap();
    let at = "update quotes set created_at = '2026-06-30 20:00Z' where tenant_id = $1";
    acme.db.execute(at, &[&acme.company]).await.unwrap();
    let page = printed(&acme.member, &made).await.concat();
    for part in ["8.875 %", "1.005", "1.01", "2026-07-01", "Pacific/Kiritimati"] {
        assert!(page.contains(&dense(part)), "{part} is not in {page}");
    }
    let renamed = "update quotes set quote_number = 'Предложение' where tenant_id = $1";
    acme.db.execute(renamed, &[&acme.company]).await.unwrap();
    let answer = acme.member.get(&format!("{}/download", path(&made))).await;
    let name = answer.headers["content-disposition"].to_str().unwrap().to_owned();
    assert!(name.contains("filename*=UTF-8''%D0%9F") && name.ends_with("%2Epdf"), "{name}");
}

#[tokio::test]
async fn documents_of_one_company_do_not_hold_up_anothers() {
    let (acme, other) = (World::new().await, World::new().await);
    let (own, others) = (quote(&acme.admin, json!({})).await, quote(&other.admin, json!({})).await);
    let print = |who: &Person, quote: &Value| {
        let request = who.request("GET", &format!("{}/download", path(quote)));
        tokio::spawn(async move { request.send().await.unwrap().status().as_u16() })
    };
    // As while a long document is made: other requests of the company wait, and those of others do not.
    let long = ringfence::pdf::permit(acme.company).await.unwrap();
    let many: Vec<_> = (0..6).map(|_| print(&acme.admin, &own)).collect();
    assert_eq!(print(&other.admin, &others).await.unwrap(), 200);
    assert!(many.iter().all(|one| !one.is_finished()));
    drop(long);
    for one in many {
        assert_eq!(one.await.unwrap(), 200);
    }
}

/// Days that PostgreSQL can store but a calendar cannot are shown as the nearest one, and infinity as no day.
#[tokio::test]
async fn days_beyond_the_calendar_are_shown_and_printed() {
    let acme = World::new().await;
    let made = quote(&acme.admin, json!({})).await;
    for (odd, day, until) in [
        ("infinity", "9999-12-30", json!(null)),
        ("-infinity", "0001-01-01", json!(null)),
        ("0044-03-15 BC", "0001-01-01", json!("0001-01-01")),
        ("20000-01-01", "9999-12-30", json!("9999-12-31")),
        ("2026-03-15", "2026-03-15", json!("2026-03-15")),
    ] {
        let set = "update quotes set created_at = ($2::text::date)::timestamp at time zone 'UTC',
            valid_until = $2::text::date where tenant_id = $1";
        acme.db.execute(set, &[&acme.company, &odd]).await.unwrap();
        assert_eq!(acme.admin.get(&path(&made)).await.expect(200)["valid_until"], until, "{odd}");
        let page = printed(&acme.admin, &made).await.concat();
        assert!(page.contains(day) && page.contains(until.as_str().unwrap_or("N/A")), "{odd}: {page}");
    }
}

/// Settings of the database for sessions are meant for other programs.
#[tokio::test(flavor = "multi_thread")]
async fn a_day_is_written_the_same_whatever_the_database_says() {
    let own = OwnDatabase::new().await;
    let admin = db::connect(&own.admin).await.unwrap();
    for setting in
        ["datestyle = 'SQL, DMY'", "timezone = 'Asia/Tokyo'", "intervalstyle = 'iso_8601'", "bytea_output = 'escape'"]
    {
        admin.batch_execute(&format!("alter database {} set {setting}", own.name)).await.unwrap();
    }
    let acme = World::alone(&own).await;
    let quote = json!({"title": "A day", "amount": 1, "valid_until": "2026-12-16"});
    let made = acme.admin.post("/api/quotes/", quote).await.expect(201);
    assert_eq!(made["valid_until"], json!("2026-12-16"));
    let url = format!("/api/quotes/{}", made["id"].as_str().unwrap());
    assert_eq!(acme.admin.get(&url).await.expect(200)["valid_until"], json!("2026-12-16"));
    drop((acme, admin));
    own.drop().await;
}
