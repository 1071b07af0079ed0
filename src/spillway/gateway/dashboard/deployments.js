/* One card for each deployment, made once and kept up to date in place, so that focus stays where it is. */
const cards = new Map();

const withoutStore = {
  share: "The store is lost: this process keeps to its share of the limits.",
  closed: "The store is lost or may have forgotten: a strict limit admits nothing without it.",
  joining: "The store has not been reached yet: nothing is admitted.",
};

const budgetLost = (budget) => {
  if (budget?.mode !== "store_lost") return "";
  if (budget.on_exceeded === "warn") return "The store is lost: this process counts the budget alone.";
  return "The store is lost: the budget is closed once what was leased is spent.";
};

const alone = (d) => (d.breaker.shared === false ? ", in this process alone" : "");

const standing = (d) => {
  const wait = d.breaker.retry_after_s;
  if (!d.in_service) return ["warm", d.busy ? `Draining, ${d.busy} left` : "Out of service"];
  if (d.breaker.state === "OPEN") return ["bad", `Circuit open${wait ? `, ${span(wait)}` : wait === 0 ? ", next is a probe" : ""}${alone(d)}`];
  if (d.breaker.state === "HALF_OPEN") return ["warm", `Probing${alone(d)}`];
  if (d.limits.blocked_for_s > 0) return ["warm", `Told to wait ${span(Math.ceil(d.limits.blocked_for_s))}`];
  if (!d.healthy) return ["bad", "Refused by the provider"];
  return ["well", d.breaker.held_closed ? "Held closed" : "Serving"];
};

const meter = (label) => {
  const made = { label: el("span", { class: "label", text: label }), fill: el("span", { class: "fill" }), value: el("span", { class: "value" }) };
  made.track = el("span", { class: "track", role: "meter", "aria-label": label, "aria-valuemin": "0" }, made.fill);
  made.node = el("div", { class: "meter" }, made.label, made.track, made.value);
  return made;
};
const fill = (made, used, most, text, calm = false) => {
  const part = most > 0 ? Math.min(1, used / most) : used > 0 ? 1 : 0;
  made.fill.style.width = `${(part * 100).toFixed(1)}%`;
  made.fill.dataset.full = calm ? "" : part >= 0.95 ? "bad" : part >= 0.75 ? "warm" : "";
  set(made.track, "aria-valuemax", String(most));
  set(made.track, "aria-valuenow", String(Math.min(used, most)));
  set(made.track, "aria-valuetext", text);
  put(made.value, text);
};

const makeCard = (name) => {
  const card = { name, meters: new Map(), stats: {} };
  card.pill = el("p", { class: "pill" });
  card.says = el("span");
  card.pill.append(el("span", { class: "dot", "aria-hidden": "true" }), card.says);
  card.what = el("p", { class: "what soft" });
  card.spark = svgEl("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", class: "spark", role: "img" });
  card.list = el("div", { class: "meters" });
  card.note = el("p", { class: "note", hidden: true });
  const stats = el("dl", { class: "stats" });
  for (const [key, label] of [["p50", "p50"], ["p95", "p95"], ["p99", "p99"], ["failed", "failed"], ["spent", "spent"]]) {
    card.stats[key] = el("dd");
    stats.append(el("div", {}, el("dt", { text: label }), card.stats[key]));
  }
  card.buttons = {
    breaker: el("button", { type: "button", class: "small", onclick: () => askBreaker(card.state) }),
    service: el("button", { type: "button", class: "small", onclick: () => askService(card.state) }),
    limits: el("button", { type: "button", class: "small", text: "Limits", "aria-label": `Limits of ${name}`, onclick: () => askLimits(card.state) }),
    session: el("button", { type: "button", class: "small", text: "Rebuild session", "aria-label": `Rebuild the session of ${name}`, onclick: () => askSession(card.state) }),
  };
  const title = el("h3", { text: name, id: `d-${cards.size}` });
  card.node = el("article", { class: "card", "aria-labelledby": title.id },
    el("div", { class: "head" }, title, card.pill), card.what, card.spark, stats, card.list, card.note,
    el("div", { class: "buttons" }, ...Object.values(card.buttons)));
  return card;
};

