/* Three plots of the last 15 minutes; they stretch to any width, and say their numbers to pointers, keys and readers. */
const WIDTH = 900;
const HEIGHT = 100;
const history = { bucketS: 10, buckets: 90, epoch: 0, whole: new Map(), of: new Map() };

const keepHistory = (told) => {
  history.bucketS = told.bucket_s;
  history.buckets = told.buckets;
  history.epoch = told.epoch;
  const add = (track, rows) => { for (const row of rows) track.set(row.number, row); };
  add(history.whole, told.whole);
  for (const [name, rows] of Object.entries(told.by_deployment)) {
    if (!history.of.has(name)) history.of.set(name, new Map());
    add(history.of.get(name), rows);
  }
};
const forgetHistory = () => { history.whole.clear(); history.of.clear(); };
const EMPTY = { ok: 0, limited: 0, refused: 0, failed: 0, left: 0, p50_s: null, p95_s: null, p99_s: null, first_content_p95_s: null, tokens: 0, cost_usd: 0 };
const trackOf = (name) => (name ? history.of.get(name) || new Map() : history.whole);
const total = (row) => row.ok + row.limited + row.refused + row.failed + row.left;

/* The 90 buckets up to `now`, those in which nothing happened included. */
const rowsOf = (track, now) => {
  const last = Math.floor((now - history.epoch) / history.bucketS);
  const oldest = last - history.buckets + 1;
  for (const number of track.keys()) if (number < oldest) track.delete(number);
  return Array.from({ length: history.buckets }, (_, i) => {
    const number = oldest + i;
    const row = track.get(number) || EMPTY;
    const at = history.epoch + number * history.bucketS;
    const lasted = number === last ? Math.min(history.bucketS, Math.max(3, now - at)) : history.bucketS;
    return { ...row, at, lasted, all: total(row) };
  });
};

const niceTop = (most, least) => {
  if (!(most > least)) return least;
  const step = 10 ** Math.floor(Math.log10(most));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map((n) => n * step).find((n) => n >= most * 1.02) || 10 * step;
};

const PLOTS = [
  {
    id: "rate", title: "Requests a second", least: 1, kinds: KINDS,
    label: (n) => (n >= 10 ? count(n) : String(Number(n.toFixed(2)))),
    top: (rows) => Math.max(...rows.map((r) => r.all / r.lasted)),
    legend: (rows) => KINDS.map((kind) => [kind, "", KIND_WORDS[kind], short(rows.reduce((sum, r) => sum + r[kind], 0))]),
    tip: (r) => [`${rate(r.all / r.lasted)} a second`, ...KINDS.filter((k) => r[k]).map((k) => `${KIND_WORDS[k]} ${count(r[k])}`)],
    says: (rows) => `Now ${rate(lastFull(rows).all / history.bucketS)}, at most ${rate(Math.max(...rows.map((r) => r.all / r.lasted)))}.`,
  },
  {
    id: "latency", title: "Latency of answers", least: 0.05, lines: { p50: (r) => r.p50_s, p95: (r) => r.p95_s, p99: (r) => r.p99_s },
    label: (n) => (n === 0 ? "0" : seconds(n).replace(/\.00? s/, " s").replace(/(\.\d)0 s/, "$1 s")),
    top: (rows) => Math.max(...rows.map((r) => r.p99_s || 0)),
    legend: (rows) => [["p50", "rule", "p50"], ["p95", "rule dash", "p95"], ["p99", "rule dots", "p99"]].map(([k, mark, name]) => [k, mark, name, seconds(newest(rows, `${k}_s`))]),
    tip: (r) => (r.p50_s === null ? ["no answer"] : [`p50 ${seconds(r.p50_s)}`, `p95 ${seconds(r.p95_s)}`, `p99 ${seconds(r.p99_s)}`, `TTFT p95 ${seconds(r.first_content_p95_s)}`]),
    says: (rows) => `Newest: p50 ${seconds(newest(rows, "p50_s"))}, p95 ${seconds(newest(rows, "p95_s"))}, p99 ${seconds(newest(rows, "p99_s"))}.`,
  },
  {
    id: "errors", title: "Share that was not answered", least: 0.05, lines: { failed: (r) => (r.all ? r.failed / r.all : null), limited: (r) => (r.all ? r.limited / r.all : null) },
    label: (n) => `${Number((n * 100).toFixed(1))}%`,
    cap: 1,
    top: (rows) => Math.max(...rows.map((r) => (r.all ? Math.max(r.failed, r.limited) / r.all : 0))),
    legend: (rows) => [["failed", "rule", "failed"], ["limited", "rule dash", "limited"]].map(([k, mark, name]) => [k, mark, name, share(sum(rows, k), sum(rows, "all"))]),
    tip: (r) => (r.all ? [`failed ${share(r.failed, r.all)} (${count(r.failed)})`, `limited ${share(r.limited, r.all)} (${count(r.limited)})`, `of ${count(r.all)} requests`] : ["no request"]),
    says: (rows) => `Failed ${share(sum(rows, "failed"), sum(rows, "all"))}, limited ${share(sum(rows, "limited"), sum(rows, "all"))} of ${count(sum(rows, "all"))} requests.`,
  },
];
const sum = (rows, key) => rows.reduce((so_far, row) => so_far + row[key], 0);
const newest = (rows, key) => { for (let i = rows.length - 1; i >= 0; i--) if (rows[i][key] !== null) return rows[i][key]; return null; };
const lastFull = (rows) => rows[rows.length - 2];

