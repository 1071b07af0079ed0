/* The last requests: newest first, filtered here, each opens to its attempts. */
const KEEP = 100;
let requests = [];
let held = null;
const rowNodes = new Map();
const opened = new Set();

const keepRequests = (rows, anew = false) => {
  requests = anew ? rows.slice(-KEEP) : [...requests, ...rows].slice(-KEEP);
  if (anew) { rowNodes.clear(); opened.clear(); held = null; $("hold").setAttribute("aria-pressed", "false"); }
  drawRequests();
};

const matches = (r, text, kind) => (!kind || r.kind === kind) && (!text || [r.caller, r.model, r.deployment, r.outcome, r.request_id, r.door].some((part) => part.toLowerCase().includes(text)));

const outcome = (kind, text) => el("span", { class: `out c-${kind}` }, el("i", { "aria-hidden": "true" }), el("span", { text }));
const outcomeWords = (r) => (r.kind === "ok" ? (r.fell_back ? "ok, fell back" : r.retries ? "ok, retried" : "ok") : r.kind === "left" ? "caller left" : words(r.outcome));

const makeRow = (r) => {
  const made = {};
  made.button = el("button", { type: "button", class: "more", "aria-expanded": "false", "aria-label": `Request of ${clock(r.at)}, details`, text: clock(r.at), onclick: () => toggle(r, made) });
  const cell = (text, attributes = {}) => el("td", { title: text.length > 14 ? text : null, ...attributes, text });
  made.row = el("tr", {},
    el("td", {}, made.button),
    el("td", { title: outcomeWords(r) }, outcome(r.kind, outcomeWords(r))),
    cell(r.caller || NONE, { class: "w1" }), cell(r.model || NONE), cell(r.deployment || NONE, { class: "w2" }),
    cell(r.attempts ? String(r.attempts) : NONE, { class: "n w1" }), cell(seconds(r.first_content_s), { class: "n w2" }), cell(seconds(r.elapsed_s), { class: "n" }),
    cell(r.input_tokens === null ? NONE : `${short(r.input_tokens)} + ${short(r.output_tokens)}`, { class: "n w3" }), cell(usd(r.cost_usd), { class: "n w1" }));
  return made;
};

const toggle = (r, made) => {
  const open = !opened.has(r.number);
  if (open) opened.add(r.number);
  else opened.delete(r.number);
  made.button.setAttribute("aria-expanded", String(open));
  if (open) {
    made.inside ||= inside(r);
    made.row.after(made.inside);
  } else made.inside?.remove();
};

const inside = (r) => {
  const facts = [
    ["request", r.request_id], ["door", r.door || "no such route"], ["status", String(r.status)], ["caller", r.caller || NONE], ["model", r.model || NONE],
    ["answered by", r.deployment || NONE], ["limited by", r.limited_by], ["streamed", r.stream ? "yes" : null], ["waited", seconds(r.queued_s)], ["upstream", seconds(r.upstream_s)],
    ["gateway itself", seconds(r.overhead_s)], ["TTFT", r.first_content_s === null ? null : seconds(r.first_content_s)],
    ["tokens", r.input_tokens === null ? null : `${count(r.input_tokens)} in, ${count(r.output_tokens)} out`], ["cost", usd(r.cost_usd)],
  ];
  const tried = r.tried.map((a, i) => el("li", {}, `${i + 1}.`, el("span", { text: a.deployment }), outcome(a.outcome === "ok" ? "ok" : a.outcome === "cancelled" ? "left" : a.outcome === "rate_limited" ? "limited" : "failed", words(a.outcome)), el("span", { class: "soft", text: `${seconds(a.elapsed_s)}, ${usd(a.cost_usd)}` })));
  const missing = r.attempts && !r.tried.length ? el("p", { class: "soft", text: "Its attempts are no longer kept." }) : null;
  return el("tr", { class: "inside" }, el("td", { colspan: "10" },
    el("dl", { class: "facts" }, ...facts.filter(([, value]) => value).map(([name, value]) => el("div", {}, el("dt", { text: name }), el("dd", { text: value })))),
    tried.length ? el("ol", { class: "tried", "aria-label": "Attempts" }, ...tried) : missing));
};

const drawRequests = () => {
  const text = $("find").value.trim().toLowerCase();
  const kind = $("kind").value;
  const from = held ?? requests;
  const shown = from.filter((r) => matches(r, text, kind)).reverse();
  const kept = new Set(from.map((r) => r.number));
  for (const number of rowNodes.keys()) if (!kept.has(number)) { rowNodes.delete(number); opened.delete(number); }
  const nodes = [];
  for (const r of shown) {
    if (!rowNodes.has(r.number)) rowNodes.set(r.number, makeRow(r));
    const made = rowNodes.get(r.number);
    nodes.push(made.row);
    if (opened.has(r.number) && made.inside) nodes.push(made.inside);
  }
  place($("requests"), nodes);
  const fresh = held ? requests.filter((r) => r.number > (held.at(-1)?.number ?? 0)).length : 0;
  put($("found"), `${shown.length} of ${from.length}${fresh ? `, ${fresh === KEEP ? `${KEEP} or more` : fresh} new` : ""}`);
  $("requests-none").hidden = shown.length > 0;
  put($("requests-none"), from.length ? "None of the last requests is like that." : "No request yet.");
};

/* Bring a parent's children into this order and move none that is in place: what is moved loses its focus. */
const place = (parent, nodes) => {
  const wanted = new Set(nodes);
  for (const child of [...parent.children]) if (!wanted.has(child)) child.remove();
  let next = parent.firstElementChild;
  for (const node of nodes) {
    if (node === next) next = next.nextElementSibling;
    else parent.insertBefore(node, next);
  }
};

$("find").addEventListener("input", drawRequests);
$("kind").addEventListener("change", drawRequests);
$("hold").addEventListener("click", () => {
  held = held ? null : requests;
  $("hold").setAttribute("aria-pressed", String(held !== null));
  put($("hold"), held ? "Go on" : "Pause list");
  drawRequests();
});

/* The journal. */
let entries = [];
const keepEntries = (told, anew = false) => {
  entries = (anew ? told : [...entries, ...told]).slice(-50);
  $("journal-none").hidden = entries.length > 0;
  $("journal").replaceChildren(...[...entries].reverse().map((e) => el("li", {},
    el("time", { datetime: new Date(e.at * 1000).toISOString(), text: clock(e.at) }),
    el("span", {}, e.deployment ? el("b", { text: `${e.deployment} ` }) : null, e.what, e.failed ? el("span", { class: "no", text: ` failed: ${e.failed}` }) : null, e.who === "circuit" ? null : el("span", { class: "soft", text: ` — ${e.who === "timer" ? "time is over" : `operator at ${e.who}`}` })))));
};