const drawCard = (card, d, now) => {
  card.state = d;
  const [kind, text] = standing(d);
  set(card.pill, "data-kind", kind);
  put(card.says, text);
  const held = d.limits.windows.length && d.limits.mode !== "local" ? `limits ${d.limits.mode}${d.limits.nodes > 1 ? ` over ${d.limits.nodes}` : ""}` : "";
  put(card.what, [d.runtime, d.model === d.name ? "" : d.model, d.group ? `group ${d.group}` : "", d.fallback.length ? `falls back to ${d.fallback.join(", ")}` : "", held].filter(Boolean).join(" · "));
  const quarter = d.last_15_min;
  const all = quarter ? total(quarter) : 0;
  put(card.stats.p50, seconds(quarter?.p50_s));
  put(card.stats.p95, seconds(quarter?.p95_s));
  put(card.stats.p99, seconds(quarter?.p99_s));
  put(card.stats.failed, quarter ? share(quarter.failed, all) : NONE);
  card.stats.failed.className = quarter && quarter.failed / all > 0.05 ? "bad" : "";
  put(card.stats.spent, about(d.spent_usd));
  const rows = rowsOf(trackOf(d.name), now);
  spark(card.spark, rows);
  set(card.spark, "aria-label", `${count(all)} requests in 15 minutes, ${quarter ? count(quarter.failed) : "0"} failed`);
  drawMeters(card, d);
  const notes = [];
  if (d.limits.changed.length) notes.push(`Limits are not those of the file${d.limits.end_in_s === null ? "" : `, for ${span(d.limits.end_in_s)} more`}.`);
  if (d.limits.windows.length && withoutStore[d.limits.mode]) notes.push(withoutStore[d.limits.mode]);
  if (budgetLost(d.budget)) notes.push(budgetLost(d.budget));
  if (d.limits.percent < 100) notes.push(`After a 429 it uses ${d.limits.percent}% of its limits.`);
  const refused = d.keys.filter((key) => key.state !== "ok").length;
  if (refused) notes.push(`${refused} of ${d.keys.length} keys are not in use.`);
  card.note.hidden = !notes.length;
  put(card.note, notes.join(" "));
  const open = d.breaker.state !== "CLOSED";
  put(card.buttons.breaker, open ? "Close circuit" : "Open circuit");
  set(card.buttons.breaker, "aria-label", `${open ? "Close" : "Open"} the circuit of ${d.name}`);
  put(card.buttons.service, d.in_service ? "Drain" : "Resume");
  set(card.buttons.service, "aria-label", `${d.in_service ? "Drain" : "Resume"} ${d.name}`);
};

const drawMeters = (card, d) => {
  const wanted = [
    ["workers", d.busy, d.workers, `${count(d.busy)} of ${count(d.workers)}`],
    ["queue", d.queued, d.queue_capacity, `${count(d.queued)} of ${count(d.queue_capacity)}`],
    ...d.limits.windows.map((w) => [perMinute(w.limit), w.used, w.in_use, `${short(w.used)} of ${short(w.in_use)}`]),
    ...(d.budget?.windows || []).map((w) => [`spend/${w.per}`, w.spent_usd, w.cap_usd, `${about(w.spent_usd)} of ${about(w.cap_usd)}`]),
  ];
  const labels = wanted.map(([label]) => label);
  for (const [label, made] of card.meters) if (!labels.includes(label)) { made.node.remove(); card.meters.delete(label); }
  for (const [label, used, most, text] of wanted) {
    if (!card.meters.has(label)) {
      const made = meter(label);
      card.meters.set(label, made);
      card.list.append(made.node);
    }
    fill(card.meters.get(label), used, most, text);
  }
};

