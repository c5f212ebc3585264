use super::*;

#[tokio::test]
async fn the_page_loads_nothing_from_elsewhere_and_runs_no_inline_script() {
    let house = House::new();
    let page = house.get("/").await;
    assert_eq!(page.status, 200);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    let policy = page.header("content-security-policy");
    assert!(
        policy.contains("default-src 'self'") && policy.contains("script-src 'self';"),
        "{policy}"
    );
    let html = page.text();
    assert!(!html.contains("://"), "an address of somewhere else");
    assert!(!html.contains("{version}") && html.contains(env!("CARGO_PKG_VERSION")));
    for inline in [
        "onclick",
        "onload",
        "onsubmit",
        "<style",
        " style=",
        "<script>",
        "javascript:",
    ] {
        assert!(!html.contains(inline), "{inline}");
    }
}

#[tokio::test]
async fn every_file_the_page_names_is_served_with_its_type() {
    let house = House::new();
    let page = house.get("/").await;
    let html = page.text();
    let named: Vec<&str> = ["src=\"", "href=\""]
        .into_iter()
        .flat_map(|mark| html.split(mark).skip(1))
        .filter_map(|rest| rest.split('"').next())
        .filter(|address| address.starts_with("/assets/"))
        .collect();
    assert_eq!(named.len(), 5, "{named:?}");
    for address in named {
        let file = house.get(address).await;
        assert_eq!(file.status, 200, "{address}");
        let kind = file.header("content-type").to_owned();
        assert!(
            kind.starts_with("text/javascript")
                || kind.starts_with("text/css")
                || kind == "image/svg+xml",
            "{address}: {kind}"
        );
    }
    house
        .get("/assets/nothing.js")
        .await
        .problem(404, "not_found");
}

#[tokio::test]
async fn every_link_of_the_page_leads_somewhere() {
    let house = House::serving(0);
    house.board.store(Some(Arc::new(board_of(2))));
    let page = house.get("/").await;
    let links = page.text().split("<a href=\"").skip(1);
    let links: Vec<String> = links
        .map(|rest| rest.split('"').next().unwrap().to_owned())
        .collect();
    assert!(links.len() >= 4);
    for link in links {
        assert_eq!(house.get(&link).await.status, 200, "{link}");
    }
}

#[tokio::test]
async fn every_element_that_the_scripts_look_up_exists_once() {
    let house = House::new();
    let page = house.get("/").await;
    for file in ["/assets/page.js", "/assets/charts.js"] {
        let script = house.get(file).await;
        let mut names = 0;
        for mark in [
            "element(\"",
            "show(\"",
            "fill(\n      \"",
            "Plotly.react(\"",
        ] {
            for rest in script.text().split(mark).skip(1) {
                let id = rest.split('"').next().unwrap();
                assert_eq!(
                    page.text().matches(&format!("id=\"{id}\"")).count(),
                    1,
                    "{id}"
                );
                names += 1;
            }
        }
        assert!(names >= 2, "{file}");
    }
}

#[tokio::test]
async fn plotly_comes_whole_and_compressed_and_stays_in_the_browser() {
    let house = House::new();
    let plain = house.get("/assets/plotly.js").await;
    assert!(plain.text().starts_with("/**\n* plotly.js v"));
    assert!(plain.text().trim_end().ends_with('}') || plain.text().trim_end().ends_with(';'));
    assert!(!plain.text().contains("MathJax.loader"));
    assert!(plain.header("cache-control").contains("max-age=31536000"));
    assert_eq!(plain.header("content-encoding"), "");
    let mut request = request("GET", "/assets/plotly.js");
    let codings = "gzip, deflate, br, zstd".parse().unwrap();
    request.headers_mut().insert("accept-encoding", codings);
    let small = ask(house.public(), request).await;
    assert_eq!(small.header("content-encoding"), "zstd");
    assert_eq!(small.header("vary"), "accept-encoding");
    assert!(small.body.len() * 3 < plain.body.len());
    assert_eq!(zstd::decode_all(small.body.as_ref()).unwrap(), plain.body);
}

#[tokio::test]
async fn a_client_that_refuses_a_coding_does_not_get_it() {
    let house = House::new();
    let mut request = request("GET", "/assets/plotly.js");
    request
        .headers_mut()
        .insert("accept-encoding", "zstd;q=0, gzip".parse().unwrap());
    assert_eq!(
        ask(house.public(), request)
            .await
            .header("content-encoding"),
        ""
    );
}