for (const plot of PLOTS) {
  plot.svg = svgEl("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" });
  plot.area = el("div", { class: "area", tabindex: "0", role: "img", id: `plot-${plot.id}` }, plot.svg);
  plot.key = el("ul", { class: "legend" });
  plot.ticks = [0, 0.5, 1].map((part) => {
    const tick = el("span", { class: "y", "aria-hidden": "true" });
    tick.style.bottom = `${part * 100}%`;
    plot.area.append(tick);
    return [part, tick];
  });
  for (const [at, text] of [[0, "−15 min"], [1 / 3, "−10"], [2 / 3, "−5"], [1, "now"]]) {
    const label = el("span", { class: at === 1 ? "x last" : "x", "aria-hidden": "true", text });
    label.style.left = `${at * 100}%`;
    plot.area.append(label);
  }
  $("plots").append(el("figure", { class: "plot" }, el("h3", { text: plot.title }), plot.key, plot.area, el("div", { class: "foot" })));
  plot.area.addEventListener("pointermove", (event) => {
    const box = plot.area.getBoundingClientRect();
    point(plot, Math.floor(((event.clientX - box.left) / box.width) * history.buckets), event.clientX, event.clientY);
  });
  plot.area.addEventListener("pointerleave", () => point(plot, null));
  plot.area.addEventListener("blur", () => point(plot, null));
  plot.area.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -6, PageDown: 6, Home: -1000, End: 1000 };
    if (event.key === "Escape") { point(plot, null); return; }
    if (!(event.key in steps) || !plot.rows) return;
    event.preventDefault();
    const box = plot.area.getBoundingClientRect();
    const at = Math.max(0, Math.min(plot.rows.length - 1, (plot.at ?? plot.rows.length - 1) + steps[event.key]));
    point(plot, at, box.left + ((at + 0.5) / plot.rows.length) * box.width, box.top + 10);
  });
}

/* Show the numbers of one bucket beside the pointer; null: of none. */
const point = (plot, at, x, y) => {
  const tip = $("tip");
  const row = at === null ? undefined : plot.rows?.[at];
  plot.at = row ? at : null;
  plot.hair?.remove();
  if (!row) { tip.hidden = true; return; }
  const place = ((at + 0.5) / plot.rows.length) * WIDTH;
  plot.hair = svgEl("line", { x1: place, x2: place, y1: 0, y2: HEIGHT, class: "hair" });
  plot.svg.append(plot.hair);
  put(tip, [clock(row.at), ...plot.tip(row)].join("\n"));
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  const left = x + 14 + box.width <= root.clientWidth ? x + 14 : x - 14 - box.width;
  tip.style.left = `${Math.max(4, left)}px`;
  tip.style.top = `${Math.max(4, Math.min(y + 14, innerHeight - box.height - 4))}px`;
  set(plot.area, "aria-label", `${plot.title}, ${clock(row.at)}: ${plot.tip(row).join(", ")}`);
};