const drawDeployments = (deployments, now) => {
  const names = deployments.map((d) => d.name);
  for (const [name, card] of cards) if (!names.includes(name)) { card.node.remove(); cards.delete(name); }
  for (const d of deployments) {
    if (!cards.has(d.name)) {
      const card = makeCard(d.name);
      cards.set(d.name, card);
      $("deployments").append(card.node);
    }
    drawCard(cards.get(d.name), d, now);
  }
  const of = $("of");
  if ([...of.options].slice(1).map((o) => o.value).join("\n") !== names.join("\n")) {
    const chosen = of.value;
    of.replaceChildren(of.options[0], ...names.map((name) => el("option", { value: name, text: name })));
    of.value = names.includes(chosen) ? chosen : "";
  }
};

const drawKeys = (keys) => {
  $("keys-none").hidden = keys.length > 0;
  $("keys-table").hidden = keys.length === 0;
  $("keys").replaceChildren(...keys.map((key) => {
    const use = (used, most, text) => {
      if (most === undefined) return el("td", { class: "soft", text: "no limit" });
      const made = meter("used");
      fill(made, used, most, text);
      return el("td", {}, el("div", { class: "use" }, made.value, made.track));
    };
    const limit = (name) => key.limits.find((w) => w.limit === name);
    const [requests, tokens, day] = [limit("requests_per_minute"), limit("tokens_per_minute"), key.budget?.windows[0]];
    const may = [key.models.length ? key.models.join(", ") : "every model", `up to ${key.max_priority}`, budgetLost(key.budget)].filter(Boolean).join(" · ");
    return el("tr", {},
      el("th", { scope: "row" }, key.name, el("div", { class: "soft", text: may })),
      use(requests?.used, requests?.most, `${short(requests?.used)} of ${short(requests?.most)}`),
      use(tokens?.used, tokens?.most, `${short(tokens?.used)} of ${short(tokens?.most)}`),
      day ? use(day.spent_usd, day.cap_usd, `${about(day.spent_usd)} of ${about(day.cap_usd)}`) : el("td", { class: "soft", text: `${usd(key.spent_usd)}, no cap` }));
  }));
};

const drawTiles = (state) => {
  const quarter = state.gateway.last_15_min;
  const all = total(quarter);
  const rows = rowsOf(history.whole, state.at);
  const sums = (key) => state.deployments.reduce((so_far, d) => so_far + d[key], 0);
  put($("t-rate"), rate(lastFull(rows).all / history.bucketS));
  put($("t-total"), `${short(all)} in 15 min`);
  put($("t-ok"), share(quarter.ok, all));
  put($("t-ok-of"), all ? `${short(quarter.failed)} failed, ${short(quarter.limited)} limited` : "no request yet");
  put($("t-p95"), seconds(quarter.p95_s));
  put($("t-p50"), `p50 ${seconds(quarter.p50_s)}, p99 ${seconds(quarter.p99_s)}`);
  put($("t-busy"), count(sums("busy")));
  put($("t-queued"), `${count(sums("queued"))} queued`);
  const known = state.deployments.filter((d) => d.spent_usd !== null);
  put($("t-spend"), about(known.reduce((so_far, d) => so_far + d.spent_usd, 0)));
  put($("t-spend-of"), `${about(quarter.cost_usd)} in 15 min${known.length < state.deployments.length ? ", some unknown" : ""}`);
  const open = state.deployments.filter((d) => d.breaker.state !== "CLOSED").length;
  const away = state.deployments.filter((d) => !d.in_service).length;
  put($("t-open"), open ? `${open} open` : "closed");
  const workers = state.gateway.workers?.length;
  put($("t-up"), [`${state.deployments.length} deployments`, away ? `${away} drained` : "", workers ? `${workers} workers` : ""].filter(Boolean).join(", "));
  document.title = open || away ? `(${open + away}) Spillway` : "Spillway";
};
