// The values and tables of the page. Events come over one streamed response; charts.js draws what is kept here.
"use strict";

(() => {
  const HISTORY_POINTS = 600;
  const HISTORY_MAX = 1200;
  const SILENCE_MS = 15000;
  const RETRY_MS = 1000;
  const TOKEN = "skewd.token";

  const skewd = { board: null, history: [] };
  window.skewd = skewd;

  const element = (id) => document.getElementById(id);
  const show = (id, text) => {
    const target = element(id);
    if (target.textContent !== text) {
      target.textContent = text;
    }
  };

  const whole = new Intl.NumberFormat("en");
  const count = (value) => (Number.isFinite(value) ? whole.format(Math.round(value)) : "–");
  const share = (value) => (Number.isFinite(value) ? `${(100 * value).toPrecision(3)} %` : "–");
  const score = (value) => (Number.isFinite(value) ? value.toFixed(4) : "–");
  const number = (value) => {
    if (!Number.isFinite(value)) {
      return "–";
    }
    const small = value !== 0 && Math.abs(value) < 1e-4;
    return small ? value.toExponential(2) : value.toPrecision(4);
  };
  const lambda = (value) => (value === "inf" ? "∞" : Number.isFinite(value) ? String(value) : "–");

  function headers() {
    const token = sessionStorage.getItem(TOKEN);
    return token ? { authorization: `Bearer ${token}` } : {};
  }

  // Rows are reused, so that a selection in the table survives an update.
  function fill(id, rows) {
    const body = element(id).tBodies[0];
    while (body.rows.length > rows.length) {
      body.deleteRow(-1);
    }
    rows.forEach((cells, index) => {
      const row = body.rows[index] || body.insertRow();
      cells.forEach(({ text, title = "", wrong = false, bar = 0 }, column) => {
        const cell = row.cells[column] || row.insertCell();
        if (cell.textContent !== text) {
          cell.textContent = text;
        }
        cell.title = title;
        cell.classList.toggle("wrong", wrong);
        cell.style.setProperty("--bar", `${100 * bar}%`);
      });
    });
  }

  function state(board) {
    const source = board.source;
    if (board.draining) {
      return ["wait", "shutting down", ""];
    }
    if (source.state === "halted") {
      return ["bad", "training halted", source.detail];
    }
    if (board.paused) {
      return ["wait", "paused", `${source.detail}; predictions go on`];
    }
    if (source.state !== "running") {
      return ["wait", source.state, source.detail];
    }
    if (board.discovering) {
      const { seen, wanted, unlabelled, bad } = board.discovering;
      const useless = unlabelled + bad > 0 ? `; ${count(unlabelled)} without a label, ${count(bad)} bad` : "";
      return ["wait", "looking at the first records", `${count(seen)} of ${count(wanted)}${useless}`];
    }
    return board.ready ? ["good", "learning", source.detail] : ["wait", "waiting for examples", source.detail];
  }

  function tell(level, word, detail) {
    element("state").dataset.level = level;
    show("state-value", word);
    show("state-detail", detail);
  }

  function tiles(board) {
    const weights = board.weights;
    show("examples-value", count(board.examples));
    show("loss-value", number(board.loss));
    show("prauc-value", score(board.pr_auc));
    show("balanced-value", score(board.balanced_accuracy));
    show("lambda-value", weights ? lambda(weights.lambda) : "–");
    show("ess-value", weights ? share(weights.effective_sample_size) : "–");
    show("rate-value", count(board.examples_per_second));
    show("lag-value", count(board.source.lag));
    show("version-value", count(board.model_version));
    show("source-kind", `source: ${board.source.kind}`);
    show("checkpoint-value", board.digest_examples === null ? "–" : `at ${count(board.digest_examples)}`);
    if (board.counts) {
      const rejected = Object.values(board.counts.rejected).reduce((sum, one) => sum + one, 0);
      show("rejected-value", count(rejected));
      show("unlabelled-value", count(board.counts.unlabelled));
      show("nonfinite-value", count(board.counts.nonfinite_steps));
    }
  }

  // Most frequent first; equal ones by name, so that the order is calm.
  function classes(board) {
    const known = board.weights ? Object.entries(board.weights.classes) : [];
    return known.sort((a, b) => b[1].examples - a[1].examples || (a[0] < b[0] ? -1 : 1));
  }

  // The heaviest first.
  function learners(board) {
    element("learners").hidden = board.learners.length === 0;
    const voices = [...board.learners].sort((a, b) => b.share - a.share || (a.name < b.name ? -1 : 1));
    fill(
      "voices",
      voices.map((voice) => [
        { text: voice.name },
        { text: share(voice.share), bar: voice.share },
        { text: score(voice.score ?? NaN) },
        { text: voice.score_interval ? voice.score_interval.map(score).join(" to ") : "–" },
      ]),
    );
  }

  // The newest first.
  function warnings(board) {
    element("warnings").hidden = board.warnings.length === 0;
    const newest = [...board.warnings].reverse();
    fill(
      "concerns",
      newest.map((warning) => [
        { text: warning.message, title: `${warning.kind}: ${warning.subject}` },
        { text: count(warning.examples) },
      ]),
    );
  }

  function tables(board) {
    learners(board);
    warnings(board);
    fill(
      "classes",
      classes(board).map(([name, figures]) => [
        { text: name, title: name },
        { text: count(figures.examples) },
        { text: share(figures.example_share) },
        { text: share(figures.weight_share) },
        { text: number(figures.mean_weight) },
      ]),
    );
    fill(
      "hardest",
      board.hardest.map((example) => {
        const place = `${example.partition}:${example.offset}`;
        const named = example.id === null ? place : example.id;
        return [
          { text: named, title: `partition ${example.partition}, offset ${example.offset}, step ${example.step}` },
          { text: example.label },
          {
            text: example.prediction === null ? "–" : example.prediction,
            wrong: example.prediction !== null && example.prediction !== example.label,
          },
          { text: number(example.loss) },
          { text: number(example.trail.length > 0 ? example.trail[example.trail.length - 1].loss : NaN) },
          { text: number(example.weight) },
        ];
      }),
    );
  }

  let loading = false;

  // The past comes once something was learned, and again when the present has made it too long.
  async function remember(board) {
    const point = board.point;
    if (loading || !point) {
      return;
    }
    if (skewd.history.length > 0 && skewd.history.length < HISTORY_MAX) {
      const last = skewd.history[skewd.history.length - 1];
      if (point.step > last.step) {
        skewd.history.push(point);
        return;
      }
      if (point.step === last.step) {
        return;
      }
    }
    loading = true;
    try {
      const answer = await fetch(`/v1/weights?points=${HISTORY_POINTS}`, { headers: headers() });
      if (answer.ok) {
        skewd.history = (await answer.json()).history;
      }
    } finally {
      loading = false;
    }
  }

  function take(board) {
    skewd.board = board;
    tell(...state(board));
    tiles(board);
    tables(board);
    remember(board)
      .catch(() => {})
      .then(() => document.dispatchEvent(new Event("skewd")));
  }

  // Server-sent events by hand: EventSource can send no token.
  async function read(body, heard) {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) {
        return;
      }
      heard();
      const events = (text + value).split("\n\n");
      text = events.pop();
      for (const event of events) {
        const data = event
          .split("\n")
          .filter((line) => line.startsWith("data:"))
          .map((line) => line.slice(5).trimStart());
        if (data.length > 0) {
          take(JSON.parse(data.join("\n")));
        }
      }
    }
  }

  async function listen() {
    const abort = new AbortController();
    let clock = 0;
    const heard = () => {
      clearTimeout(clock);
      clock = setTimeout(() => abort.abort(), SILENCE_MS);
    };
    heard();
    try {
      const answer = await fetch("/v1/events", { headers: headers(), signal: abort.signal });
      if (answer.status === 401) {
        sessionStorage.removeItem(TOKEN);
        element("token-form").hidden = false;
        tell("wait", "a token is needed", "");
        return;
      }
      if (answer.ok) {
        await read(answer.body, heard);
      }
    } finally {
      clearTimeout(clock);
    }
    throw new Error("the stream ended");
  }

  function follow() {
    listen().catch(() => {
      tell("bad", "no connection", "trying again");
      setTimeout(follow, RETRY_MS);
    });
  }

  skewd.classes = classes;
  element("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    sessionStorage.setItem(TOKEN, element("token").value.trim());
    element("token").value = "";
    element("token-form").hidden = true;
    follow();
  });
  follow();
})();