const drawPlots = (now) => {
  const rows = rowsOf(trackOf($("of").value), now);
  for (const plot of PLOTS) {
    plot.rows = rows;
    const top = Math.min(plot.cap || Infinity, niceTop(plot.top(rows), plot.least));
    const marks = [0.5, 1].map((part) => svgEl("line", { x1: 0, x2: WIDTH, y1: HEIGHT * (1 - part), y2: HEIGHT * (1 - part), class: "grid" }));
    if (plot.kinds) marks.push(...bars(rows, top));
    else for (const [name, value] of Object.entries(plot.lines)) marks.push(line(rows, value, top, name));
    marks.push(svgEl("line", { x1: 0, x2: WIDTH, y1: HEIGHT, y2: HEIGHT, class: "base" }));
    plot.svg.replaceChildren(...marks, ...(plot.hair && plot.at !== null ? [plot.hair] : []));
    for (const [part, tick] of plot.ticks) put(tick, plot.label(top * part));
    plot.key.replaceChildren(...plot.legend(rows).map(([c, mark, name, value]) => el("li", { class: `c-${c}` }, el("i", { class: mark, "aria-hidden": "true" }), `${name} `, el("b", { text: value }))));
    if (plot.at === null || plot.at === undefined) set(plot.area, "aria-label", `${plot.title} over the last 15 minutes. ${plot.says(rows)} Arrow keys read single values.`);
  }
  if ($("numbers").open) drawNumbers(rows);
};

const bars = (rows, top) => {
  const wide = WIDTH / rows.length;
  return KINDS.map((kind, which) => {
    let path = "";
    rows.forEach((row, i) => {
      if (!row[kind]) return;
      const below = KINDS.slice(0, which).reduce((so_far, k) => so_far + row[k], 0) / row.lasted;
      const high = row[kind] / row.lasted;
      const y = HEIGHT * (1 - (below + high) / top);
      path += `M${(i * wide + wide * 0.12).toFixed(2)} ${y.toFixed(3)}h${(wide * 0.76).toFixed(2)}v${((HEIGHT * high) / top).toFixed(3)}h${(-wide * 0.76).toFixed(2)}z`;
    });
    return svgEl("path", { d: path, class: `bar b-${kind}` });
  });
};

const line = (rows, value, top, name) => {
  let path = "";
  let drawing = false;
  rows.forEach((row, i) => {
    const v = value(row);
    if (v === null) { drawing = false; return; }
    const x = ((i + 0.5) / rows.length) * WIDTH;
    const y = HEIGHT * (1 - Math.min(1, v / top));
    /* A value between two gaps is a short dash: a line of one point would be none. */
    const alone = !drawing && (rows[i + 1] === undefined || value(rows[i + 1]) === null);
    path += alone ? `M${(x - 3).toFixed(1)} ${y.toFixed(2)}h6` : `${drawing ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(2)}`;
    drawing = true;
  });
  return svgEl("path", { d: path, class: `line l-${name}` });
};

const drawNumbers = (rows) => {
  $("numbers-rows").replaceChildren(...rows.filter((r) => r.all).reverse().map((r) => el("tr", {},
    el("th", { scope: "row", text: clock(r.at) }),
    ...[count(r.ok), count(r.limited), count(r.refused), count(r.failed), count(r.left), seconds(r.p50_s), seconds(r.p95_s), seconds(r.p99_s), seconds(r.first_content_p95_s), count(r.tokens), usd(r.cost_usd)].map((text) => el("td", { text })))));
};

const spark = (svg, rows) => {
  const most = Math.max(1, ...rows.map((r) => r.all));
  const wide = WIDTH / rows.length;
  const paths = { ok: "", limited: "", failed: "" };
  rows.forEach((r, i) => {
    if (!r.all) return;
    const parts = [["ok", r.ok + r.left], ["limited", r.limited + r.refused], ["failed", r.failed]];
    let below = 0;
    for (const [kind, n] of parts) {
      if (!n) continue;
      const high = (n / most) * HEIGHT;
      paths[kind] += `M${(i * wide + 1).toFixed(1)} ${(HEIGHT - below - high).toFixed(2)}h${(wide - 2).toFixed(1)}v${high.toFixed(2)}h${(2 - wide).toFixed(1)}z`;
      below += high;
    }
  });
  svg.replaceChildren(...Object.entries(paths).map(([kind, d]) => svgEl("path", { d, class: `bar b-${kind}` })), svgEl("line", { x1: 0, x2: WIDTH, y1: HEIGHT, y2: HEIGHT, class: "base" }));
};
