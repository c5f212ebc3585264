//! The page at `/` and its files: everything it needs is in the binary, and nothing is loaded from elsewhere.

use std::io::Read;
use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, VARY,
};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;

use super::problem::{Code, Problem};
use super::turns::blocking;

static INDEX: LazyLock<String> =
    LazyLock::new(|| include_str!("index.html").replace("{version}", env!("CARGO_PKG_VERSION")));
const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("page.js");
const CHARTS: &str = include_str!("charts.js");
const ICON: &str = include_str!("icon.svg");

/// Scripts and data come from the daemon alone. plotly.js writes styles inline, and draws pictures from `data:`
/// and `blob:` addresses; it needs nothing else.
const POLICY: &str = "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data: blob:; connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";

/// plotly.js, compressed by the build script: served so, because nearly every browser takes it so.
static PLOTLY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/plotly.js.zst"));

/// plotly.js, for a page that must need nothing else.
///
/// # Errors
/// When it cannot be read from the binary.
pub fn plotly_js() -> std::io::Result<String> {
    let mut plain = String::new();
    zstd::Decoder::new(PLOTLY)?.read_to_string(&mut plain)?;
    Ok(plain)
}

pub async fn index() -> Response {
    let mut response = text("text/html; charset=utf-8", &INDEX);
    response
        .headers_mut()
        .insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    response
}

pub async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Result<Response, Problem> {
    match name.as_str() {
        "style.css" => Ok(text("text/css; charset=utf-8", STYLE)),
        "page.js" => Ok(text("text/javascript; charset=utf-8", SCRIPT)),
        "charts.js" => Ok(text("text/javascript; charset=utf-8", CHARTS)),
        "icon.svg" => Ok(text("image/svg+xml", ICON)),
        "plotly.js" => plotly(&headers).await,
        _ => Err(Problem::new(Code::NotFound, "the page has no such file")),
    }
}

/// A file that changes with the daemon: never older than what it talks to.
fn text(media: &'static str, body: &'static str) -> Response {
    ([(CONTENT_TYPE, media), (CACHE_CONTROL, "no-cache")], body).into_response()
}

async fn plotly(headers: &HeaderMap) -> Result<Response, Problem> {
    let compressed = takes_zstd(headers);
    let body = if compressed {
        Bytes::from_static(PLOTLY)
    } else {
        blocking(plotly_js)
            .await?
            .map(Bytes::from)
            .map_err(|error| {
                tracing::error!(%error, "plotly.js could not be read from the binary");
                Problem::new(Code::Internal, "the charts are not available")
            })?
    };
    let mut response = (
        [
            (CONTENT_TYPE, "text/javascript; charset=utf-8"),
            // The address carries the daemon's version, so that an update is seen at once.
            (CACHE_CONTROL, "public, max-age=31536000, immutable"),
            (VARY, "accept-encoding"),
        ],
        body,
    )
        .into_response();
    if compressed {
        response
            .headers_mut()
            .insert(CONTENT_ENCODING, HeaderValue::from_static("zstd"));
    }
    Ok(response)
}

/// True when the client lists `zstd` without the weight 0.
fn takes_zstd(headers: &HeaderMap) -> bool {
    headers
        .get_all(ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|coding| {
            let mut parts = coding.split(';').map(str::trim);
            let named = parts
                .next()
                .is_some_and(|name| name.eq_ignore_ascii_case("zstd"));
            let refused = parts.any(|part| {
                part.strip_prefix("q=")
                    .is_some_and(|weight| weight.parse() == Ok(0.0_f32))
            });
            named && !refused
        })
}
